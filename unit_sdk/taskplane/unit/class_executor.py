"""Class-based executors: classes with start, pause, resume, cancel and get_status."""

import asyncio
import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any

from taskplane.protocol.structs import to_dict
from taskplane.unit.attempt import Attempt, StopSignal
from taskplane.unit.class_methods import ClassMethods, is_coroutine
from taskplane.unit.context import SyncTaskContext, TaskContext
from taskplane.unit.errors import Interrupted, TaskCancelled
from taskplane.unit.executors import CANCEL_GRACE_SECONDS
from taskplane.unit.threads import in_thread

logger = logging.getLogger("taskplane.unit")

# Seconds between two calls of `get_status`, while `start` does not report for itself.
STATUS_SECONDS = 2.0


class ClassExecutor:
    """Runs one attempt with an instance of the class: `start` does the work, the other methods control `start`.

    `pause` returns after the work has stopped, with a checkpoint or None; `resume` lets the work continue. If `pause`
    returns None, the checkpoint of `get_status` counts. `cancel` makes `start` end, and cleans up. When an attempt is
    released or lost, `pause` stops the work and the attempt is left: an asynchronous `start` is cancelled, a `start`
    in a thread stays paused forever. Reports of `start` are no safe points, but raise the interruption if there is one.
    `get_status` is called every 2 s unless `start` reports for itself, and new values are reported. Methods that are
    not coroutines run in threads.
    """

    def __init__(
        self, executor_class: Callable[[], Any], attempt: Attempt, methods: ClassMethods, *, can_pause: bool
    ) -> None:
        self._instance = executor_class()
        self._attempt = attempt
        self._methods = methods
        self._can_pause = can_pause
        self._wake = asyncio.Event()
        # The last values of `get_status`, so that nothing is reported twice.
        self._progress: tuple[float | None, str | None] | None = None
        self._checkpoint: Any = None

    async def run(self, config: Any) -> Any:
        """Run `start`, and handle stop signals until it ends."""
        start = self._bind_start(config)
        working = asyncio.create_task(self._call(start, "start"))
        working.add_done_callback(lambda _: self._wake.set())
        polling = asyncio.create_task(self._poll_status())
        try:
            await self._handle_signals(working)
        except TaskCancelled:
            await self._call_method("cancel")
            await asyncio.wait({working}, timeout=CANCEL_GRACE_SECONDS if is_coroutine(start) else None)
            raise
        finally:
            await _abandon(polling)
            await _abandon(working)
        return working.result()

    def signal_changed(self) -> None:
        """Wake `run`, which handles the signal."""
        self._wake.set()

    async def refresh_status(self) -> None:
        """Call `get_status`, and report new values."""
        status = await self._status()
        progress = (status.get("progress"), status.get("message"))
        is_new = progress not in (self._progress, (None, None))
        checkpoint = status.get("checkpoint")
        if checkpoint == self._checkpoint:
            checkpoint = None
        if is_new or checkpoint is not None:
            self._attempt.report(*(progress if is_new else (None, None)), checkpoint)
        self._progress = progress
        self._checkpoint = checkpoint or self._checkpoint

    def _bind_start(self, config: Any) -> Callable[[], Any]:
        order = self._attempt.order
        context_class = TaskContext if inspect.iscoroutinefunction(self._instance.start) else SyncTaskContext
        checkpoint = to_dict(order.checkpoint.data) if order.HasField("checkpoint") else None
        return self._methods.bind_start(
            self._instance, context_class(self._attempt), self._attempt.key.task_id, config, checkpoint
        )

    async def _poll_status(self) -> None:
        """Refresh the status regularly, until `start` reports or `get_status` fails."""
        while True:
            await asyncio.sleep(STATUS_SECONDS)
            if self._attempt.reports_for_itself:
                return
            if self._attempt.stop_signal != StopSignal.NONE:
                continue
            try:
                await self.refresh_status()
            except Interrupted:
                return
            except Exception:
                logger.warning(
                    "%s: get_status failed, and is no longer called for progress", self._attempt, exc_info=True
                )
                return

    async def _handle_signals(self, working: asyncio.Task[Any]) -> None:
        """Handle stop signals until the work is done; raise the interruption that ends the attempt earlier."""
        while not working.done():
            await self._wake.wait()
            self._wake.clear()
            if not working.done() and self._can_handle(self._attempt.stop_signal):
                await self._handle(self._attempt.stop_signal, working)

    def _can_handle(self, signal: StopSignal) -> bool:
        # Work that cannot be paused cannot be released either: it may finish, or is lost with the unit.
        return self._can_pause or signal in (StopSignal.CANCEL, StopSignal.DROP)

    async def _handle(self, signal: StopSignal, working: asyncio.Task[Any]) -> None:
        must_pause = self._can_pause and signal in (
            StopSignal.FENCE,
            StopSignal.PAUSE,
            StopSignal.RELEASE,
            StopSignal.DROP,
        )
        checkpoint = await self._pause(signal) if must_pause else None
        if working.done():  # the work ended before it was paused
            return
        gate = self._attempt.handle_signal(checkpoint)
        while gate is not None:
            await asyncio.wrap_future(gate)
            gate = self._attempt.handle_signal(None)
        if must_pause:
            await self._call_method("resume")

    async def _pause(self, signal: StopSignal) -> Mapping[str, Any] | None:
        """Pause the work and return the checkpoint from which it can continue."""
        checkpoint: Mapping[str, Any] | None = await self._call_method("pause")
        if checkpoint is None and signal != StopSignal.DROP:
            try:
                checkpoint = (await self._status()).get("checkpoint")
            except Exception:
                logger.warning(
                    "%s: get_status failed, so it is paused without a checkpoint", self._attempt, exc_info=True
                )
        return checkpoint

    async def _status(self) -> Mapping[str, Any]:
        status = await self._call_method("get_status")
        if not isinstance(status, Mapping):
            raise TypeError(f"get_status must return a dict, not {type(status).__name__}")
        return status

    async def _call_method(self, name: str) -> Any:
        return await self._call(self._methods.bind(self._instance, name, self._attempt.key.task_id), name)

    async def _call(self, call: Callable[[], Any], name: str) -> Any:
        if is_coroutine(call):
            return await call()
        outcome = await in_thread(f"{self._attempt} {name}", call)
        # A decorator may hide that the method is a coroutine.
        return await outcome if inspect.isawaitable(outcome) else outcome


async def _abandon(task: asyncio.Task[Any]) -> None:
    """Cancel a task and ignore its error: the attempt's outcome is known without it."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()
