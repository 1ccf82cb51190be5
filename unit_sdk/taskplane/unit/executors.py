"""Coroutines and plain functions as executors, and the interface of all executors."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from taskplane.unit.attempt import Attempt, StopSignal
from taskplane.unit.class_methods import ClassMethods
from taskplane.unit.config import ConfigReader
from taskplane.unit.context import SyncTaskContext, TaskContext
from taskplane.unit.safe_points import SafePoints
from taskplane.unit.threads import in_thread

# Seconds that a cancelled coroutine has to reach its next safe point; then its current await is cancelled.
CANCEL_GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class RegisteredTaskType:
    """A task type that the unit runs, with its code and its capabilities."""

    name: str
    code: Callable[..., Any]
    config: ConfigReader | None
    can_pause: bool
    can_checkpoint: bool
    safe_points: SafePoints
    # None for a function.
    methods: ClassMethods | None


class Executor(Protocol):
    """The execution of one attempt. Its methods are called on the unit's event loop."""

    async def run(self, config: Any) -> Any:
        """Do the work and return its result, or raise its failure or interruption."""

    def signal_changed(self) -> None:
        """Handle a change of the attempt's stop signal, if that is possible before the next safe point."""

    async def refresh_status(self) -> None:
        """Report the current progress, if the executor must be asked for it."""


class FunctionExecutor:
    """Runs a plain function in a new thread. Only a safe point can stop the function."""

    def __init__(self, function: Callable[..., Any], attempt: Attempt) -> None:
        self._function = function
        self._attempt = attempt

    async def run(self, config: Any) -> Any:
        """Run the function and return its result."""
        return await in_thread(str(self._attempt), self._function, SyncTaskContext(self._attempt), config)

    def signal_changed(self) -> None:
        """Do nothing: the function checks the signal at its next safe point."""

    async def refresh_status(self) -> None:
        """Do nothing: the function reports for itself."""


class CoroutineExecutor:
    """Runs a coroutine on the unit's event loop.

    If the task is cancelled and the coroutine reaches no safe point within 5 s, its asyncio task is cancelled: a long
    await then ends with CancelledError, and the attempt counts as cancelled.
    """

    def __init__(self, function: Callable[..., Any], attempt: Attempt) -> None:
        self._function = function
        self._attempt = attempt
        self._grace: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[Any] | None = None

    async def run(self, config: Any) -> Any:
        """Run the coroutine in the attempt's own asyncio task."""
        self._task = asyncio.current_task()
        self.signal_changed()  # the signal may have arrived before the task began
        try:
            return await self._function(TaskContext(self._attempt), config)
        finally:
            self._task = None
            if self._grace is not None:
                self._grace.cancel()

    def signal_changed(self) -> None:
        """Start the grace period of a cancelled coroutine."""
        if self._attempt.stop_signal == StopSignal.CANCEL and self._task is not None and self._grace is None:
            self._grace = asyncio.get_running_loop().call_later(CANCEL_GRACE_SECONDS, self._cancel)

    async def refresh_status(self) -> None:
        """Do nothing: the coroutine reports for itself."""

    def _cancel(self) -> None:
        if self._task is not None and self._attempt.interruption is None:
            self._attempt.interrupt()
            self._task.cancel()
