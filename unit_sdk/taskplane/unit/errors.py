"""What interrupts an executor, what an executor fails with, and what ends a unit."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any


class TaskFailed(Exception):
    """Raised by an executor to fail the task in its own words.

    `retryable`: a further attempt may help; any other exception counts as retryable. `retry_delay` (seconds or a
    timedelta) asks for no retry before that, and counts only if the failure is retryable. `checkpoint` is from where
    a retry goes on; without it the last reported one counts.
    """

    def __init__(
        self,
        message: str,
        *,
        retryable: bool = False,
        retry_delay: float | timedelta | None = None,
        checkpoint: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = str(message)
        self.retryable = retryable
        self.retry_delay = timedelta(seconds=retry_delay) if isinstance(retry_delay, int | float) else retry_delay
        self.checkpoint = checkpoint


class Interrupted(BaseException):
    """Base of all that is raised at a safe point to end an attempt before it is done.

    A BaseException, so that `except Exception` around a step of the work does not swallow it. An executor that
    catches it must raise it again: once raised, it decides how the attempt ends, and every later `report` and
    `safe_point` raises it again.
    """


class TaskCancelled(Interrupted):
    """The task is cancelled, or gone: remove what was begun."""


class TaskReleased(Interrupted):
    """The unit leaves and gives the attempt back: keep all that the checkpoint refers to, another attempt goes on."""


class TaskDropped(Interrupted):
    """The attempt is no longer this unit's: stop, and touch nothing that the checkpoint or the result refers to."""


class UnitRejected(Exception):
    """The server refuses this unit, and coming back would not help. The message names the fields to mend."""
