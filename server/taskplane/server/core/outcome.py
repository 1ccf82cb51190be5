"""What a unit without a stream says of an attempt: in a callback, in the answer to a command, or when it is asked.

One form for all three, the requirements' `getStatus()` and status callback put together.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from taskplane.server.core.task import Checkpoint, Json, Progress, TaskStatus
from taskplane.server.core.unit_report import (
    Cancelled,
    CheckpointMade,
    Failed,
    Failure,
    Paused,
    ProgressMade,
    Released,
    ReportKind,
    Succeeded,
)

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
