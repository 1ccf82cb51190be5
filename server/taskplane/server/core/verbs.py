"""The effects of verbs on a task. Pure: takes a task and a call, returns an effect or raises the refusal.

Repeating a verb whose effect already holds changes nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from taskplane.server.core.effect import UNQUEUED, Effect
from taskplane.server.core.errors import IllegalTransition, StaleRevision, TaskNotFinal, UnitCannotPause
from taskplane.server.core.task import Checkpoint, Limits, PendingCommand, Task, TaskStatus, Verb, illegal


@dataclass(frozen=True, slots=True)
class CallContext:
    """The actor and reason of a call, and the expected revision (0: any)."""

    actor: str = "client"
    reason: str = ""
    expected_revision: int = 0


def check_revision(task: Task, caller: CallContext) -> None:
    """Raise StaleRevision if the task does not have the expected revision."""
    if caller.expected_revision and caller.expected_revision != task.revision:
        raise StaleRevision(task.id, caller.expected_revision, task.revision)


def start(task: Task, caller: CallContext, now: datetime) -> Effect:
    """Queue a PENDING task."""
    check_revision(task, caller)
    match task.status:
        case TaskStatus.PENDING if not task.queued_at:
            return Effect(task).edit(now=now, queued_at=now, queued_by=caller.actor, queued_reason=caller.reason)
        case TaskStatus.PENDING | TaskStatus.RUNNING:
            return Effect(task)
        case _:
            raise illegal(task, TaskStatus.RUNNING, "start")


@dataclass(frozen=True, slots=True)
class NewCommand:
    """The command that a verb may issue: its id, and the time limit for the unit."""

    command_id: str
    time_limit: timedelta

    def pending(self, verb: Verb, caller: CallContext, now: datetime) -> PendingCommand:
        """Return the command as it is recorded."""
        return PendingCommand(
            verb, self.command_id, now, deadline=now + self.time_limit, actor=caller.actor, reason=caller.reason
        )


def pause(
    task: Task, caller: CallContext, now: datetime, *, command: NewCommand, can_pause: Callable[[Task], bool]
) -> Effect:
    """Record a pause of a RUNNING task; withdraw the resume of a PAUSED and queued task."""
    check_revision(task, caller)
    _refuse_while_cancelling(task, TaskStatus.PAUSED, "pause")
    match task.status:
        case TaskStatus.PAUSED if task.queued_at:
            return Effect(task).edit(now=now, **UNQUEUED)
        case TaskStatus.PAUSED:
            return Effect(task)
        case TaskStatus.RUNNING if task.pending_command:
            return Effect(task)
        case TaskStatus.RUNNING:
            if not can_pause(task):
                raise UnitCannotPause(task.id, task.execution_unit_id or "", task.task_type)
            return Effect(task).edit(now=now, pending_command=command.pending(Verb.PAUSE, caller, now))
        case _:
            raise illegal(task, TaskStatus.PAUSED, "pause")


def resume(
    task: Task, caller: CallContext, now: datetime, *, command_id: str, checkpoint: Checkpoint | None = None
) -> Effect:
    """Queue a PAUSED task to continue from memory, its newest checkpoint, or the given checkpoint.

    For a queued task, only the choice of the checkpoint changes. A task that finished its work while PAUSED becomes
    SUCCESS at once, unless a checkpoint is given.
    """
    chosen = checkpoint.number if checkpoint else None
    check_revision(task, caller)
    _refuse_while_cancelling(task, TaskStatus.RUNNING, "resume")
    match task.status:
        case TaskStatus.PAUSED if not task.queued_at:
            is_finished = task.result is not None and chosen is None
            queued = Effect(task).edit(
                now=now,
                queued_at=now,
                queued_by=caller.actor,
                queued_reason=caller.reason,
                queued_command_id=command_id,
                queued_checkpoint_number=chosen,
                result=task.result if is_finished else None,
            )
            return queued.resume_finished(now=now) if is_finished else queued
        case TaskStatus.PAUSED if chosen and chosen != task.queued_checkpoint_number:
            return Effect(task).edit(now=now, queued_checkpoint_number=chosen)
        case TaskStatus.PAUSED:
            return Effect(task)
        case TaskStatus.RUNNING if not task.pending_command:
            return Effect(task)
        case TaskStatus.RUNNING:
            raise _under_way(task, TaskStatus.RUNNING, "resume", "pause")
        case _:
            raise illegal(task, TaskStatus.RUNNING, "resume")


def cancel(
    task: Task, caller: CallContext, now: datetime, *, command: NewCommand, is_held: Callable[[Task], bool]
) -> Effect:
    """Cancel a task without a unit at once; else record a cancel, which replaces a pending pause."""
    check_revision(task, caller)
    match task.status:
        case TaskStatus.CANCELLED:
            return Effect(task)
        case TaskStatus.RUNNING | TaskStatus.PAUSED if _is_cancelling(task):
            return Effect(task)
        case TaskStatus.RUNNING:
            return _record_cancel(task, caller, now, command)
        case TaskStatus.PAUSED if is_held(task):
            return _record_cancel(task, caller, now, command)
        case TaskStatus.PENDING | TaskStatus.PAUSED:
            return Effect(task).cancel(now=now, by=caller.actor, reason=caller.reason or "cancelled")
        case _:
            raise illegal(task, TaskStatus.CANCELLED, "cancel")


def restart(task: Task, caller: CallContext, now: datetime, *, checkpoint: Checkpoint | None = None) -> Effect:
    """Queue a FAILED or CANCELLED task again, to run from scratch or from the given checkpoint.

    The attempt number and the checkpoint numbers continue to grow.
    """
    check_revision(task, caller)
    if task.status is TaskStatus.PENDING and task.queued_at:
        return Effect(task)
    if task.status not in {TaskStatus.FAILED, TaskStatus.CANCELLED}:
        raise illegal(task, TaskStatus.PENDING, "restart")
    moved = Effect(task).move(
        TaskStatus.PENDING,
        now=now,
        by=caller.actor,
        reason=caller.reason or "restarted",
        queued_at=now,
        queued_by=caller.actor,
        queued_reason=caller.reason,
        started_at=None,
        error_message=None,
        retry_count=0,
        result=None,
        progress=None,
        checkpoint=checkpoint,
        pending_command=None,
    )
    return moved.edit(now=now, active_seconds=0.0, paused_seconds=0.0)


@dataclass(frozen=True, slots=True)
class Update:
    """New values for a live task; None leaves a field as it is."""

    priority: int | None = None
    max_retries: int | None = None
    labels: Mapping[str, str] | None = None
    unit_labels: Mapping[str, str] | None = None
    limits: Callable[[Limits], Limits] | None = None


def update(task: Task, caller: CallContext, now: datetime, *, new: Update) -> Effect:
    """Change the mutable fields of a live task."""
    check_revision(task, caller)
    if task.is_final:
        raise IllegalTransition(
            f"cannot change task {task.id}: it is {task.status}, which is final; restart it first",
            metadata={"task_id": str(task.id), "from": task.status},
        )
    plain = ("priority", "max_retries", "labels", "unit_labels")
    changes: dict[str, Any] = {name: value for name in plain if (value := getattr(new, name)) is not None}
    if new.limits:
        changes["limits"] = new.limits(task.limits)
    return Effect(task).edit(now=now, **changes)


def check_deletable(task: Task, caller: CallContext) -> None:
    """Raise TaskNotFinal unless the task may be deleted."""
    check_revision(task, caller)
    if not task.is_final:
        raise TaskNotFinal(task.id, task.status)


def _record_cancel(task: Task, caller: CallContext, now: datetime, command: NewCommand) -> Effect:
    pending = command.pending(Verb.CANCEL, caller, now)
    return Effect(task).edit(now=now, pending_command=pending, **UNQUEUED)


def _is_cancelling(task: Task) -> bool:
    return task.pending_command is not None and task.pending_command.verb is Verb.CANCEL


def _refuse_while_cancelling(task: Task, to: TaskStatus, verb: str) -> None:
    if _is_cancelling(task):
        raise _under_way(task, to, verb, "cancel")


def _under_way(task: Task, to: TaskStatus, verb: str, other: str) -> IllegalTransition:
    return IllegalTransition(
        f"cannot {verb} task {task.id}: a {other} is in progress",
        metadata={"task_id": str(task.id), "from": task.status, "to": to, "pending": other.upper()},
    )
