"""Each invariant is broken once by hand, and caught: a validator that cannot fail proves nothing."""

from dataclasses import replace
from typing import Any

import pytest
from robustness import validate
from robustness.evidence import Evidence
from robustness.records import DELETED, Begun, Call, FinalUnit, Seen, Step, StoredTask, Transition, Watched

LEASE_SECONDS = 3.0


def moved(  # noqa: PLR0913  a row has columns
    revision: int, path: str, attempt: int, *, at: float = 0.0, by: str = "client-1", why: str = ""
) -> Transition:
    """A transition of task 1, its path written as "RUNNING PAUSED"."""
    before, after = path.split()
    return Transition(revision, 1, None if before == "-" else before, after, at, by, why, attempt)


def step(number: int, attempt: int, asked: float, execution: str = "a", unit: str = "unit-1") -> Step:
    return Step(execution, unit, 1, attempt, number, asked, asked + 0.1, asked + 0.9)


# A task that fails once, goes on on another unit from its checkpoint of step 1, is paused there, and ends well. Another
# one was deleted.
GOOD = Evidence(
    lease_seconds=LEASE_SECONDS,
    transitions=[
        moved(1, "- PENDING", 0, at=0),
        moved(2, "PENDING RUNNING", 1, at=1),
        moved(3, "RUNNING FAILED", 1, at=4, by="unit:unit-1"),
        moved(4, "FAILED PENDING", 1, at=4, by="taskplane"),
        moved(5, "PENDING RUNNING", 2, at=5, by="taskplane"),
        moved(6, "RUNNING PAUSED", 2, at=7),
        moved(8, "PAUSED RUNNING", 3, at=8),
        moved(9, "RUNNING SUCCESS", 3, at=10, by="unit:unit-2"),
    ],
    tasks=[StoredTask(1, "a task", "SUCCESS", 3, False, None, 3, {"attempt": 3, "steps": 3})],  # noqa: FBT003
    units=[FinalUnit("unit-1", 1, 0), FinalUnit("unit-2", 1, 0)],
    calls=[
        Call("client-1", "create", 0, 0, 1, "OK", seen=(Seen(1, "PENDING", 1, 0),), names=("a task",)),
        Call("client-1", "pause", 1, 6, 7, "OK", seen=(Seen(1, "PAUSED", 6, 2, 2),)),
        Call("client-2", "resume", 1, 7, 8, "UNAVAILABLE"),
        Call("client-2", "delete", 2, 6, 7, "OK"),
    ],
    executions=[Begun("a", "unit-1", 1, 1, 1.0, None), Begun("b", "unit-2", 1, 2, 5.0, 1)],
    steps=[
        step(1, 1, 1.0),
        step(2, 1, 2.0),
        step(2, 2, 5.0, "b", "unit-2"),
        step(3, 3, 8.0, "b", "unit-2"),
    ],
    watched=[
        Watched(2, 1, "RUNNING", 1),
        Watched(3, 1, "FAILED", 1),
        Watched(4, 1, "PENDING", 1),
        Watched(5, 1, "RUNNING", 2),
        Watched(6, 1, "PAUSED", 2),
        Watched(7, 2, DELETED, 0),
        Watched(8, 1, "RUNNING", 3),
        Watched(9, 1, "SUCCESS", 3),
    ],
    watched_since=1,
    capacities={"unit-1": 1, "unit-2": 1},
)
(TASK,) = GOOD.tasks


def test_a_good_run_has_no_violations() -> None:
    assert validate.violations(GOOD) == []


def without(records: Any, index: int) -> list[Any]:
    return [*records[:index], *records[index + 1 :]]


def also(field: str, *records: Any) -> Evidence:
    changed: dict[str, Any] = {field: [*getattr(GOOD, field), *records]}
    return replace(GOOD, **changed)


def instead(field: str, index: int, record: Any) -> Evidence:
    records = [*getattr(GOOD, field)]
    records[index] = record
    changed: dict[str, Any] = {field: records}
    return replace(GOOD, **changed)


def restarted_at_the_end() -> list[Transition]:
    return [*GOOD.transitions[:3], moved(4, "FAILED PENDING", 1, at=4), *GOOD.transitions[4:]]


