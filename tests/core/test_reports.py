"""Each report, in each status, under each pending command: the resulting status, and the actor in the history."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from support.actions import AT_ONCE, REPORTS
from support.builders import NOW, OTHER_UNIT_ID, UNIT_ID, a_checkpoint, a_command, a_task, at, attempt_ref_of

from taskplane.server.core import reports, verbs
from taskplane.server.core.effect import SERVER, Effect
from taskplane.server.core.errors import DropReason, StaleAttempt
from taskplane.server.core.fence import AttemptRef, drop_reason
from taskplane.server.core.limits import expired
from taskplane.server.core.retry import RetryPolicy
from taskplane.server.core.task import Checkpoint, Progress, Task, TaskStatus, Transition, Verb
from taskplane.server.core.unit_report import Failure, RejectReason

PENDING, RUNNING, SUCCESS, FAILED, PAUSED, CANCELLED = TaskStatus

# Report: the statuses without a pending command, with a pause, with a cancel. None: refused by the fence.
FROM_RUNNING = {
    "checkpointed": (RUNNING, RUNNING, RUNNING),
    "paused": (PAUSED, PAUSED, PAUSED),
    "released": (PAUSED, PAUSED, CANCELLED),
    "succeeded": (SUCCESS, SUCCESS, SUCCESS),
    "failed": (PENDING, PENDING, FAILED),
    "failed for good": (FAILED, FAILED, FAILED),
    "cancelled": (CANCELLED, CANCELLED, CANCELLED),
    "start rejected": (PENDING, PAUSED, CANCELLED),
    "command rejected": (RUNNING, RUNNING, RUNNING),
    "attempt unknown": (RUNNING, RUNNING, CANCELLED),
    "not accepted": (PENDING, PAUSED, CANCELLED),
    "lost": (PENDING, PAUSED, CANCELLED),
}
# The same for a task held paused by a unit, without a pending command and with a cancel.
FROM_PAUSED = {
    "checkpointed": (PAUSED, PAUSED),
    "paused": (PAUSED, PAUSED),
    "released": (PAUSED, CANCELLED),
    "succeeded": (PAUSED, None),
    "failed": (None, None),
    "failed for good": (None, None),
    "cancelled": (CANCELLED, CANCELLED),
    "start rejected": (None, None),
    "command rejected": (PAUSED, PAUSED),
    "attempt unknown": (PAUSED, CANCELLED),
    "not accepted": (None, None),
    "lost": (None, None),
}
COMMANDS = (None, a_command(Verb.PAUSE), a_command(Verb.CANCEL))
CASES = [
    *((name, RUNNING, *case) for name, all_to in FROM_RUNNING.items() for case in zip(COMMANDS, all_to, strict=True)),
    *(
        (name, PAUSED, *case)
        for name, all_to in FROM_PAUSED.items()
        for case in zip(COMMANDS[::2], all_to, strict=True)
    ),
]


def report(name: str, task: Task) -> Effect:
    return REPORTS[name](task, attempt_ref_of(task), at(1))


def moves(change: Effect) -> list[Transition]:
    return [step.transition for step in change.steps if step.transition]


def test_every_report_is_in_the_tables() -> None:
    assert FROM_RUNNING.keys() == FROM_PAUSED.keys() == REPORTS.keys()


@pytest.mark.parametrize(("name", "status", "command", "to"), CASES)
def test_a_report_leads_where_the_tables_say(name: str, status: TaskStatus, command: object, to: object) -> None:
    task = a_task(status, pending_command=command)
    if to is None:
        with pytest.raises(StaleAttempt):
            report(name, task)
    else:
        assert report(name, task).task.status is to


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (PENDING, DropReason.SUPERSEDED),
        (SUCCESS, DropReason.FINISHED),
        (FAILED, DropReason.FINISHED),
        (CANCELLED, DropReason.CANCELLED),
    ],
)
def test_a_task_that_no_unit_has_listens_to_no_report(name: str, status: TaskStatus, reason: DropReason) -> None:
    task = a_task(status, attempt=1, execution_unit_id=UNIT_ID)
    with pytest.raises(StaleAttempt) as stale:
        report(name, task)
    assert stale.value.drop is reason


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("sender", [AttemptRef(UNIT_ID, 1), AttemptRef(UNIT_ID, 3), AttemptRef(OTHER_UNIT_ID, 2)])
def test_the_fence_stops_other_attempts_and_other_units(name: str, sender: AttemptRef) -> None:
    with pytest.raises(StaleAttempt) as stale:
        REPORTS[name](a_task(RUNNING, attempt=2), sender, at(1))
    assert stale.value.drop is DropReason.SUPERSEDED


def test_a_missing_task_is_dropped_as_deleted() -> None:
    assert drop_reason(None, AttemptRef(UNIT_ID, 1)) is DropReason.DELETED


def test_a_pause_takes_the_checkpoint_and_the_progress_along() -> None:
    progress = Progress(0.4, "row 40", at(1))
    task = a_task(RUNNING, pending_command=a_command(Verb.PAUSE))
    change = reports.paused(task, attempt_ref_of(task), at(1), checkpoint=a_checkpoint(7), progress=progress)
    assert change.checkpoint == change.task.checkpoint == a_checkpoint(7)
    assert change.task.last_checkpoint_number == 7
    assert change.task.progress == progress
    assert change.task.pending_command is None
    assert change.task.retry_count == 0
    (move,) = moves(change)
    assert (move.changed_by, move.reason) == ("bob", "as bob wishes")


@pytest.mark.parametrize(
    ("checkpoint", "begin"),
    [(None, "from the start"), (a_checkpoint(4, attempt=1), "at checkpoint 4")],
)
@pytest.mark.parametrize("kind", ["paused", "released"])
def test_work_that_stops_without_a_checkpoint_of_its_attempt_is_noted_in_the_history(
    kind: str, checkpoint: Checkpoint | None, begin: str
) -> None:
    task = a_task(RUNNING, attempt=2, checkpoint=checkpoint, progress=Progress(0.4, "row 40", at(1)))
    reason = stopped(kind, task, can_checkpoint=True)
    assert reason.endswith(f"; attempt 2 made no checkpoint: another unit would begin {begin}")
    assert "checkpoint" not in stopped(kind, task, can_checkpoint=False)


@pytest.mark.parametrize("kind", ["paused", "released"])
@pytest.mark.parametrize(
    "changes",
    [
        {"progress": None},
        {"progress": Progress(0.0, "begins", NOW)},
        {"progress": Progress(0.4, "row 40", NOW), "checkpoint": a_checkpoint(4, attempt=2)},
    ],
)
def test_no_warning_where_no_work_can_be_lost(kind: str, changes: dict[str, Any]) -> None:
    assert "checkpoint" not in stopped(kind, a_task(RUNNING, attempt=2, **changes), can_checkpoint=True)


def stopped(kind: str, task: Task, *, can_checkpoint: bool) -> str:
    if kind == "paused":
        change = reports.paused(
            task, attempt_ref_of(task), at(2), checkpoint=None, progress=None, can_checkpoint=can_checkpoint
        )
    else:
        change = reports.released(
            task, attempt_ref_of(task), at(2), checkpoint=None, message="", can_checkpoint=can_checkpoint
        )
    return moves(change)[0].reason


def test_a_pause_without_a_request_is_attributed_to_the_unit() -> None:
    (move,) = moves(report("paused", a_task(RUNNING)))
    assert move.changed_by == f"unit:{UNIT_ID}"


def test_a_pause_that_comes_before_a_cancel_leaves_the_cancel_pending() -> None:
    task = a_task(RUNNING, pending_command=a_command(Verb.CANCEL))
    assert report("paused", task).task.pending_command == task.pending_command


def test_a_checkpoint_that_is_not_above_the_last_is_a_repeat() -> None:
    task = a_task(RUNNING, checkpoint=a_checkpoint(7), last_checkpoint_number=7)
    for number in (6, 7):
        change = reports.checkpointed(task, attempt_ref_of(task), at(1), checkpoint=a_checkpoint(number))
        assert change == Effect(task)
    paused = reports.paused(
        task, attempt_ref_of(task), at(1), checkpoint=a_checkpoint(7, data={"row": 0}), progress=None
    )
    assert paused.checkpoint is None
    assert paused.task.checkpoint == a_checkpoint(7)


def test_a_checkpoint_without_a_number_does_not_replace_that_of_the_pause() -> None:
    """Over HTTP, the two arrive on different connections: a poll's response and a callback."""
    task = a_task(PAUSED, last_checkpoint_number=7)
    sender = attempt_ref_of(task)
    paused = task.but(checkpoint=a_checkpoint(7, attempt=sender.attempt))
    assert reports.checkpointed(paused, sender, at(1), checkpoint=a_checkpoint(0)) == Effect(paused)
    assert reports.checkpointed(paused, sender, at(1), checkpoint=a_checkpoint(8)).checkpoint == a_checkpoint(8)
    # The checkpoint of an earlier attempt is always older.
    earlier = task.but(checkpoint=a_checkpoint(7, attempt=sender.attempt - 1))
    stored = reports.checkpointed(earlier, sender, at(1), checkpoint=a_checkpoint(0)).checkpoint
    assert stored is not None
    assert stored.number == 8


