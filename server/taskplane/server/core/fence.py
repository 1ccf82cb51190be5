"""The fence: who has a say about a task.

Only the unit and the attempt that a RUNNING or PAUSED task names do. What anybody else says of it changes nothing, and
they are told to drop what they hold.
"""

from dataclasses import dataclass

from taskplane.server.core.errors import DropReason, StaleAttempt
from taskplane.server.core.task import Task, TaskStatus


@dataclass(frozen=True, slots=True)
class AttemptRef:
    """In whose name something is reported: a unit and an attempt."""

    unit_id: str
    attempt: int

    @property
    def name(self) -> str:
        """As `changed_by` shows it."""
        return f"unit:{self.unit_id}"


def drop_reason(task: Task | None, sender: AttemptRef) -> DropReason | None:
    """Tell why the speaker has no say any more, or None if it has."""
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


def fence(task: Task, sender: AttemptRef) -> None:
    """Raise StaleAttempt if the speaker has no say any more."""
    if reason := drop_reason(task, sender):
        raise StaleAttempt(task.id, sender.attempt, reason)


def fence_running(task: Task, sender: AttemptRef) -> None:
    """Raise StaleAttempt also if the attempt does not run any more: what is said of a PAUSED one comes too late."""
    fence(task, sender)
    if task.status is not TaskStatus.RUNNING:
        raise StaleAttempt(task.id, sender.attempt, DropReason.SUPERSEDED)
