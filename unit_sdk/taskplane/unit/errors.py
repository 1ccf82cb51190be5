"""Exceptions of the SDK: failures, interruptions, and the rejection of a unit."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any


class TaskFailed(Exception):
    """Raised by an executor to fail the task with a message.

    `retryable`: another attempt may succeed; every other exception counts as retryable. `retry_delay` (seconds or a
    timedelta) is the least delay of a retry. A retry continues from `checkpoint` (a JSON object); the default is the
    last reported checkpoint.
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
    """Base class of the exceptions that end an attempt at a safe point, before its work is done.

    A BaseException, so that `except Exception` around a step of the work does not swallow it. An executor that catches
    an interruption must raise it again. The first interruption decides the attempt's outcome, and every later `report`
    and `safe_point` raises it again.
    """


class TaskCancelled(Interrupted):
    """The task is cancelled or deleted: remove unfinished results."""


class TaskReleased(Interrupted):
    """The unit drains and releases the attempt: keep everything that the checkpoint refers to for the next attempt."""


class TaskDropped(Interrupted):
    """The unit has lost the attempt: stop, and touch nothing that the checkpoint or the result refers to."""


class UnitRejected(Exception):
    """The server refuses this unit, and a reconnect would not help. The message names the wrong fields."""
