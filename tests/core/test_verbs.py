"""Verbs beyond the table: conditions, pending commands, and the fields that restart clears."""

from datetime import timedelta

import pytest
from support.actions import do
from support.builders import ALICE, NOW, a_checkpoint, a_command, a_task, at

from taskplane.server.core import verbs
from taskplane.server.core.effect import Effect
from taskplane.server.core.errors import IllegalTransition, StaleRevision, TaskNotFinal, UnitCannotPause
from taskplane.server.core.task import FINAL, Limits, PendingCommand, Progress, Task, TaskStatus, Verb
from taskplane.server.core.verbs import CallContext, NewCommand, Update

PENDING, RUNNING, SUCCESS, FAILED, PAUSED, CANCELLED = TaskStatus
COMMAND = NewCommand("command-2", timedelta(seconds=30))


def recorded(verb: Verb) -> PendingCommand:
    return PendingCommand(verb, "command-2", at(1), at(31), actor="alice", reason="because")


def transitions(change: Effect) -> list[tuple[TaskStatus | None, TaskStatus, str, str]]:
    moves = [step.transition for step in change.steps if step.transition]
    return [(move.from_status, move.to_status, move.changed_by, move.reason) for move in moves]


@pytest.mark.parametrize("verb", Verb)
def test_a_stale_revision_is_refused_whatever_the_status(verb: Verb) -> None:
    for status in TaskStatus:
        with pytest.raises(StaleRevision) as stale:
            verbs.check_revision(a_task(status, revision=8), CallContext(expected_revision=7))
        assert stale.value.metadata == {"task_id": "1", "expected": "7", "actual": "8"}


def test_a_revision_that_is_still_the_tasks_is_no_hindrance() -> None:
    change = verbs.start(a_task(revision=8), CallContext(expected_revision=8), at(1))
    assert change.task.queued_at == at(1)


def test_start_queues_and_remembers_who_wanted_it() -> None:
    after = do(Verb.START, a_task(), at(1)).task
    assert (after.status, after.queued_at, after.queued_by, after.queued_reason) == (PENDING, at(1), "alice", "because")


def test_start_of_a_queued_task_does_not_move_it_back_in_the_queue() -> None:
    task = a_task(queued_at=NOW)
    assert do(Verb.START, task, at(1)) == Effect(task)


def test_pause_of_a_running_task_is_recorded_and_the_status_waits_for_the_unit() -> None:
    change = do(Verb.PAUSE, a_task(RUNNING), at(1))
    assert transitions(change) == []
    assert change.task.status is RUNNING
    assert change.task.pending_command == recorded(Verb.PAUSE)


def test_a_second_pause_leaves_the_first_one_as_it_is() -> None:
    task = a_task(RUNNING, pending_command=a_command(Verb.PAUSE))
    assert do(Verb.PAUSE, task, at(1)) == Effect(task)


def test_pause_is_refused_at_once_where_the_unit_cannot() -> None:
    with pytest.raises(UnitCannotPause) as refusal:
        verbs.pause(a_task(RUNNING), ALICE, at(1), command=COMMAND, can_pause=lambda _: False)
    assert refusal.value.reason == "UNIT_CANNOT_PAUSE"


def test_pause_withdraws_a_queued_resume() -> None:
    queued = do(Verb.RESUME, a_task(PAUSED), at(1)).task
    assert queued.queued_at == at(1)
    after = do(Verb.PAUSE, queued, at(2)).task
    assert (after.status, after.queued_at) == (PAUSED, None)


def test_resume_queues() -> None:
    change = do(Verb.RESUME, a_task(PAUSED), at(1))
    assert transitions(change) == []
    assert (change.task.status, change.task.queued_at, change.task.queued_by) == (PAUSED, at(1), "alice")


def test_resume_of_a_queued_task_changes_nothing() -> None:
    task = a_task(PAUSED, queued_at=NOW)
    assert do(Verb.RESUME, task, at(1)) == Effect(task)


def test_resume_can_continue_from_a_chosen_checkpoint() -> None:
    task = a_task(PAUSED, checkpoint=a_checkpoint(7), last_checkpoint_number=7)
    after = verbs.resume(task, ALICE, at(1), command_id="command-2", checkpoint=a_checkpoint(5)).task
    assert (after.queued_checkpoint_number, after.next_checkpoint_number) == (5, 5)
    assert after.checkpoint == a_checkpoint(7), "until it goes on"
    another = verbs.resume(after, ALICE, at(2), command_id="command-3", checkpoint=a_checkpoint(6)).task
    assert (another.queued_checkpoint_number, another.queued_command_id) == (6, "command-2")
    assert verbs.resume(after, ALICE, at(2), command_id="command-3").steps == ()


def test_a_resume_that_is_withdrawn_takes_its_choice_of_a_checkpoint_with_it() -> None:
    task = a_task(PAUSED, checkpoint=a_checkpoint(7), last_checkpoint_number=7)
    queued = verbs.resume(task, ALICE, at(1), command_id="command-2", checkpoint=a_checkpoint(5)).task
    for verb in (Verb.PAUSE, Verb.CANCEL):
        assert do(verb, queued, at(2)).task.next_checkpoint_number == 7


