"""What a unit says about an attempt, as the server's code handles it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from taskplane.server.core.task import Checkpoint, Json, Progress, TaskStatus

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


MAX_MESSAGE = 1000
MAX_ERROR_MESSAGE = 10_000
# How far a fraction may be beyond 0 and 1.
SLACK = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt is. Only `status` is required; PENDING is RUNNING for a unit that has a queue of its own.

    `progress` is a fraction 0 to 1, or a percentage above 1. `retryable` and `retry_delay` belong to FAILED. `released`
    makes PAUSED a giving back: the unit leaves, and the task goes on elsewhere.
    """

    status: TaskStatus
    # None: the attempt that is meant is the one that was asked about, or the task's current one.
    attempt: int | None = None
    progress: float | None = None
    message: str = ""
    checkpoint: Json | None = None
    result: Json | None = None
    error_message: str = ""
    retryable: bool = True
    retry_delay: timedelta | None = None
    released: bool = False


def rounded_fraction(progress: float) -> float | None:
    """Return a fraction from 0 to 1; a little beyond, as a sum of fractions may be, is 0 or 1. None if it is none."""
    return min(max(float(progress), 0.0), 1.0) if -SLACK <= progress <= 1 + SLACK else None


def fraction(progress: float) -> float:
    """Return progress as a fraction: up to 1 it is one, up to 100 a percentage. Raises ValueError."""
    if (rounded := rounded_fraction(progress)) is not None:
        return rounded
    if 1 < progress <= 100:  # noqa: PLR2004  (per cent)
        return progress / 100
    raise ValueError(f"is {progress}; must be a fraction from 0 to 1, or a percentage up to 100")


def kinds(outcome: Outcome, attempt: int, now: datetime) -> Iterator[ReportKind]:
    """Yield the reports that an outcome stands for, in order. Raises ValueError for progress that is none."""
    checkpoint = None if outcome.checkpoint is None else Checkpoint(0, attempt, now, outcome.checkpoint)
    progress = _progress(outcome, now)
    match outcome.status:
        case TaskStatus.PENDING | TaskStatus.RUNNING:
            if checkpoint:
                yield CheckpointMade(checkpoint)
            if progress:
                yield ProgressMade(progress)
        case TaskStatus.PAUSED if outcome.released:
            yield Released(checkpoint, outcome.message[:MAX_MESSAGE])
        case TaskStatus.PAUSED:
            yield Paused(checkpoint, progress)
        case TaskStatus.SUCCESS:
            yield Succeeded(outcome.result)
        case TaskStatus.FAILED:
            text = outcome.error_message or outcome.message or "failed without a message"
            text = text[:MAX_ERROR_MESSAGE]
            yield Failed(Failure(text, not outcome.retryable, outcome.retry_delay, checkpoint, outcome.result))
        case TaskStatus.CANCELLED:
            yield Cancelled(outcome.message[:MAX_ERROR_MESSAGE])


def _progress(outcome: Outcome, now: datetime) -> Progress | None:
    if outcome.progress is None:
        return None
    return Progress(fraction(outcome.progress), outcome.message[:MAX_MESSAGE], now)