def test_after_a_restart_the_numbers_of_checkpoints_continue() -> None:
    task = a_task(RUNNING, checkpoint=None, last_checkpoint_number=7)
    assert reports.checkpointed(task, attempt_ref_of(task), at(1), checkpoint=a_checkpoint(7)) == Effect(task)
    stored = reports.checkpointed(task, attempt_ref_of(task), at(1), checkpoint=a_checkpoint(8))
    assert stored.checkpoint == a_checkpoint(8)


def test_success_keeps_the_result_and_clears_the_error() -> None:
    task = a_task(RUNNING, error_message="first try failed", progress=Progress(0.9, "nearly", NOW))
    after = report("succeeded", task).task
    assert (after.result, after.error_message) == ({"rows": 3}, None)
    assert after.progress == Progress(1.0, "nearly", at(1))


def test_a_failure_and_its_retry_are_one_change() -> None:
    change = report("failed", a_task(RUNNING, checkpoint=a_checkpoint(), last_checkpoint_number=1))
    failure, retry = moves(change)
    assert (failure.from_status, failure.to_status, failure.changed_by) == (RUNNING, FAILED, f"unit:{UNIT_ID}")
    assert (retry.from_status, retry.to_status, retry.changed_by) == (FAILED, PENDING, SERVER)
    assert (failure.reason, retry.reason) == ("oh", "retry 1 of 3")
    after = change.task
    assert (after.retry_count, after.queued_at, after.error_message) == (1, at(1), "oh")
    assert after.checkpoint == a_checkpoint(), "a retry goes on from the last checkpoint"


