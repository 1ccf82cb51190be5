"""Time limits: the time of each expiry, and its effect on the task."""

from datetime import timedelta

import pytest
from support.actions import AT_ONCE
from support.builders import NOW, a_command, a_task, at

from taskplane.server.core.effect import SERVER, Effect
from taskplane.server.core.limits import Expiry, expired, next_expiry
from taskplane.server.core.task import FINAL, Checkpoint, Limits, Progress, Task, TaskStatus, Transition, Verb

PENDING, RUNNING, SUCCESS, FAILED, PAUSED, CANCELLED = TaskStatus
SECONDS_10 = timedelta(seconds=10)


def moves(task: Task, seconds: float) -> list[Transition]:
    return [step.transition for step in expired(task, at(seconds), AT_ONCE).steps if step.transition]


def test_a_task_without_limits_never_expires() -> None:
    for status in TaskStatus:
        task = a_task(status, queued_at=NOW)
        assert next_expiry(task) is None
        assert expired(task, at(1e9), AT_ONCE) == Effect(task)


@pytest.mark.parametrize("status", sorted(FINAL))
def test_a_finished_task_never_expires(status: TaskStatus) -> None:
    limits = Limits(SECONDS_10, at(10), SECONDS_10, SECONDS_10)
    assert next_expiry(a_task(status, limits=limits)) is None


@pytest.mark.parametrize(("status", "to"), [(PENDING, CANCELLED), (RUNNING, FAILED), (PAUSED, CANCELLED)])
def test_a_deadline_runs_on_whatever_the_status(status: TaskStatus, to: TaskStatus) -> None:
    task = a_task(status, limits=Limits(deadline=at(10)))
    assert next_expiry(task) == at(10)
    assert moves(task, 9.9) == []
    (move,) = moves(task, 10)
    assert (move.to_status, move.changed_by, move.reason) == (to, SERVER, Expiry.DEADLINE)


def test_a_run_budget_counts_running_time_only() -> None:
    limits = Limits(run_budget=SECONDS_10)
    assert next_expiry(a_task(PAUSED, active_seconds=9.0, limits=limits)) is None
    running = a_task(RUNNING, active_seconds=4.0, limits=limits)
    assert next_expiry(running) == at(6)
    (move,) = moves(running, 6)
    assert (move.to_status, move.reason) == (FAILED, "run budget exceeded: 10 s")


@pytest.mark.parametrize("status", [PENDING, PAUSED])
def test_a_queue_timeout_counts_from_the_queueing(status: TaskStatus) -> None:
    limits = Limits(queue_timeout=SECONDS_10)
    assert next_expiry(a_task(status, limits=limits)) is None
    queued = a_task(status, queued_at=at(5), limits=limits)
    assert next_expiry(queued) == at(15)
    (move,) = moves(queued, 15)
    assert (move.to_status, move.reason) == (CANCELLED, Expiry.QUEUE_TIMEOUT)


@pytest.mark.parametrize(
    "sign",
    [
        {"progress": Progress(0.5, "half", at(5))},
        {"checkpoint": Checkpoint(1, 1, at(5)), "last_checkpoint_number": 1},
        {"status_changed_at": at(5)},
    ],
)
def test_a_stall_counts_from_the_last_sign_of_work_and_is_retried(sign: dict[str, object]) -> None:
    stalled = a_task(RUNNING, limits=Limits(stall_timeout=SECONDS_10), **sign)
    assert next_expiry(stalled) == at(15)
    failure, retry = moves(stalled, 15)
    assert (failure.to_status, failure.reason) == (FAILED, "stalled: no progress for 10 s")
    assert retry.to_status is PENDING


@pytest.mark.parametrize(("verb", "to"), [(Verb.PAUSE, PAUSED), (Verb.CANCEL, CANCELLED)])
def test_what_was_asked_of_a_stalled_task_holds(verb: Verb, to: TaskStatus) -> None:
    task = a_task(RUNNING, limits=Limits(stall_timeout=SECONDS_10), pending_command=a_command(verb))
    change = expired(task, at(10), AT_ONCE)
    (step,) = change.steps
    assert (step.task.status, step.task.pending_command) == (to, None)
    assert step.taken_from_unit, "the unit must be told to drop it"
    assert step.transition
    assert step.transition.changed_by == "bob"
    assert Expiry.STALL in step.transition.reason


def test_a_cancel_is_forced_at_its_deadline() -> None:
    for status in (RUNNING, PAUSED):
        task = a_task(status, pending_command=a_command(Verb.CANCEL, deadline=at(10)))
        assert next_expiry(task) == at(10)
        (step,) = expired(task, at(10), AT_ONCE).steps
        assert step.task.status is CANCELLED
        assert step.taken_from_unit, "the unit must be told to drop it"
        assert step.transition
        assert (step.transition.changed_by, step.transition.reason) == (
            "bob",
            f"as bob wishes; {Expiry.CANCEL_DEADLINE}",
        )


def test_an_overdue_pause_is_reported_once_and_stays_pending() -> None:
    task = a_task(RUNNING, pending_command=a_command(Verb.PAUSE, deadline=at(10)))
    change = expired(task, at(10), AT_ONCE)
    (step,) = change.steps
    assert (step.transition, step.note) == (None, Expiry.PAUSE_DEADLINE)
    assert change.task.status is RUNNING
    assert change.task.pending_command == a_command(Verb.PAUSE)
    assert expired(change.task, at(20), AT_ONCE) == Effect(change.task)


def test_what_expires_first_counts() -> None:
    limits = Limits(run_budget=timedelta(seconds=8), deadline=at(9), stall_timeout=SECONDS_10)
    task = a_task(RUNNING, limits=limits)
    assert next_expiry(task) == at(8)
    (move,) = moves(task, 100)
    assert move.reason.startswith(Expiry.RUN_BUDGET)


@pytest.mark.parametrize("wall_clock", [3600, -3600])
def test_a_wall_clock_that_is_set_matters_to_deadlines_only(wall_clock: float) -> None:
    budget = a_task(RUNNING, limits=Limits(run_budget=SECONDS_10, stall_timeout=2 * SECONDS_10))
    queued = a_task(PENDING, queued_at=NOW, limits=Limits(queue_timeout=SECONDS_10))
    cancelling = a_task(RUNNING, pending_command=a_command(Verb.CANCEL, deadline=at(10)))
    for task in (budget, queued, cancelling):
        assert expired(task, at(9), AT_ONCE, wall_now=at(wall_clock)) == Effect(task)
        assert expired(task, at(10), AT_ONCE, wall_now=at(wall_clock)).steps
    named = a_task(RUNNING, limits=Limits(deadline=at(10)))
    assert bool(expired(named, at(9), AT_ONCE, wall_now=at(wall_clock)).steps) is (wall_clock > 0)
    assert bool(expired(named, at(11), AT_ONCE, wall_now=at(wall_clock)).steps) is (wall_clock > 0)
