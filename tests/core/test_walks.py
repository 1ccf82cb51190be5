"""Random sequences of verbs, reports and dispatches, and the invariants of every task."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.actions import AT_ONCE, REPORTS, dispatch, do
from support.builders import NOW, OTHER_UNIT_ID, UNIT_ID, a_task, attempt_ref_of

from taskplane.server.core.effect import Effect
from taskplane.server.core.errors import IllegalTransition, StaleAttempt
from taskplane.server.core.fence import AttemptRef
from taskplane.server.core.limits import expired
from taskplane.server.core.task import TRANSITIONS, Limits, Task, TaskStatus, Verb

Deed = Callable[[Task, datetime], Effect]


def _verb(verb: Verb, *, is_held: bool = False) -> Deed:
    # Each moment has its own commands, as each call has.
    return lambda task, now: do(verb, task, now, command_id=f"{verb}-{now.isoformat()}", is_held=is_held)


def _dispatch(unit_id: str, *, held: bool = False) -> Deed:
    return lambda task, now: dispatch(task, now, unit_id, held=held) if task.queued_at else Effect(task)


def _current(name: str) -> Deed:
    return lambda task, now: REPORTS[name](task, attempt_ref_of(task), now)


def _stale(name: str) -> Deed:
    return lambda task, now: REPORTS[name](task, AttemptRef(task.execution_unit_id or "", task.attempt - 1), now)


def _stranger(name: str) -> Deed:
    return lambda task, now: REPORTS[name](task, AttemptRef("never heard of", task.attempt), now)


VERBS: Mapping[str, Deed] = {f"{verb}": _verb(verb) for verb in Verb} | {
    "CANCEL held": _verb(Verb.CANCEL, is_held=True)
}
DISPATCHES: Mapping[str, Deed] = {
    f"dispatch to {UNIT_ID}": _dispatch(UNIT_ID),
    f"dispatch to {OTHER_UNIT_ID}": _dispatch(OTHER_UNIT_ID),
    "dispatch to the holder": _dispatch(UNIT_ID, held=True),
}
CURRENT: Mapping[str, Deed] = {name: _current(name) for name in REPORTS}
STALE: Mapping[str, Deed] = {f"stale: {name}": _stale(name) for name in REPORTS} | {
    f"stranger: {name}": _stranger(name) for name in REPORTS
}
EXPIRY: Mapping[str, Deed] = {"expired": lambda task, now: expired(task, now, AT_ONCE)}
ALL: Mapping[str, Deed] = {**VERBS, **DISPATCHES, **CURRENT, **STALE, **EXPIRY}
# The actions that move a task on from each status. Most other actions are refused, and a walk would stand still.
ONWARDS: Mapping[TaskStatus, Sequence[str]] = {
    TaskStatus.PENDING: ["START", *DISPATCHES, "CANCEL", *EXPIRY],
    TaskStatus.RUNNING: ["PAUSE", "CANCEL", *CURRENT, *EXPIRY],
    TaskStatus.PAUSED: ["RESUME", "PAUSE", "CANCEL", "CANCEL held", *DISPATCHES, "cancelled", "released", *EXPIRY],
    TaskStatus.FAILED: ["RESTART"],
    TaskStatus.CANCELLED: ["RESTART"],
    TaskStatus.SUCCESS: [*ALL],
}


class Pick(NamedTuple):
    """One step of a path: mostly an action that moves the task on, sometimes any action."""

    anything: bool
    number: int
    seconds: int

    def name(self, status: TaskStatus) -> str:
        names = [*ALL] if self.anything else ONWARDS[status]
        return names[self.number % len(names)]


picks = st.builds(Pick, st.sampled_from([False, False, False, True]), st.integers(0, 1000), st.integers(0, 90))
paths = st.lists(picks, min_size=12, max_size=40)
limits = st.builds(
    Limits,
    run_budget=st.none() | st.integers(1, 300).map(lambda seconds: timedelta(seconds=seconds)),
    deadline=st.none() | st.integers(1, 900).map(lambda seconds: NOW + timedelta(seconds=seconds)),
    queue_timeout=st.none() | st.integers(1, 100).map(lambda seconds: timedelta(seconds=seconds)),
    stall_timeout=st.none() | st.integers(1, 100).map(lambda seconds: timedelta(seconds=seconds)),
)
tasks = st.builds(lambda retries, each: a_task(max_retries=retries, limits=each), st.integers(0, 3), limits)


@dataclass(slots=True)
class Walk:
    """A task on its way, and a second, simple count of its clocks."""

    task: Task
    now: datetime = NOW
    seconds: dict[TaskStatus, float] = field(default_factory=dict)

    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        self.seconds[self.task.status] = self.seconds.get(self.task.status, 0.0) + seconds

    def take(self, name: str) -> Effect:
        """Apply an action; a refused one changes nothing."""
        try:
            change = ALL[name](self.task, self.now)
        except (IllegalTransition, StaleAttempt):
            return Effect(self.task)
        if name == Verb.RESTART and change.steps:
            self.seconds.clear()
        self.task = change.task
        return change


def walk(task: Task, path: list[Pick], check: Callable[[Walk, str, Task, Effect], None]) -> None:
    """Follow the path, and call `check` after each step with the task before and the effect."""
    walker = Walk(task)
    for pick in path:
        walker.wait(pick.seconds)
        before = walker.task
        name = pick.name(before.status)
        check(walker, name, before, walker.take(name))


@given(tasks, paths)
def test_a_history_is_a_path_of_the_table(task: Task, path: list[Pick]) -> None:
    def check(walker: Walk, name: str, before: Task, change: Effect) -> None:
        status = before.status
        for step in change.steps:
            if transition := step.transition:
                assert transition.from_status is status
                assert transition.to_status in TRANSITIONS[status]
                assert (transition.task_id, transition.attempt) == (step.task.id, step.task.attempt)
                assert transition.changed_at == walker.now
                assert transition.changed_by
                assert transition.reason
                status = transition.to_status
            assert step.task.status is status
        assert walker.task.status is status

    walk(task, path, check)


@given(tasks, paths)
def test_a_finished_task_is_changed_by_restart_alone(task: Task, path: list[Pick]) -> None:
    def check(walker: Walk, name: str, before: Task, change: Effect) -> None:
        if before.is_final and name != Verb.RESTART:
            assert walker.task == before
        if before.status is TaskStatus.SUCCESS:
            assert walker.task == before

    walk(task, path, check)


@given(tasks, paths)
def test_attempts_and_checkpoint_numbers_only_grow(task: Task, path: list[Pick]) -> None:
    def check(walker: Walk, name: str, before: Task, change: Effect) -> None:
        after = walker.task
        begun = [each for each in change.steps if each.transition and each.transition.to_status is TaskStatus.RUNNING]
        assert after.attempt == before.attempt + len(begun)
        assert len(begun) == 1 or name not in DISPATCHES or not change.steps
        assert after.last_checkpoint_number >= before.last_checkpoint_number
        assert after.checkpoint is None or after.checkpoint.number <= after.last_checkpoint_number
        if change.checkpoint:
            assert change.checkpoint.number == after.last_checkpoint_number > before.last_checkpoint_number

    walk(task, path, check)


@given(tasks, paths)
def test_a_sender_that_is_not_current_changes_nothing(task: Task, path: list[Pick]) -> None:
    def check(walker: Walk, name: str, before: Task, change: Effect) -> None:
        if name in STALE:
            assert walker.task == before
            with pytest.raises(StaleAttempt):
                STALE[name](before, walker.now)

    walk(task, path, check)


@given(tasks, paths)
def test_a_repeat_is_harmless(task: Task, path: list[Pick]) -> None:
    def check(walker: Walk, name: str, before: Task, change: Effect) -> None:
        if name not in EXPIRY and name != "checkpointed":  # several limits can expire; checkpoints get new numbers
            again = Walk(walker.task, walker.now).take(name)
            assert again.task == walker.task
            assert again.steps == ()

    walk(task, path, check)


@given(tasks, paths)
def test_the_clocks_add_up(task: Task, path: list[Pick]) -> None:
    def check(walker: Walk, name: str, before: Task, change: Effect) -> None:
        after, now = walker.task, walker.now
        assert after.active_seconds_at(now) == pytest.approx(walker.seconds.get(TaskStatus.RUNNING, 0.0))
        assert after.paused_seconds_at(now) == pytest.approx(walker.seconds.get(TaskStatus.PAUSED, 0.0))

    walk(task, path, check)


@given(tasks, paths)
def test_what_is_between_two_statuses_fits_the_status(task: Task, path: list[Pick]) -> None:
    def check(walker: Walk, name: str, before: Task, change: Effect) -> None:
        after = walker.task
        assert (after.completed_at is not None) == after.is_final
        assert not after.queued_at or after.status in {TaskStatus.PENDING, TaskStatus.PAUSED}
        assert not after.not_before or (after.queued_at and after.status is TaskStatus.PENDING)
        assert not after.pending_command or after.status in {TaskStatus.RUNNING, TaskStatus.PAUSED}
        assert not after.queued_command_id or (after.queued_at and after.status is TaskStatus.PAUSED)
        assert not (after.queued_at and after.pending_command), "it is either to run or to stop"
        assert after.retry_count <= after.max_retries

    walk(task, path, check)