def test_the_last_retry_is_the_last() -> None:
    after = report("failed", a_task(RUNNING, retry_count=3)).task
    assert (after.status, after.retry_count, after.queued_at) == (FAILED, 3, None)


def test_the_unit_may_set_the_delay_of_a_retry() -> None:
    task = a_task(RUNNING)
    failure = Failure("busy", retry_delay=timedelta(seconds=90))
    after = reports.failed(task, attempt_ref_of(task), NOW, failure=failure, policy=AT_ONCE).task
    assert after.not_before == at(90)


def test_otherwise_the_policy_sets_the_delay() -> None:
    task = a_task(RUNNING, retry_count=2)
    failure = Failure("oh", checkpoint=a_checkpoint())
    policy = RetryPolicy(base_seconds=10, cap_seconds=15)
    after = reports.failed(task, attempt_ref_of(task), NOW, failure=failure, policy=policy).task
    assert after.not_before is not None
    assert NOW <= after.not_before <= at(15)
    assert after.checkpoint == a_checkpoint()


def test_a_leaving_unit_hands_its_task_on_without_a_retry() -> None:
    change = report("released", a_task(RUNNING))
    after = change.task
    assert (after.status, after.queued_at, after.retry_count) == (PAUSED, at(1), 0)
    assert after.checkpoint == a_checkpoint(1)
    assert [move.to_status for move in moves(change)] == [PAUSED]


def test_a_task_that_is_to_be_paused_is_not_queued_when_its_unit_leaves() -> None:
    after = report("released", a_task(RUNNING, pending_command=a_command(Verb.PAUSE))).task
    assert (after.status, after.queued_at, after.pending_command) == (PAUSED, None, None)


@pytest.mark.parametrize("name", ["start rejected", "not accepted"])
def test_a_start_that_is_not_taken_costs_no_retry(name: str) -> None:
    task = a_task(RUNNING, retry_count=3, accepted_at=None, checkpoint=a_checkpoint(), last_checkpoint_number=1)
    change = report(name, task)
    after = change.task
    assert [move.to_status for move in moves(change)] == [FAILED, PENDING]
    assert (after.retry_count, after.queued_at, after.checkpoint) == (3, at(1), a_checkpoint())
    assert after.not_before is not None
    assert after.not_before > at(1), "a unit that refuses everything does not spin"


def test_an_accepted_start_cannot_time_out() -> None:
    task = a_task(RUNNING, accepted_at=NOW)
    assert reports.not_accepted(task, attempt_ref_of(task), at(1), seconds=5) == Effect(task)


def test_a_rejected_command_is_withdrawn_and_waiting_callers_get_the_reason() -> None:
    task = a_task(RUNNING, pending_command=a_command(Verb.PAUSE))
    (step,) = report("command rejected", task).steps
    assert (step.transition, step.note) == (None, "NO")
    assert step.task == replace(task, pending_command=None, updated_at=at(1))


def test_a_refused_cancel_stays_pending_until_it_is_forced() -> None:
    task = a_task(RUNNING, pending_command=a_command(Verb.CANCEL, deadline=at(9)))
    assert report("command rejected", task) == Effect(task)
    assert expired(task, at(9), AT_ONCE).task.status is CANCELLED


@pytest.mark.parametrize("status", [RUNNING, PAUSED])
def test_a_cancel_of_what_the_unit_does_not_hold_any_more_is_the_work_of_who_asked_for_it(status: TaskStatus) -> None:
    change = report("attempt unknown", a_task(status, pending_command=a_command(Verb.CANCEL)))
    (move,) = moves(change)
    assert (move.to_status, move.changed_by) == (CANCELLED, "bob")
    assert move.reason == "as bob wishes; no unit holds it"
    assert change.task.pending_command is None


