"""Each invariant is broken once by hand, and caught: a validator that cannot fail proves nothing."""

from dataclasses import replace
from typing import Any

import pytest
from robustness import validate
from robustness.evidence import Evidence
from robustness.records import (
    DELETED,
    ZONES,
    Acked,
    Begun,
    Call,
    Ended,
    Fault,
    FinalUnit,
    Heard,
    Lie,
    Obeyed,
    Refused,
    Seen,
    Snapshot,
    Step,
    StoredCheckpoint,
    StoredCommand,
    StoredTask,
    Transition,
    Watched,
)

LEASE_SECONDS = 3.0


def moved(  # noqa: PLR0913  a row has columns
    revision: int, path: str, attempt: int, *, at: float = 0.0, by: str = "client-1", why: str = ""
) -> Transition:
    """Return a transition of task 1, its path written as "RUNNING PAUSED"."""
    before, after = path.split()
    return Transition(revision, 1, None if before == "-" else before, after, at, by, why, attempt)


def step(number: int, attempt: int, asked: float, execution: str = "a", unit: str = "unit-1") -> Step:
    return Step(execution, unit, 1, attempt, number, asked, asked + 0.1, asked + 0.9)


def told(revision: int, task: int, status: str, attempt: int, watch: str = "steady") -> Watched:
    return Watched(revision, task, status, attempt, watch)


def command(verb: str, attempt: int, state: str = "APPLIED", **other: Any) -> StoredCommand:
    """Return a command of task 1."""
    good = StoredCommand(f"{verb}-{attempt}", 1, attempt, verb, state, "client-1", "r", 6.0, 7.0, "")
    return replace(good, **other)


