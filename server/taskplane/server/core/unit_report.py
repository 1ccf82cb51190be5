"""Reports of units about attempts, and the outcome form of units without a stream.

An outcome is a callback, the response to a command, or the response to a poll. All three share one form: the
requirements' `getStatus()` merged with the status callback.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from taskplane.server.core.task import Checkpoint, Json, Progress, TaskStatus

# The reason of a refusal; see taskplane/v1/execution_unit_control.proto.
RejectReason = Literal["UNKNOWN_ATTEMPT", "UNKNOWN_TASK_TYPE", "NO_SLOT", "UNSUPPORTED", "DRAINING", "OTHER"]


@dataclass(frozen=True, slots=True)
class Failure:
    """The reason of a failed attempt, and its retry."""

    message: str
    not_retryable: bool = False
    retry_delay: timedelta | None = None
    checkpoint: Checkpoint | None = None
    # The partial result, as the unit describes it.
    result: Json | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The unit accepted the command."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The unit refused the command."""

    reason: RejectReason
    message: str


@dataclass(frozen=True, slots=True)
class ProgressMade:
    """The attempt made progress."""

    progress: Progress


@dataclass(frozen=True, slots=True)
class CheckpointMade:
    """The attempt made a checkpoint."""

    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class Paused:
    """The attempt stopped at a safe point."""

    checkpoint: Checkpoint | None
    progress: Progress | None


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The attempt finished its work."""

    result: Json | None


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The attempt stopped and cleaned up."""

    message: str


@dataclass(frozen=True, slots=True)
class Released:
    """The unit released the attempt unfinished."""

    checkpoint: Checkpoint | None
    message: str


ReportKind = Accepted | Rejected | ProgressMade | CheckpointMade | Paused | Succeeded | Failed | Cancelled | Released


@dataclass(frozen=True, slots=True)
class Report:
    """One report. `command_id` names the command that the report answers, or is empty."""

    sequence: int
    task_id: int
    attempt: int
    command_id: str
    received_at: datetime
    kind: ReportKind

    @property
    def key(self) -> tuple[int, int]:
        """Return the task id and the attempt number."""
        return self.task_id, self.attempt


MAX_MESSAGE = 1000
MAX_ERROR_MESSAGE = 10_000
# The tolerance for fractions below 0 and above 1.
SLACK = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The state of an attempt. Only `status` is required; PENDING means RUNNING, for units with their own queue.

    `progress` is a fraction 0 to 1, or a percentage above 1. `retryable` and `retry_delay` belong to FAILED. `released`
    turns PAUSED into a release: the unit leaves, and the task continues elsewhere.
    """

    status: TaskStatus
    # None: the attempt of the command or poll, or the task's current attempt.
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
    """Return a fraction clamped to 0 and 1, for rounding errors of sums; None beyond the tolerance."""
    return min(max(float(progress), 0.0), 1.0) if -SLACK <= progress <= 1 + SLACK else None


def fraction(progress: float) -> float:
    """Return progress as a fraction; values above 1, up to 100, are percentages. Raises ValueError."""
    if (rounded := rounded_fraction(progress)) is not None:
        return rounded
    if 1 < progress <= 100:  # noqa: PLR2004  (per cent)
        return progress / 100
    raise ValueError(f"is {progress}; must be a fraction from 0 to 1, or a percentage up to 100")


def kinds(outcome: Outcome, attempt: int, now: datetime) -> Iterator[ReportKind]:
    """Yield the reports that an outcome implies, in order. Raises ValueError for progress out of range."""
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