# For each invariant a run that breaks it.
BROKEN = [
    ("answers_are_in_the_history", also("calls", Call("c", "get", 1, 9, 9, "OK", seen=(Seen(1, "CANCELLED", 7, 2),)))),
    ("answers_are_in_the_history", also("calls", Call("c", "get", 1, 9, 9, "OK", seen=(Seen(1, "RUNNING", 8, 2),)))),
    ("created_tasks_are_there_once", also("tasks", replace(TASK, id=2))),
    (
        "created_tasks_are_there_once",
        also("calls", Call("c", "create", 0, 9, 9, "OK", seen=(Seen(5, "PENDING", 7, 0),), names=("lost",))),
    ),
    ("deleted_tasks_are_gone", also("calls", Call("c", "delete", 1, 9, 9, "OK"))),
    ("errors_are_in_the_catalogue", also("calls", Call("c", "get", 1, 9, 9, "INTERNAL"))),
    (
        "checkpoints_that_were_shown_are_kept",
        also("calls", Call("c", "get", 1, 3, 3, "OK", seen=(Seen(1, "RUNNING", 2, 1, 2),))),
    ),
    ("history_is_a_path_in_the_table", instead("transitions", 5, moved(6, "RUNNING PENDING", 2))),
    ("history_is_a_path_in_the_table", replace(GOOD, transitions=without(GOOD.transitions, 3))),
    ("attempts_only_grow", instead("transitions", 6, moved(8, "PAUSED RUNNING", 2))),
    ("attempts_only_grow", instead("transitions", 2, moved(3, "RUNNING FAILED", 2))),
    ("tasks_agree_with_their_history", instead("tasks", 0, replace(TASK, status="CANCELLED"))),
    ("tasks_agree_with_their_history", instead("tasks", 0, replace(TASK, attempt=2))),
    ("tasks_agree_with_their_history", also("tasks", replace(TASK, id=2, name="another"))),
    ("every_task_is_final", instead("tasks", 0, replace(TASK, status="PAUSED"))),
    ("nothing_is_left_over", instead("tasks", 0, replace(TASK, queued=True))),
    ("nothing_is_left_over", instead("tasks", 0, replace(TASK, pending="CANCEL"))),
    ("nothing_is_left_over", instead("units", 0, FinalUnit("unit-1", 1, 1))),
    ("the_watch_told_every_transition_once", replace(GOOD, watched=without(GOOD.watched, 2))),
    ("the_watch_told_every_transition_once", also("watched", Watched(5, 1, "RUNNING", 2))),
    ("the_watch_told_every_transition_once", instead("watched", 4, Watched(6, 1, "RUNNING", 2))),
    ("the_watch_told_every_deletion_once", replace(GOOD, watched=without(GOOD.watched, 5))),
    ("the_watch_told_every_deletion_once", also("watched", Watched(10, 2, DELETED, 0))),
    ("the_watch_told_every_deletion_once", also("watched", Watched(10, 1, DELETED, 0))),
    ("the_watch_told_every_deletion_once", also("watched", Watched(10, 2, "RUNNING", 1))),
    ("attempts_do_not_overlap", also("steps", step(3, 1, 5.2))),
    ("an_attempt_is_executed_once", also("executions", Begun("c", "unit-1", 1, 2, 5.0, 1))),
    ("an_attempt_is_executed_once", also("steps", step(4, 3, 9.0, "a"))),
    ("steps_are_done_in_order", also("steps", step(4, 1, 3.0))),
    ("steps_are_done_in_order", instead("executions", 1, Begun("b", "unit-2", 1, 2, 5.0, None))),
    ("steps_are_done_in_order", instead("steps", 0, step(1, 4, 1.0))),
    ("checkpoints_stand_for_work_that_was_done", replace(GOOD, steps=without(GOOD.steps, 0))),
    ("checkpoints_stand_for_work_that_was_done", replace(GOOD, transitions=restarted_at_the_end())),
    ("successes_are_complete", instead("tasks", 0, replace(TASK, result={"attempt": 2, "steps": 3}))),
    ("successes_are_complete", replace(GOOD, steps=without(GOOD.steps, 3))),
    ("successes_are_complete", replace(GOOD, executions=[], steps=[])),
    (
        "reports_come_from_the_units_that_ran_the_attempt",
        instead("transitions", 7, moved(9, "RUNNING SUCCESS", 3, by="unit:unit-1")),
    ),
    ("capacity_is_kept", also("steps", step(3, 1, 2.5))),
]


@pytest.mark.parametrize(("invariant", "evidence"), BROKEN, ids=[f"{n}-{name}" for n, (name, _) in enumerate(BROKEN)])
def test_a_broken_invariant_is_caught(invariant: str, evidence: Evidence) -> None:
    assert invariant in {violation.split(":")[0] for violation in validate.violations(evidence)}


def test_every_invariant_is_broken_once() -> None:
    assert {check.__name__ for check in validate.CHECKS} == {name for name, _ in BROKEN}


def taken_by_force(asked: float) -> Evidence:
    """Attempt 1 is cancelled by force at 4, restarted elsewhere, and passes a safe point for its step 3."""
    forced = moved(3, "RUNNING CANCELLED", 1, at=4, why="forced: the unit did not finish the cancel in time")
    return Evidence(
        lease_seconds=LEASE_SECONDS,
        transitions=[
            *GOOD.transitions[:2],
            forced,
            moved(4, "CANCELLED PENDING", 1, at=4),
            moved(5, "PENDING RUNNING", 2, at=5),
        ],
        steps=[step(1, 1, 1.0), step(2, 1, 2.0), step(1, 2, 5.0, "b", "unit-2"), step(3, 1, asked)],
    )


def overlaps(evidence: Evidence) -> bool:
    return any(violation.startswith("attempts_do_not_overlap") for violation in validate.violations(evidence))


def test_an_attempt_taken_by_force_may_go_on_until_its_self_fence() -> None:
    assert not overlaps(taken_by_force(asked=4 + LEASE_SECONDS - 0.1))
    assert overlaps(taken_by_force(asked=4 + LEASE_SECONDS + 0.1))


def test_a_step_may_be_ended_after_the_next_attempt_has_begun() -> None:
    started_before = Step("a", "unit-1", 1, 1, 3, asked=5.05, began=6.0, ended=7.0)
    assert not overlaps(also("steps", started_before))
