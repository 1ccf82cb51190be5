"""The effects of units' reports on a task, and of the loss of its unit.

Pure, like `verbs`. Every function first applies the fence, which raises StaleAttempt. Repeating a report whose effect
already holds changes nothing.
"""

from datetime import datetime, timedelta

from taskplane.server.core.effect import SERVER, Effect
from taskplane.server.core.fence import AttemptRef, fence, fence_running
from taskplane.server.core.retry import RetryPolicy
from taskplane.server.core.task import Checkpoint, Json, PendingCommand, Progress, Task, TaskStatus, Verb
from taskplane.server.core.unit import DrainOrder
from taskplane.server.core.unit_report import Failure, RejectReason

# A refused or released start is queued with this delay, so that its unit does not spin.
REJECTED_START_DELAY = timedelta(seconds=1)


def checkpointed(task: Task, sender: AttemptRef, now: datetime, *, checkpoint: Checkpoint) -> Effect:
    """Store a checkpoint.

    A checkpoint without a number that arrives after the pause may be older than the checkpoint of the pause, and is
    ignored.
    """
    fence(task, sender)
    has_one = task.checkpoint is not None and task.checkpoint.attempt == sender.attempt
    if task.status is TaskStatus.PAUSED and has_one and not checkpoint.number:
        return Effect(task)
    stored = Effect(task).store(checkpoint)
    return stored.edit(now=now) if stored.checkpoint else stored


def paused(  # noqa: PLR0913  (whose, when, what, and what its type can do)
    task: Task,
    sender: AttemptRef,
    now: datetime,
    *,
    checkpoint: Checkpoint | None,
    progress: Progress | None,
    can_checkpoint: bool = False,
) -> Effect:
    """Move RUNNING → PAUSED with the checkpoint. `can_checkpoint`: tasks of the type make checkpoints."""
    fence(task, sender)
    if task.status is TaskStatus.PAUSED:
        return Effect(task)
    by_itself = "paused by the unit"
    if _pending(task) is Verb.CANCEL:
        by_itself = "paused by the unit, before it heard of the cancel; a pause that was asked for has expired by that"
    by, reason = _requester(task, Verb.PAUSE, sender.name, by_itself)
    effect = Effect(task).store(checkpoint)
    warning = unsaved_work(effect.task, sender.attempt, progress) if can_checkpoint else ""
    return effect.move(
        TaskStatus.PAUSED,
        now=now,
        by=by,
        reason=f"{reason}; {warning}" if warning else reason,
        progress=progress or task.progress,
        pending_command=_unless(task, Verb.PAUSE),
    )


def released(  # noqa: PLR0913  (whose, when, what, and who requested the drain)
    task: Task,
    sender: AttemptRef,
    now: datetime,
    *,
    checkpoint: Checkpoint | None,
    message: str,
    drain: DrainOrder | None = None,
    can_checkpoint: bool = False,
    stays: bool = False,
) -> Effect:
    """Move RUNNING → PAUSED and queue the task again, because the unit leaves; no retry is counted.

    A unit that stays may release every task it gets, so the task is then delayed as after a refused start. With a
    pending pause the task stays PAUSED; with a pending cancel the task becomes CANCELLED. A PAUSED task stays PAUSED.
    """
    fence(task, sender)
    effect = Effect(task).store(checkpoint)
    if task.status is TaskStatus.PAUSED and task.pending_command is None:
        # A checkpoint without a number may be a repeat.
        is_new = checkpoint is not None and checkpoint.number and effect.checkpoint
        return effect.edit(now=now) if is_new else Effect(task)
    if task.status is TaskStatus.RUNNING:
        by, why = _requester(task, Verb.PAUSE, sender.name, "")
        if drain and _pending(task) is not Verb.PAUSE:
            by, why = drain.actor or sender.name, drain.reason or "drained"
        release = f"released: {message}" if message else "released by the unit"
        warning = unsaved_work(effect.task, sender.attempt) if can_checkpoint else ""
        reason = "; ".join(filter(None, (why, release, warning)))
        pending = _unless(task, Verb.PAUSE)
        effect = effect.move(TaskStatus.PAUSED, now=now, by=by, reason=reason, pending_command=pending)
    match _pending(task):
        case Verb.CANCEL:
            by, reason = _requester(task, Verb.CANCEL, SERVER, "cancelled")
            return effect.cancel(now=now, by=by, reason=reason)
        case Verb.PAUSE:
            return effect
        case _:
            why = "released by a unit that stays" if stays else "moved from a leaving unit"
            not_before = now + REJECTED_START_DELAY if stays else None
            return effect.edit(now=now, queued_at=now, queued_by=SERVER, queued_reason=why, not_before=not_before)


