"""What a unit says about an attempt, as the server's code handles it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from taskplane.server.core.task import Checkpoint, Json, Progress

# Why a unit refuses; see taskplane/v1/execution_unit_control.proto.
RejectReason = Literal["UNKNOWN_ATTEMPT", "UNKNOWN_TASK_TYPE", "NO_SLOT", "UNSUPPORTED", "DRAINING", "OTHER"]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed and what may be done about it."""

    message: str
    not_retryable: bool = False
    retry_delay: timedelta | None = None
    checkpoint: Checkpoint | None = None
    # What was done so far, in the unit's own words.
    result: Json | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The command has been taken on."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The command will not be carried out."""

    reason: RejectReason
    message: str


@dataclass(frozen=True, slots=True)
class ProgressMade:
    """How far the attempt is."""

    progress: Progress


@dataclass(frozen=True, slots=True)
class CheckpointMade:
    """A point to go on from."""

    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class Paused:
    """Stopped at a safe point."""

    checkpoint: Checkpoint | None
    progress: Progress | None


@dataclass(frozen=True, slots=True)
class Succeeded:
    """Done."""

    result: Json | None


@dataclass(frozen=True, slots=True)
class Failed:
    """Cannot be done."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Stopped and cleaned up."""

    message: str


@dataclass(frozen=True, slots=True)
class Released:
    """Given back unfinished."""

    checkpoint: Checkpoint | None
    message: str


ReportKind = Accepted | Rejected | ProgressMade | CheckpointMade | Paused | Succeeded | Failed | Cancelled | Released


@dataclass(frozen=True, slots=True)
class Report:
    """One report. `command_id` is that of the command it answers, or empty."""

    sequence: int
    task_id: int
    attempt: int
    command_id: str
    received_at: datetime
    kind: ReportKind

    @property
    def key(self) -> tuple[int, int]:
        """The attempt that it is about: task and number."""
        return self.task_id, self.attempt
