"""The command log: the commands on a task, and their outcomes.

Entries are never written directly: they are derived from the effects on the task.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from taskplane.server.core.effect import Effect, Step
from taskplane.server.core.task import PendingCommand, Task, TaskStatus, Verb


class CommandState(StrEnum):
    """The progress of a command; see taskplane/v1/task_service.proto."""

    ISSUED = "ISSUED"
    ACCEPTED = "ACCEPTED"
    APPLIED = "APPLIED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"


@dataclass(frozen=True, slots=True)
class CommandLogEntry:
    """One command; a later entry with the same id replaces an earlier one."""

    command_id: str
    task_id: int
    attempt: int
    verb: Verb
    state: CommandState
    actor: str
    reason: str
    issued_at: datetime
    accepted_at: datetime | None = None
    settled_at: datetime | None = None
    message: str = ""


def entries(before: Task, effect: Effect, now: datetime) -> list[CommandLogEntry]:
    """Return the log entries that an effect implies for the commands of its task."""
    found: list[CommandLogEntry] = []
    for step in effect.steps:
        found += _of_step(before, step, now)
        before = step.task
    return found


def _of_step(before: Task, step: Step, now: datetime) -> Iterator[CommandLogEntry]:
    after = step.task
    if before.queued_command_id and not after.queued_command_id:
        applied = after.status is TaskStatus.RUNNING
        state = CommandState.APPLIED if applied else CommandState.EXPIRED
        yield _resume(before, before.queued_command_id, state, now)
    if after.queued_command_id and not before.queued_command_id:
        yield _resume(after, after.queued_command_id, CommandState.ISSUED, now)
    if (old := before.pending_command) and _is_over(old, after):
        state, message = _outcome(old, step)
        # The transaction's time is the time of its start; the unit may have accepted the command since.
        settled_at = max(now, old.accepted_at or now)
        yield _entry(before, old, state, settled_at=settled_at, message=message)
    if (new := after.pending_command) and (before.pending_command is None or _is_over(before.pending_command, after)):
        yield _entry(after, new, CommandState.ISSUED)
    elif new and step.note:
        state = CommandState.ACCEPTED if new.accepted_at else CommandState.ISSUED
        yield _entry(after, new, state, message=step.note)


def _is_over(pending: PendingCommand, after: Task) -> bool:
    return after.pending_command is None or after.pending_command.command_id != pending.command_id


def _outcome(pending: PendingCommand, step: Step) -> tuple[CommandState, str]:
    after = step.task
    wanted = TaskStatus.CANCELLED if pending.verb is Verb.CANCEL else TaskStatus.PAUSED
    if after.status is wanted:
        return CommandState.APPLIED, step.transition.reason if step.transition else ""
    if after.pending_command:
        return CommandState.EXPIRED, f"a {after.pending_command.verb.lower()} took its place"
    if step.transition is None:
        return CommandState.REJECTED, step.note
    return CommandState.EXPIRED, f"the task became {after.status} first"


def _entry(
    task: Task,
    pending: PendingCommand,
    state: CommandState,
    *,
    settled_at: datetime | None = None,
    message: str = "",
) -> CommandLogEntry:
    return CommandLogEntry(
        command_id=pending.command_id,
        task_id=task.id,
        attempt=task.attempt,
        verb=pending.verb,
        state=state,
        actor=pending.actor,
        reason=pending.reason,
        issued_at=pending.since,
        accepted_at=pending.accepted_at,
        settled_at=settled_at,
        message=message,
    )


def _resume(task: Task, command_id: str, state: CommandState, now: datetime) -> CommandLogEntry:
    settled_at = None if state is CommandState.ISSUED else now
    return CommandLogEntry(
        command_id=command_id,
        task_id=task.id,
        attempt=task.attempt + 1,  # the attempt that the resume begins
        verb=Verb.RESUME,
        state=state,
        actor=task.queued_by,
        reason=task.queued_reason,
        issued_at=task.queued_at or now,
        settled_at=settled_at,
    )