def unsaved_work(task: Task, attempt: int, progress: Progress | None = None) -> str:
    """Return a warning if a stopping attempt has progress and no checkpoint; else an empty text."""
    progress = progress or task.progress
    if progress is None or progress.fraction == 0 or (task.checkpoint and task.checkpoint.attempt >= attempt):
        return ""
    begin = f"at checkpoint {task.checkpoint.number}" if task.checkpoint else "from the start"
    return f"attempt {attempt} made no checkpoint: another unit would begin {begin}"


def succeeded(task: Task, sender: AttemptRef, now: datetime, *, result: Json | None) -> Effect:
    """Move RUNNING → SUCCESS. A task that became PAUSED out of the unit's reach keeps the result until its resume."""
    fence(task, sender)
    if task.status is TaskStatus.PAUSED and task.pending_command is None:
        if task.result is not None:
            return Effect(task)
        effect = Effect(task).edit(now=now, result=result if result is not None else {})
        return effect.resume_finished(now=now) if task.queued_at else effect
    fence_running(task, sender)
    return Effect(task).finish(now=now, by=sender.name, reason="done", result=result)


def failed(task: Task, sender: AttemptRef, now: datetime, *, failure: Failure, policy: RetryPolicy) -> Effect:
    """Move RUNNING → FAILED, then to PENDING if a retry is left and allowed."""
    fence_running(task, sender)
    effect = Effect(task).store(failure.checkpoint)
    effect = effect.move(
        TaskStatus.FAILED,
        now=now,
        by=sender.name,
        reason=failure.message,
        error_message=failure.message,
        result=failure.result,
        pending_command=None,
    )
    if failure.not_retryable or _pending(task) is Verb.CANCEL:
        return effect
    return retried(effect, now, policy, failure.retry_delay)


def cancelled(task: Task, sender: AttemptRef, now: datetime, *, message: str) -> Effect:
    """Move RUNNING or PAUSED → CANCELLED."""
    fence(task, sender)
    by, reason = _requester(task, Verb.CANCEL, sender.name, "cancelled by the unit")
    reason = f"{reason}; {message}" if message else reason
    return Effect(task).cancel(now=now, by=by, reason=reason)


def start_rejected(task: Task, sender: AttemptRef, now: datetime, *, message: str) -> Effect:
    """Move RUNNING → FAILED → PENDING, because the unit refused the start. No retry is counted."""
    fence_running(task, sender)
    return _given_up(task, now, by=sender.name, why=f"the unit refused: {message}", queued_as="refused by a unit")


def command_rejected(  # noqa: PLR0913  (all that a refusal says)
    task: Task, sender: AttemptRef, now: datetime, *, command_id: str, reason: RejectReason, message: str
) -> Effect:
    """Withdraw a pending pause that the unit refused; the task continues as before.

    A cancel takes effect at once if the unit no longer holds the task. Otherwise the cancel stays pending, and is
    forced at its deadline.
    """
    fence(task, sender)
    if task.pending_command is None or task.pending_command.command_id != command_id:
        return Effect(task)
    if task.pending_command.verb is Verb.PAUSE:
        return Effect(task).edit(now=now, pending_command=None, note=message or "refused by the unit")
    if reason == "UNKNOWN_ATTEMPT":
        by, requested = _requester(task, Verb.CANCEL, SERVER, "")
        return Effect(task).cancel(now=now, by=by, reason=f"{requested}; no unit holds it", taken_from_unit=True)
    return Effect(task)


