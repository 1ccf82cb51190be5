"""Tests whether the effect of a verb holds, or can never hold.

Each function examines a task right after a commit: True ends the wait, False continues the wait, an error reports that
the effect can no longer occur.
"""

from taskplane.server.core.command_log import CommandLogEntry, CommandState
from taskplane.server.core.errors import CommandRejected, IllegalTransition
from taskplane.server.core.task import Task, TaskStatus, Verb


def is_paused(task: Task, note: str = "") -> bool:
    """Return whether a pause holds."""
    if task.status is TaskStatus.PAUSED:
        return True
    _check_still_pending(task, Verb.PAUSE, note)
    return False


def is_cancelled(task: Task, note: str = "") -> bool:
    """Return whether a cancel holds."""
    if task.status is TaskStatus.CANCELLED:
        return True
    _check_still_pending(task, Verb.CANCEL, note)
    return False


def is_dispatched(task: Task, note: str = "") -> bool:
    """Return whether a start, resume or restart holds: the task runs, has run, or is no longer queued."""
    return task.queued_at is None


def check_not_lost(entry: CommandLogEntry, task: Task) -> None:
    """Raise the outcome of a command without effect, if the command is over."""
    metadata = {"task_id": str(task.id), "from": task.status, "verb": entry.verb}
    if entry.state is CommandState.REJECTED:
        raise CommandRejected(f"{entry.verb.lower()} of task {task.id} was refused: {entry.message}", metadata=metadata)
    if entry.state is CommandState.EXPIRED:
        message = f"{entry.verb.lower()} of task {task.id} has no effect: {entry.message}"
        raise IllegalTransition(message, metadata=metadata)


def _check_still_pending(task: Task, verb: Verb, note: str) -> None:
    pending = task.pending_command
    if pending and pending.verb is verb and not task.is_final:
        return
    metadata = {"task_id": str(task.id), "from": task.status, "verb": verb}
    if task.status is TaskStatus.RUNNING and pending is None:
        refusal = f"{verb.lower()} of task {task.id} was refused by unit {task.execution_unit_id!r}"
        raise CommandRejected(f"{refusal}: {note or 'no reason given'}", metadata=metadata)
    happened = f"a {pending.verb.lower()} took its place" if pending else f"it became {task.status} first"
    raise IllegalTransition(f"{verb.lower()} of task {task.id} has no effect: {happened}", metadata=metadata)