def test_resume_while_a_pause_is_under_way_is_refused() -> None:
    with pytest.raises(IllegalTransition) as refusal:
        do(Verb.RESUME, a_task(RUNNING, pending_command=a_command(Verb.PAUSE)), at(1))
    assert refusal.value.metadata["pending"] == "PAUSE"


@pytest.mark.parametrize("verb", [Verb.PAUSE, Verb.RESUME])
@pytest.mark.parametrize("status", [RUNNING, PAUSED])
def test_nothing_but_cancel_goes_while_a_cancel_is_under_way(verb: Verb, status: TaskStatus) -> None:
    with pytest.raises(IllegalTransition) as refusal:
        do(verb, a_task(status, pending_command=a_command(Verb.CANCEL)), at(1))
    assert refusal.value.metadata["pending"] == "CANCEL"


@pytest.mark.parametrize("status", [PENDING, PAUSED])
@pytest.mark.parametrize("queued_at", [None, NOW])
def test_cancel_of_what_no_unit_holds_is_done_at_once(status: TaskStatus, queued_at: object) -> None:
    change = do(Verb.CANCEL, a_task(status, queued_at=queued_at), at(1))
    assert transitions(change) == [(status, CANCELLED, "alice", "because")]
    assert change.task.queued_at is None


def test_cancel_ends_the_wait_for_a_retry() -> None:
    waiting = a_task(queued_at=NOW, not_before=at(60), retry_count=1)
    assert do(Verb.CANCEL, waiting, at(1)).task.not_before is None


@pytest.mark.parametrize("task", [a_task(RUNNING), a_task(PAUSED), a_task(PAUSED, queued_at=NOW)])
def test_cancel_of_what_a_unit_holds_is_recorded(task: Task) -> None:
    change = do(Verb.CANCEL, task, at(1), is_held=True)
    assert transitions(change) == []
    assert change.task.status is task.status
    assert change.task.pending_command == recorded(Verb.CANCEL)
    assert change.task.queued_at is None


def test_cancel_takes_the_place_of_a_pause() -> None:
    after = do(Verb.CANCEL, a_task(RUNNING, pending_command=a_command(Verb.PAUSE)), at(1)).task
    assert after.pending_command == recorded(Verb.CANCEL)


@pytest.mark.parametrize("status", [RUNNING, PAUSED])
def test_a_second_cancel_leaves_the_first_one_as_it_is(status: TaskStatus) -> None:
    task = a_task(status, pending_command=a_command(Verb.CANCEL))
    assert do(Verb.CANCEL, task, at(1), is_held=True) == Effect(task)


def a_used_task(status: TaskStatus) -> Task:
    return a_task(
        status,
        attempt=4,
        error_message="oh",
        retry_count=3,
        result={"rows": 1},
        progress=Progress(0.5, "half", NOW),
        checkpoint=a_checkpoint(7),
        last_checkpoint_number=7,
        active_seconds=12.0,
        paused_seconds=3.0,
        not_before=at(60),
    )


@pytest.mark.parametrize("status", [FAILED, CANCELLED])
def test_restart_begins_from_scratch_but_keeps_counting(status: TaskStatus) -> None:
    change = do(Verb.RESTART, a_used_task(status), at(1))
    assert transitions(change) == [(status, PENDING, "alice", "because")]
    after = change.task
    assert (after.queued_at, after.queued_by, after.not_before) == (at(1), "alice", None)
    cleared = (after.checkpoint, after.progress, after.result, after.error_message, after.started_at)
    assert cleared == (None,) * 5
    assert (after.retry_count, after.active_seconds, after.paused_seconds) == (0, 0.0, 0.0)
    assert (after.attempt, after.last_checkpoint_number) == (4, 7)


def test_restart_can_begin_from_a_chosen_checkpoint() -> None:
    after = verbs.restart(a_used_task(FAILED), ALICE, at(1), checkpoint=a_checkpoint(5)).task
    assert (after.checkpoint, after.last_checkpoint_number) == (a_checkpoint(5), 7)


def test_restart_of_a_queued_task_changes_nothing() -> None:
    task = a_task(queued_at=NOW)
    assert do(Verb.RESTART, task, at(1)) == Effect(task)


@pytest.mark.parametrize("status", TaskStatus)
def test_only_finished_tasks_can_be_deleted(status: TaskStatus) -> None:
    if status in FINAL:
        verbs.check_deletable(a_task(status), ALICE)
        return
    with pytest.raises(TaskNotFinal) as refusal:
        verbs.check_deletable(a_task(status), ALICE)
    assert refusal.value.metadata["from"] == status


def test_an_update_changes_what_it_names() -> None:
    limits = Limits(run_budget=timedelta(hours=1), stall_timeout=timedelta(minutes=1))
    task = a_task(RUNNING, priority=1, labels={"a": "1"}, limits=limits)
    new = Update(priority=0, labels={}, limits=lambda before: Limits(run_budget=before.run_budget))
    after = verbs.update(task, ALICE, at(1), new=new).task
    assert (after.priority, after.labels, after.max_retries) == (0, {}, task.max_retries)
    assert after.limits == Limits(run_budget=timedelta(hours=1))
    assert after.status is RUNNING


@pytest.mark.parametrize("status", sorted(FINAL))
def test_a_finished_task_cannot_be_updated(status: TaskStatus) -> None:
    with pytest.raises(IllegalTransition):
        verbs.update(a_task(status), ALICE, at(1), new=Update(priority=1))