def not_accepted(task: Task, sender: AttemptRef, now: datetime, *, seconds: float) -> Effect:
    """Move RUNNING → FAILED → PENDING after an unanswered start. No retry is counted; the unit drops the attempt."""
    fence_running(task, sender)
    if task.accepted_at:
        return Effect(task)
    why = f"{sender.name} did not accept it within {seconds:g} s"
    return _given_up(task, now, by=SERVER, why=why, queued_as="not accepted by a unit")


def not_begun(task: Task, sender: AttemptRef, now: datetime, *, why: str) -> Effect:
    """Move RUNNING → FAILED → PENDING, because the process is gone without having accepted the start.

    The process may have begun the attempt, so the start is not sent again: an attempt runs once. No retry is counted.
    """
    fence_running(task, sender)
    why = f"{why}, without having accepted it"
    return _given_up(task, now, by=SERVER, why=why, queued_as="not begun")


def lost(task: Task, sender: AttemptRef, now: datetime, *, why: str, policy: RetryPolicy) -> Effect:
    """Move RUNNING → FAILED, because the unit is lost; then to PENDING if a retry is left.

    Pending commands take effect: a cancel makes the task CANCELLED, a pause PAUSED at the last checkpoint.
    """
    fence_running(task, sender)
    if settled := settled_by_pending_command(task, now, why):
        return settled
    moved = Effect(task).move(
        TaskStatus.FAILED, now=now, by=SERVER, reason=why, error_message=why, taken_from_unit=True
    )
    return retried(moved, now, policy, None)


def settled_by_pending_command(task: Task, now: datetime, why: str) -> Effect | None:
    """Apply a pending pause or cancel of a task without a unit; None if no command is pending."""
    pending = task.pending_command
    if pending is None:
        return None
    to = TaskStatus.CANCELLED if pending.verb is Verb.CANCEL else TaskStatus.PAUSED
    reason = f"{pending.reason or f'{pending.verb.lower()} requested'}; {why}"
    return Effect(task).move(to, now=now, by=pending.actor, reason=reason, pending_command=None, taken_from_unit=True)


def _given_up(task: Task, now: datetime, *, by: str, why: str, queued_as: str) -> Effect:
    """Take an attempt that never began from its unit; pending commands take effect as in `lost`."""
    if settled := settled_by_pending_command(task, now, why):
        return settled
    effect = Effect(task).move(TaskStatus.FAILED, now=now, by=by, reason=why, taken_from_unit=by == SERVER)
    return effect.move(
        TaskStatus.PENDING,
        now=now,
        by=SERVER,
        reason="queued again, no retry counted",
        queued_at=now,
        queued_by=SERVER,
        queued_reason=queued_as,
        not_before=now + REJECTED_START_DELAY,
        pending_command=None,
    )


def retried(effect: Effect, now: datetime, policy: RetryPolicy, delay: timedelta | None) -> Effect:
    """Add FAILED → PENDING to an effect that ends in FAILED, if a retry is left; `delay` overrides the policy."""
    task = effect.task
    if task.retry_count >= task.max_retries:
        return effect
    wait = policy.backoff(task.retry_count) if delay is None else delay
    return effect.move(
        TaskStatus.PENDING,
        now=now,
        by=SERVER,
        reason=f"retry {task.retry_count + 1} of {task.max_retries}",
        retry_count=task.retry_count + 1,
        result=None,
        queued_at=now,
        queued_by=SERVER,
        queued_reason="",
        not_before=now + wait,
    )


def _pending(task: Task) -> Verb | None:
    return task.pending_command.verb if task.pending_command else None


def _unless(task: Task, verb: Verb) -> PendingCommand | None:
    return None if _pending(task) is verb else task.pending_command


def _requester(task: Task, verb: Verb, otherwise: str, reason: str) -> tuple[str, str]:
    command = task.pending_command
    if command is None or command.verb is not verb:
        return otherwise, reason
    return command.actor or otherwise, command.reason or f"{verb.lower()} requested"
