"""What each verb does to a task. Pure: a task and a request in, a change out, or an error that says why not.

Repeating a verb whose effect already holds changes nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from taskplane.server.core.change import Change
from taskplane.server.core.errors import IllegalTransition, StaleRevision, TaskNotFinal, UnitCannotPause
from taskplane.server.core.task import PendingCommand, Task, TaskStatus, Verb, illegal


@dataclass(frozen=True, slots=True)
class Ask:
    """Who asks, why, and under which condition (0: none)."""

    actor: str = "client"
    reason: str = ""
    expected_revision: int = 0


def check_revision(task: Task, ask: Ask) -> None:
    """Raise StaleRevision if the caller's condition does not hold."""
    if ask.expected_revision and ask.expected_revision != task.revision:
        raise StaleRevision(task.id, ask.expected_revision, task.revision)


def start(task: Task, ask: Ask, now: datetime) -> Change:
    """Queue a PENDING task."""
    check_revision(task, ask)
    match task.status:
        case TaskStatus.PENDING if not task.queued_at:
            return Change(task).edit(now=now, queued_at=now, queued_by=ask.actor, queued_reason=ask.reason)
        case TaskStatus.PENDING | TaskStatus.RUNNING:
            return Change(task)
        case _:
            raise illegal(task, TaskStatus.RUNNING, "start")


def pause(task: Task, ask: Ask, now: datetime, *, command_id: str, can_pause: Callable[[Task], bool]) -> Change:
    """Record a pause of a RUNNING task; withdraw the resume of one that is PAUSED and queued."""
    check_revision(task, ask)
    _refuse_while_cancelling(task, TaskStatus.PAUSED, "pause")
    match task.status:
        case TaskStatus.PAUSED if task.queued_at:
            return Change(task).edit(now=now, queued_at=None)
        case TaskStatus.PAUSED:
            return Change(task)
        case TaskStatus.RUNNING if task.pending_command:
            return Change(task)
        case TaskStatus.RUNNING:
            if not can_pause(task):
                raise UnitCannotPause(task.id, task.execution_unit_id or "", task.task_type)
            command = PendingCommand(Verb.PAUSE, command_id, now, actor=ask.actor, reason=ask.reason)
            return Change(task).edit(now=now, pending_command=command)
        case _:
            raise illegal(task, TaskStatus.PAUSED, "pause")


def resume(task: Task, ask: Ask, now: datetime) -> Change:
    """Queue a PAUSED task to go on."""
    check_revision(task, ask)
    _refuse_while_cancelling(task, TaskStatus.RUNNING, "resume")
    match task.status:
        case TaskStatus.PAUSED if not task.queued_at:
            return Change(task).edit(now=now, queued_at=now, queued_by=ask.actor, queued_reason=ask.reason)
        case TaskStatus.PAUSED:
            return Change(task)
        case TaskStatus.RUNNING if not task.pending_command:
            return Change(task)
        case TaskStatus.RUNNING:
            raise _under_way(task, TaskStatus.RUNNING, "resume", "pause")
        case _:
            raise illegal(task, TaskStatus.RUNNING, "resume")


def cancel(task: Task, ask: Ask, now: datetime, *, command_id: str, is_held: Callable[[Task], bool]) -> Change:
    """Cancel at once what no unit holds; record a cancel for what one does, in place of a pending pause."""
    check_revision(task, ask)
    match task.status:
        case TaskStatus.CANCELLED:
            return Change(task)
        case TaskStatus.RUNNING | TaskStatus.PAUSED if _is_cancelling(task):
            return Change(task)
        case TaskStatus.RUNNING:
            return _record_cancel(task, ask, now, command_id)
        case TaskStatus.PAUSED if is_held(task):
            return _record_cancel(task, ask, now, command_id)
        case TaskStatus.PENDING | TaskStatus.PAUSED:
            return Change(task).move(
                TaskStatus.CANCELLED, now=now, by=ask.actor, reason=ask.reason or "cancelled", queued_at=None
            )
        case _:
            raise illegal(task, TaskStatus.CANCELLED, "cancel")


def restart(task: Task, ask: Ask, now: datetime) -> Change:
    """Put a FAILED or CANCELLED task back, queued, to run from scratch. The attempt goes on counting."""
    check_revision(task, ask)
    if task.status is TaskStatus.PENDING and task.queued_at:
        return Change(task)
    if task.status not in {TaskStatus.FAILED, TaskStatus.CANCELLED}:
        raise illegal(task, TaskStatus.PENDING, "restart")
    moved = Change(task).move(
        TaskStatus.PENDING,
        now=now,
        by=ask.actor,
        reason=ask.reason or "restarted",
        queued_at=now,
        queued_by=ask.actor,
        queued_reason=ask.reason,
        not_before=None,
        started_at=None,
        error_message=None,
        retry_count=0,
        result=None,
        progress=None,
        checkpoint=None,
        pending_command=None,
    )
    return moved.edit(now=now, active_seconds=0.0, paused_seconds=0.0)


def check_deletable(task: Task, ask: Ask) -> None:
    """Raise TaskNotFinal unless the task may be deleted."""
    check_revision(task, ask)
    if not task.is_final:
        raise TaskNotFinal(task.id, task.status)


def _record_cancel(task: Task, ask: Ask, now: datetime, command_id: str) -> Change:
    command = PendingCommand(Verb.CANCEL, command_id, now, actor=ask.actor, reason=ask.reason)
    return Change(task).edit(now=now, pending_command=command, queued_at=None)


def _is_cancelling(task: Task) -> bool:
    return task.pending_command is not None and task.pending_command.verb is Verb.CANCEL


def _refuse_while_cancelling(task: Task, to: TaskStatus, verb: str) -> None:
    if _is_cancelling(task):
        raise _under_way(task, to, verb, "cancel")


def _under_way(task: Task, to: TaskStatus, verb: str, other: str) -> IllegalTransition:
    return IllegalTransition(
        f"cannot {verb} task {task.id}: a {other} is under way",
        metadata={"task_id": str(task.id), "from": task.status, "to": to, "pending": other.upper()},
    )