# A task that fails once, continues on another unit from its checkpoint of step 1, is paused there, and ends well.
# Another task was deleted.
GOOD = Evidence(
    lease_seconds=LEASE_SECONDS,
    transitions=[
        moved(1, "- PENDING", 0, at=0, why="c"),
        moved(2, "PENDING RUNNING", 1, at=1, why="c; dispatched to unit-1"),
        moved(3, "RUNNING FAILED", 1, at=4, by="unit:unit-1"),
        moved(4, "FAILED PENDING", 1, at=4, by="taskplane", why="retry 1 of 3"),
        moved(5, "PENDING RUNNING", 2, at=5, by="taskplane"),
        moved(6, "RUNNING PAUSED", 2, at=7, why="r"),
        moved(8, "PAUSED RUNNING", 3, at=8, by="client-2", why="s"),
        moved(9, "RUNNING SUCCESS", 3, at=10, by="unit:unit-2"),
    ],
    tasks=[
        StoredTask(
            *(1, "a task", "SUCCESS", 3, False, None, 3, {"attempt": 3, "steps": 3}),
            revision=9,
            retry_count=1,
            max_retries=3,
            progress=1.0,
            type="WALK",
            priority=2,
        )
    ],
    checkpoints=[StoredCheckpoint(1, 1, 1, 1), StoredCheckpoint(1, 2, 2, 2)],
    commands=[command("PAUSE", 2), command("RESUME", 3, actor="client-2", reason="s")],
    units=[FinalUnit("unit-1", 1, 0), FinalUnit("unit-2", 1, 0)],
    calls=[
        Call("client-1", "create", 0, 0, 1, "OK", seen=(Seen(1, "PENDING", 1, 0),), names=("a task",), request="c"),
        Call("client-1", "pause", 1, 6, 7, "OK", seen=(Seen(1, "PAUSED", 6, 2, 2),), request="r", answer="x"),
        Call("client-2", "resume", 1, 7, 8, "UNAVAILABLE", request="s"),
        Call("client-2", "delete", 2, 6, 7, "OK"),
    ],
    executions=[Begun("a", "unit-1", 1, 1, 1.0, None), Begun("b", "unit-2", 1, 2, 5.0, 1, 1)],
    steps=[
        step(1, 1, 1.0),
        step(2, 1, 2.0),
        step(2, 2, 5.0, "b", "unit-2"),
        step(3, 3, 8.0, "b", "unit-2"),
    ],
    endings=[Ended("a", "unit-1", 1, 1, "failed", 3.9), Ended("b", "unit-2", 1, 3, "succeeded", 9.9)],
    acked=[
        Acked("unit-1", 1, 1, "checkpoint", 2.5, 1, 1),
        Acked("unit-1", 1, 1, "failed", 4.1),
        Acked("unit-2", 1, 2, "paused", 7.1, 2, 2),
        Acked("unit-2", 1, 3, "succeeded", 10.1),
    ],
    heard=[Heard("unit-1", 0.5, 0.6, "a"), Heard("unit-1", 3.5, 3.6, "a"), Heard("unit-2", 5.0, 5.1, "b")],
    obeyed=[Obeyed("unit-2", "PAUSE-2", 1, 2, "pause", True, 6.1)],  # noqa: FBT003
    lies=[Lie("liar", 7, 1, "checkpoint", 5.0, is_dropped=True)],
    watched=[
        told(2, 1, "RUNNING", 1),
        told(3, 1, "FAILED", 1),
        told(4, 1, "PENDING", 1),
        told(5, 1, "RUNNING", 2),
        told(6, 1, "PAUSED", 2),
        told(7, 2, DELETED, 0),
        told(8, 1, "RUNNING", 3),
        told(9, 1, "SUCCESS", 3),
        told(5, 1, "RUNNING", 2, "a snapshot"),
        told(6, 1, "PAUSED", 2, "a snapshot"),
    ],
    snapshots=[Snapshot("a snapshot", 3, {"1": 4})],
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


def repeated(**other: Any) -> Call:
    """Return a late repeat of the pause."""
    return replace(GOOD.calls[1], began=60, ended=61, **other)


def updated(wanted: int, shown: int) -> Call:
    """Return an update with a requested and a returned priority."""
    seen = Seen(1, "RUNNING", 5, 2, priority=shown)
    return Call("c", "update", 1, 6, 6, "OK", seen=(seen,), request="u", wanted=wanted)


def chose(number: int, resumed_from: int) -> Evidence:
    """Return a run in which attempt 3 should resume from a checkpoint, and begins elsewhere from another."""
    resume = Call("client-2", "resume_from", 1, 7, 8, "OK", request="s", wanted=number)
    begun = Begun("c", "unit-1", 1, 3, 8.0, resumed_from, 1)
    return replace(GOOD, calls=[*GOOD.calls, resume], executions=[*GOOD.executions, begun])


def left(faults: list[Fault]) -> Evidence:
    """Return a run in which attempt 1 is lost since its unit leaves."""
    end = moved(3, "RUNNING FAILED", 1, at=4, by="taskplane", why="unit left: stopped")
    return replace(GOOD, transitions=[*GOOD.transitions[:2], end, *GOOD.transitions[3:]], faults=faults)


def lost(evidence: Evidence) -> Evidence:
    """Return a run in which attempt 1 is lost half a second after a message of its unit."""
    end = moved(3, "RUNNING FAILED", 1, at=4, by="taskplane", why="unit lost: not heard from for 3 s")
    return replace(evidence, transitions=[*GOOD.transitions[:2], end, *GOOD.transitions[3:]])


def late_command(obeyed: list[Obeyed], faults: tuple[Fault, ...] = ()) -> Evidence:
    """Return a run in which a pause waits for long, though its unit is connected."""
    pause = command("PAUSE", 2, issued_at=5.0, settled_at=20.0)
    heard = [*GOOD.heard, Heard("unit-2", 10.0, 10.1)]
    return replace(GOOD, commands=[pause, GOOD.commands[1]], heard=heard, obeyed=obeyed, faults=faults)


def held_on() -> Evidence:
    """Return a run in which unit 1 drops attempt 1 long after attempt 2 has begun elsewhere."""
    endings = [Ended("a", "unit-1", 1, 1, "failed", 20.0), GOOD.endings[1]]
    return replace(GOOD, endings=endings, heard=[*GOOD.heard, Heard("unit-1", 10.0, 10.1, "a")])


def stays_failed() -> Evidence:
    """Return a run without a retry that was allowed."""
    task = replace(TASK, status="FAILED", attempt=1, retry_count=0, revision=3)
    return replace(GOOD, transitions=GOOD.transitions[:3], tasks=[task])


def overtaken() -> Evidence:
    """Return a run in which task 2 is dispatched before task 1, which came earlier with a higher priority."""
    other = [replace(moved(2, "- PENDING", 0), task=2), replace(moved(3, "PENDING RUNNING", 1), task=2)]
    own = [moved(1, "- PENDING", 0, why="c"), moved(4, "PENDING RUNNING", 1, why="c; dispatched to unit-1")]
    return replace(GOOD, tasks=[TASK, replace(TASK, id=2, priority=1)], transitions=[*own, *other])


# For each invariant a run that breaks the invariant.
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
    ("every_watch_told_every_transition_once", replace(GOOD, watched=without(GOOD.watched, 2))),
    ("every_watch_told_every_transition_once", also("watched", told(5, 1, "RUNNING", 2))),
    ("every_watch_told_every_transition_once", instead("watched", 4, told(6, 1, "RUNNING", 2))),
    ("every_watch_told_every_deletion_once", replace(GOOD, watched=without(GOOD.watched, 5))),
    ("every_watch_told_every_deletion_once", also("watched", told(10, 2, DELETED, 0))),
    ("every_watch_told_every_deletion_once", also("watched", told(10, 1, DELETED, 0))),
    ("every_watch_told_every_deletion_once", also("watched", told(10, 2, "RUNNING", 1))),
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
    ("tasks_agree_with_their_history", instead("tasks", 0, replace(TASK, revision=8))),
    ("snapshots_are_continued_without_a_gap", replace(GOOD, watched=without(GOOD.watched, 8))),
    ("repeats_are_answered_as_the_first", also("calls", repeated(answer="y"))),
    ("repeats_are_answered_as_the_first", also("calls", repeated(code="NOT_FOUND"))),
    ("reads_never_go_back", also("calls", Call("c", "get", 1, 8, 9, "OK", seen=(Seen(1, "RUNNING", 5, 2),)))),
    ("commands_are_settled", also("commands", command("CANCEL", 3, "ISSUED", settled_at=None))),
    ("commands_are_settled", also("commands", command("PAUSE", 3, "REJECTED"))),
    ("applied_commands_are_in_the_history", also("commands", command("CANCEL", 3))),
    ("applied_commands_are_in_the_history", instead("commands", 0, command("PAUSE", 2, actor="client-3"))),
    ("changes_that_were_asked_for_are_in_the_log", replace(GOOD, commands=[])),
    (
        "commands_that_were_shown_are_in_the_log",
        also("calls", Call("c", "pause", 1, 6, 6, "OK", seen=(Seen(1, "RUNNING", 5, 2, None, "PAUSE-9"),))),
    ),
    ("requests_take_effect_once", also("commands", command("PAUSE", 3, id="again"))),
    ("requests_take_effect_once", also("transitions", moved(10, "RUNNING PAUSED", 3, why="r"))),
    ("commands_reach_their_units", late_command(obeyed=[])),
    ("watches_go_on_from_every_revision_that_was_told", also("refused", Refused("steady", 9, "not reached yet"))),
    ("obeyed_commands_stop_the_attempt", also("steps", step(3, 2, 6.2, "b", "unit-2"))),
    ("superseded_attempts_are_dropped", held_on()),
    (
        "what_was_asked_for_holds_without_the_unit",
        lost(also("commands", command("PAUSE", 1, "EXPIRED", issued_at=2.0))),
    ),
    ("higher_priorities_go_first", overtaken()),
    ("acknowledged_checkpoints_are_stored", replace(GOOD, checkpoints=without(GOOD.checkpoints, 0))),
    ("acknowledged_checkpoints_are_stored", replace(GOOD, checkpoints=without(GOOD.checkpoints, 1))),
    ("acknowledged_checkpoints_are_stored", instead("acked", 0, Acked("unit-1", 1, 1, "checkpoint", 2.5, 0, 2))),
    ("acknowledged_checkpoints_are_continued_from", instead("executions", 1, Begun("b", "unit-2", 1, 2, 5.0, None, 1))),
    ("acknowledged_endings_are_in_the_history", also("acked", Acked("unit-2", 1, 3, "cancelled", 9.0))),
    ("acknowledged_endings_are_in_the_history", also("acked", Acked("unit-2", 1, 4, "cancelled", 11.0))),
    ("ends_are_as_the_unit_said", instead("endings", 1, Ended("b", "unit-2", 1, 3, "failed", 9.9))),
    ("ends_are_as_the_unit_said", replace(GOOD, endings=[])),
    ("checkpoints_that_are_stored_were_reached", also("checkpoints", StoredCheckpoint(1, 3, 3, 7))),
    ("attempts_that_are_over_are_dropped", also("lies", Lie("liar", 7, 1, "paused", 5.0, is_dropped=False))),
    ("leases_are_kept", lost(GOOD)),
    ("retries_are_counted_once", instead("tasks", 0, replace(TASK, retry_count=2))),
    ("retries_are_counted_once", instead("executions", 1, Begun("b", "unit-2", 1, 2, 5.0, 1, 2))),
    (
        "retries_are_counted_once",
        instead("transitions", 3, moved(4, "FAILED PENDING", 1, at=4, by="taskplane", why="retry 2 of 3")),
    ),
    ("what_may_be_retried_is", stays_failed()),
    ("updates_hold", also("calls", updated(wanted=3, shown=2))),
    ("updates_hold", also("calls", updated(wanted=3, shown=3))),
    ("the_history_names_who_asked", instead("transitions", 0, moved(1, "- PENDING", 0, by="client-2", why="c"))),
    ("the_history_names_who_asked", instead("commands", 0, command("PAUSE", 2, reason="another"))),
    ("stale_conditions_are_refused", also("calls", Call("c", "stale", 1, 6, 6, "OK"))),
    ("calls_on_many_tasks_change_no_other", also("calls", Call("c", "bulk", 0, 6, 6, "OK", request="s", tasks=(2,)))),
    (
        "calls_on_many_tasks_change_no_other",
        also("calls", Call("c", "bulk_filter", 0, 6, 6, "OK", names=("b",), request="s")),
    ),
    ("chosen_checkpoints_are_used", chose(number=1, resumed_from=2)),
    ("units_have_the_labels_that_are_asked_for", instead("tasks", 0, replace(TASK, zone=ZONES[0]))),
    ("nothing_is_left_of_deleted_tasks", also("checkpoints", StoredCheckpoint(9, 1, 1, 1))),
    ("snapshots_are_continued_without_a_gap", instead("snapshots", 0, Snapshot("a snapshot", 3, {}))),
    ("paused_work_is_not_done_again", also("executions", Begun("c", "unit-1", 1, 3, 8.0, 1, 1))),
    ("what_failed_for_good_is_not_retried", instead("endings", 0, Ended("a", "unit-1", 1, 1, "failed for good", 3.9))),
    ("who_leaves_in_order_loses_nothing", left([Fault("stop_unit", "unit-1", 3.0, 5.0)])),
    ("progress_is_not_older_than_the_status", instead("tasks", 0, replace(TASK, progress=0.5))),
]


