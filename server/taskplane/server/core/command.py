"""Dispatches, and the commands that the server sends to units."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from taskplane.server.core.effect import SERVER, UNQUEUED, Effect
from taskplane.server.core.errors import DropReason
from taskplane.server.core.placement import Placement
from taskplane.server.core.task import Checkpoint, PendingCommand, Task, TaskStatus, Verb


@dataclass(frozen=True, slots=True)
class Dispatch:
    """A durable placement. `checkpoint` includes its data; `held_attempt` is a paused attempt to resume from memory."""

    task: Task
    checkpoint: Checkpoint | None = None
    held_attempt: int | None = None


def dispatched(placement: Placement, now: datetime, chosen: Checkpoint | None = None) -> Effect:
    """Move PENDING or PAUSED → RUNNING under a new attempt, which may continue from a chosen checkpoint."""
    task, unit = placement.task, placement.offer
    return Effect(task).move(
        TaskStatus.RUNNING,
        now=now,
        by=task.queued_by or SERVER,
        reason="; ".join(part for part in (task.queued_reason, _reason(placement)) if part),
        attempt=task.attempt + 1,
        execution_unit_id=unit.unit_id,
        execution_unit_type=unit.unit_type,
        accepted_at=None,
        progress=task.progress if _continues(placement) else None,
        checkpoint=replace(chosen, data=None) if chosen else task.checkpoint,
        started_at=task.started_at or now,
        queued_by="",
        queued_reason="",
        **UNQUEUED,
    )


def without_checkpoint(task: Task, now: datetime) -> Effect:
    """Remove a task from the queue after its checkpoint disappeared: a start from scratch would silently lose work."""
    why = "the checkpoint to resume from is no longer stored; choose another"
    return Effect(task).edit(now=now, error_message=why, note=why, **UNQUEUED)


def _continues(placement: Placement) -> bool:
    """Return whether the attempt continues from memory or a checkpoint."""
    task = placement.task
    can_continue = task.next_checkpoint_number is not None and task.task_type not in placement.offer.from_the_start
    return can_continue or placement.held_attempt is not None


def _reason(placement: Placement) -> str:
    where = f"dispatched to {placement.offer.unit_id}"
    if placement.held_attempt is not None:
        return f"{where}, which holds it in memory"
    number = placement.task.next_checkpoint_number
    if number and not _continues(placement):
        return f"{where} from the start, as it makes no checkpoints"
    return f"{where} from checkpoint {number}" if number else where


@dataclass(frozen=True, slots=True)
class StartOrder:
    """Begin the attempt, from scratch or from a checkpoint."""

    dispatch: Dispatch


@dataclass(frozen=True, slots=True)
class ResumeOrder:
    """Resume `held_attempt` from memory under the command's attempt; without it in memory, begin `dispatch`."""

    held_attempt: int
    dispatch: Dispatch


@dataclass(frozen=True, slots=True)
class PauseOrder:
    """Stop at the next safe point."""

    reason: str


@dataclass(frozen=True, slots=True)
class CancelOrder:
    """Stop and clean up."""

    reason: str


@dataclass(frozen=True, slots=True)
class DropOrder:
    """Drop the attempt: it is no longer assigned to the unit."""

    reason: DropReason


# An attempt of a task: task id and attempt number.
AttemptKey = tuple[int, int]

Order = StartOrder | ResumeOrder | PauseOrder | CancelOrder | DropOrder


@dataclass(frozen=True, slots=True)
class Command:
    """An order about one attempt."""

    command_id: str
    task_id: int
    attempt: int
    order: Order

    @property
    def key(self) -> AttemptKey:
        """Return the task id and the attempt number."""
        return self.task_id, self.attempt

    @property
    def is_start(self) -> bool:
        """Return whether the command begins an attempt. Control commands overtake such commands."""
        return isinstance(self.order, StartOrder | ResumeOrder)


def dispatch_command(dispatch: Dispatch) -> Command:
    """Build the start, or the resume from memory, of a dispatch. A repeated build has the same id."""
    task = dispatch.task
    order: Order = StartOrder(dispatch)
    if dispatch.held_attempt is not None:
        order = ResumeOrder(dispatch.held_attempt, dispatch)
    return Command(start_id(task.id, task.attempt), task.id, task.attempt, order)


def control_command(task: Task, pending: PendingCommand) -> Command:
    """Build the pending pause or cancel."""
    order = CancelOrder(pending.reason) if pending.verb is Verb.CANCEL else PauseOrder(pending.reason)
    return Command(pending.command_id, task.id, task.attempt, order)


def drop_command(task_id: int, attempt: int, reason: DropReason) -> Command:
    """Build the command to drop an attempt."""
    return Command(f"drop-{task_id}-{attempt}", task_id, attempt, DropOrder(reason))


def start_id(task_id: int, attempt: int) -> str:
    """Return the id of the command that begins an attempt."""
    return f"start-{task_id}-{attempt}"


class VerdictAction(StrEnum):
    """The server's decision on an attempt of a unit's inventory."""

    KEEP = "KEEP"
    PAUSE = "PAUSE"
    DROP = "DROP"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The server's response to one entry of a unit's inventory."""

    task_id: int
    attempt: int
    action: VerdictAction
    drop_reason: DropReason | None = None


@dataclass(frozen=True, slots=True)
class Welcome:
    """The server's response to a unit's Hello."""

    unit_id: str
    session_id: str
    heartbeat_seconds: float
    lease_seconds: float
    verdicts: tuple[Verdict, ...]
