"""The fence: it drops stale reports.

Only the assigned unit, with the current attempt number, may report on a RUNNING or PAUSED task. Any other report
changes nothing, and its sender must drop the attempt.
"""

from dataclasses import dataclass

from taskplane.server.core.errors import DropReason, StaleAttempt
from taskplane.server.core.task import Task, TaskStatus


@dataclass(frozen=True, slots=True)
class AttemptRef:
    """The sender of a report: a unit and an attempt."""

    unit_id: str
    attempt: int

    @property
    def name(self) -> str:
        """Return the sender's name in `changed_by`."""
        return f"unit:{self.unit_id}"


def drop_reason(task: Task | None, sender: AttemptRef) -> DropReason | None:
    """Return why the sender must drop the attempt, or None if the attempt is current."""
    if task is None:
        return DropReason.DELETED
    if task.attempt != sender.attempt or task.execution_unit_id != sender.unit_id:
        return DropReason.SUPERSEDED
    match task.status:
        case TaskStatus.RUNNING | TaskStatus.PAUSED:
            return None
        case TaskStatus.CANCELLED:
            return DropReason.CANCELLED
        case TaskStatus.SUCCESS | TaskStatus.FAILED:
            return DropReason.FINISHED
        case TaskStatus.PENDING:
            return DropReason.SUPERSEDED


def is_current(task: Task | None, sender: AttemptRef) -> bool:
    """Return whether the sender may report on the task."""
    return drop_reason(task, sender) is None


def fence(task: Task, sender: AttemptRef) -> None:
    """Raise StaleAttempt unless the attempt is current."""
    if reason := drop_reason(task, sender):
        raise StaleAttempt(task.id, sender.attempt, reason)


def fence_running(task: Task, sender: AttemptRef) -> None:
    """Raise StaleAttempt unless the attempt is current and RUNNING: a report on a PAUSED attempt is too late."""
    fence(task, sender)
    if task.status is not TaskStatus.RUNNING:
        raise StaleAttempt(task.id, sender.attempt, DropReason.SUPERSEDED)
