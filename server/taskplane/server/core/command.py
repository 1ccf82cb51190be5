"""What the server tells a unit."""

from dataclasses import dataclass
from enum import StrEnum

from taskplane.server.core.dispatch import Dispatch
from taskplane.server.core.errors import DropReason
from taskplane.server.core.task import PendingCommand, Task, Verb


@dataclass(frozen=True, slots=True)
class StartOrder:
    """Begin, from scratch or from a checkpoint."""

    dispatch: Dispatch


@dataclass(frozen=True, slots=True)
class ResumeOrder:
    """Go on from memory with `held_attempt`, under the command's attempt; or begin `dispatch`, if memory fails."""

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
    """The attempt is not the unit's any more."""

    reason: DropReason


Order = StartOrder | ResumeOrder | PauseOrder | CancelOrder | DropOrder


@dataclass(frozen=True, slots=True)
class Command:
    """An order about one attempt."""

    command_id: str
    task_id: int
    attempt: int
    order: Order

    @property
    def key(self) -> tuple[int, int]:
        """Which attempt it is about: task and number."""
        return self.task_id, self.attempt

    @property
    def is_start(self) -> bool:
        """Whether it begins an attempt, which the commands that control others go ahead of."""
        return isinstance(self.order, StartOrder | ResumeOrder)


def dispatch_command(dispatch: Dispatch) -> Command:
    """Build the start, or resume from memory, of a durable assignment. Sent again, it has the same id."""
    task = dispatch.task
    order: Order = StartOrder(dispatch)
    if dispatch.held_attempt is not None:
        order = ResumeOrder(dispatch.held_attempt, dispatch)
    return Command(start_id(task.id, task.attempt), task.id, task.attempt, order)


def control_command(task: Task, pending: PendingCommand) -> Command:
    """Build the pause or cancel that is pending."""
    order = CancelOrder(pending.reason) if pending.verb is Verb.CANCEL else PauseOrder(pending.reason)
    return Command(pending.command_id, task.id, task.attempt, order)


def drop_command(task_id: int, attempt: int, reason: DropReason) -> Command:
    """Build the order to let go of an attempt."""
    return Command(f"drop-{task_id}-{attempt}", task_id, attempt, DropOrder(reason))


def start_id(task_id: int, attempt: int) -> str:
    """Return the id of the command that begins an attempt."""
    return f"start-{task_id}-{attempt}"


class VerdictAction(StrEnum):
    """What a unit shall do with an attempt of its inventory."""

    KEEP = "KEEP"
    PAUSE = "PAUSE"
    DROP = "DROP"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to one line of a unit's inventory."""

    task_id: int
    attempt: int
    action: VerdictAction
    drop_reason: DropReason | None = None


@dataclass(frozen=True, slots=True)
class Welcome:
    """The answer to a unit's Hello."""

    unit_id: str
    session_id: str
    heartbeat_seconds: float
    lease_seconds: float
    verdicts: tuple[Verdict, ...]