@pytest.mark.parametrize(("status", "reason"), [(RUNNING, "OTHER"), (PAUSED, "UNKNOWN_ATTEMPT")])
def test_the_refusal_of_an_earlier_command_changes_nothing(status: TaskStatus, reason: RejectReason) -> None:
    task = a_task(status, pending_command=a_command(Verb.CANCEL, "newer"))
    change = reports.command_rejected(
        task, attempt_ref_of(task), at(1), command_id="older", reason=reason, message="NO"
    )
    assert change == Effect(task)


def test_a_pause_that_a_leaving_unit_has_seen_to_is_the_work_of_who_asked_for_it() -> None:
    change = report("released", a_task(RUNNING, pending_command=a_command(Verb.PAUSE)))
    (move,) = moves(change)
    assert (move.to_status, move.changed_by) == (PAUSED, "bob")
    assert move.reason.startswith("as bob wishes; released")


@pytest.mark.parametrize(("verb", "to"), [(Verb.PAUSE, PAUSED), (Verb.CANCEL, CANCELLED)])
def test_a_lost_attempt_gets_what_was_asked_for(verb: Verb, to: TaskStatus) -> None:
    change = report("lost", a_task(RUNNING, pending_command=a_command(verb)))
    (move,) = moves(change)
    assert (move.to_status, move.changed_by, move.reason) == (to, "bob", "as bob wishes; unit lost")
    assert change.steps[0].taken_from_unit
    assert change.task.retry_count == 0


def test_a_lost_attempt_is_retried_like_a_failure() -> None:
    change = report("lost", a_task(RUNNING))
    assert [(move.to_status, move.changed_by) for move in moves(change)] == [(FAILED, SERVER), (PENDING, SERVER)]
    assert (change.task.retry_count, change.task.error_message) == (1, "unit lost")
    assert change.steps[0].taken_from_unit


def test_work_that_was_done_while_the_task_was_paused_counts_when_it_is_resumed() -> None:
    kept = report("succeeded", a_task(PAUSED)).task
    assert (kept.status, kept.result) == (PAUSED, {"rows": 3})
    assert not report("succeeded", kept).steps, "a repeat"
    change = verbs.resume(kept, verbs.CallContext("alice", "go on"), at(2), command_id="resume-1")
    assert [(each.from_status, each.to_status, each.changed_by) for each in moves(change)] == [
        (PAUSED, RUNNING, "alice"),
        (RUNNING, SUCCESS, f"unit:{UNIT_ID}"),
    ]
    done = change.task
    assert (done.result, done.attempt, done.queued_at) == ({"rows": 3}, kept.attempt + 1, None)


def test_work_that_is_done_after_the_resume_was_queued_counts_at_once() -> None:
    queued = a_task(PAUSED).but(queued_at=at(0), queued_by="alice")
    change = report("succeeded", queued)
    assert [each.to_status for each in moves(change)] == [RUNNING, SUCCESS]
    assert change.task.result == {"rows": 3}


def test_work_that_was_done_is_done_again_if_a_checkpoint_is_chosen_and_forgotten_if_it_is_cancelled() -> None:
    kept = report("succeeded", a_task(PAUSED)).task
    again = verbs.resume(kept, verbs.CallContext(), at(2), command_id="resume-1", checkpoint=a_checkpoint()).task
    assert (again.status, again.result, again.queued_at) == (PAUSED, None, at(2))
    assert Effect(kept).cancel(now=at(2), by="alice", reason="").task.result is None


def test_a_failure_keeps_its_result_unless_it_is_tried_again() -> None:
    failure = Failure("half of it", not_retryable=True, result={"rows": 1})
    task = a_task(RUNNING)
    kept = reports.failed(task, attempt_ref_of(task), at(1), failure=failure, policy=RetryPolicy()).task
    assert (kept.status, kept.result) == (FAILED, {"rows": 1})
    failure = replace(failure, not_retryable=False)
    tried = reports.failed(task, attempt_ref_of(task), at(1), failure=failure, policy=RetryPolicy()).task
    assert (tried.status, tried.result) == (PENDING, None)


def test_a_pause_replaced_by_a_cancel_notes_it() -> None:
    """The command log has the pause as EXPIRED."""
    (move,) = moves(report("paused", a_task(RUNNING, pending_command=a_command(Verb.CANCEL))))
    assert move.to_status is PAUSED
    assert "before it heard of the cancel" in move.reason
    (by_itself,) = moves(report("paused", a_task(RUNNING)))
    assert by_itself.reason.startswith("paused by the unit")
    assert "cancel" not in by_itself.reason