@pytest.mark.parametrize(("invariant", "evidence"), BROKEN, ids=[f"{n}-{name}" for n, (name, _) in enumerate(BROKEN)])
def test_a_broken_invariant_is_caught(invariant: str, evidence: Evidence) -> None:
    assert invariant in {violation.split(":")[0] for violation in validate.violations(evidence)}


def test_every_invariant_is_broken_once() -> None:
    assert {check.__name__ for check in validate.CHECKS} == {name for name, _ in BROKEN}


def taken_by_force(asked: float) -> Evidence:
    """Return a run in which attempt 1 is cancelled by force at 4, restarted elsewhere, and goes to step 3."""
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


def violates(evidence: Evidence, invariant: str) -> bool:
    return any(violation.startswith(invariant) for violation in validate.violations(evidence))


def test_an_answer_may_be_lost_with_a_server_that_is_killed_before_it_could_store_it() -> None:
    again = also("calls", repeated(answer="y"))
    assert violates(replace(again, faults=[Fault("kill_server", "", 12.0, 13.0)]), "repeats_are_answered_as_the_first")
    killed_at_once = replace(again, faults=[Fault("kill_server", "", 8.0, 9.0)])
    assert not violates(killed_at_once, "repeats_are_answered_as_the_first")


def test_an_answer_waits_for_a_database_that_is_away() -> None:
    away = [Fault("kill_database", "", 7.5, 11.5), Fault("kill_server", "", 12.0, 13.0)]
    late = replace(also("calls", repeated(answer="y")), faults=away)
    assert not violates(late, "repeats_are_answered_as_the_first")


def test_a_unit_may_lose_what_it_cannot_give_back() -> None:
    stopped = Fault("stop_unit", "unit-1", 3.0, 5.0)
    assert not violates(left([stopped, Fault("freeze_server", "", 2.0, 4.5)]), "who_leaves_in_order_loses_nothing")


def test_a_command_may_take_its_time_while_something_is_broken() -> None:
    broken = late_command(obeyed=[], faults=(Fault("freeze_server", "", 5.5, 8.0),))
    assert not violates(broken, "commands_reach_their_units")
    assert not violates(late_command(obeyed=list(GOOD.obeyed)), "commands_reach_their_units")
