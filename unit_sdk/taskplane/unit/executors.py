"""Coroutines and plain functions as executors, and what all executors have in common."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from taskplane.unit.attempt import Attempt, Demand
from taskplane.unit.class_methods import ClassMethods
from taskplane.unit.config import ConfigReader
from taskplane.unit.context import SyncTaskContext, TaskContext
from taskplane.unit.stopping import SafePoints
from taskplane.unit.threads import in_thread

# So long a cancelled coroutine may take to its next safe point before what it awaits is cancelled.
CANCEL_GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class TaskType:
    """A kind of task that the unit runs: the code for it, and what that can do."""

    name: str
    code: Callable[..., Any]
    config: ConfigReader | None
    can_pause: bool
    can_checkpoint: bool
    safe_points: SafePoints
    # Of a class; None for a function.
    methods: ClassMethods | None


class Executor(Protocol):
    """Runs one attempt. Its methods are called on the unit's event loop."""

    async def run(self, config: Any) -> Any:
        """Does the work and returns its result, or raises what it failed with or was interrupted by."""

    def meet_demand(self) -> None:
        """The attempt's demand has changed; only for what need not wait for a safe point."""

    async def refresh_status(self) -> None:
        """Brings the attempt's progress up to date."""


class FunctionExecutor:
    """Runs a plain function in a thread of its own. Nothing but a safe point can stop it."""

    def __init__(self, function: Callable[..., Any], attempt: Attempt) -> None:
        self._function = function
        self._attempt = attempt

    async def run(self, config: Any) -> Any:
        """Waits for the thread."""
        return await in_thread(str(self._attempt), self._function, SyncTaskContext(self._attempt), config)

    def meet_demand(self) -> None:
        """The function looks for itself."""

    async def refresh_status(self) -> None:
        """The function reports for itself."""


class CoroutineExecutor:
    """Runs a coroutine on the unit's event loop.

    A cancelled one that has not come to a safe point within a grace is cancelled as an asyncio task, so that a long
    await ends with CancelledError; the attempt counts as cancelled then.
    """

    def __init__(self, function: Callable[..., Any], attempt: Attempt) -> None:
        self._function = function
        self._attempt = attempt
        self._grace: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[Any] | None = None

    async def run(self, config: Any) -> Any:
        """Runs the coroutine in the attempt's own asyncio task."""
        self._task = asyncio.current_task()
        self.meet_demand()  # it may have come before the code began
        try:
            return await self._function(TaskContext(self._attempt), config)
        finally:
            self._task = None
            if self._grace is not None:
                self._grace.cancel()

    def meet_demand(self) -> None:
        """Begins the grace of a cancelled coroutine."""
        if self._attempt.demand == Demand.CANCEL and self._task is not None and self._grace is None:
            self._grace = asyncio.get_running_loop().call_later(CANCEL_GRACE_SECONDS, self._cancel)

    async def refresh_status(self) -> None:
        """The coroutine reports for itself."""

    def _cancel(self) -> None:
        if self._task is not None and self._attempt.interruption is None:
            self._attempt.interrupt()
            self._task.cancel()
