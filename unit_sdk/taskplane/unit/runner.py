"""The runner of attempts: executors on the unit's event loop, and the report of each outcome."""

import asyncio
import inspect
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import wait
from functools import partial
from typing import Any

from taskplane.protocol.structs import to_dict
from taskplane.unit.attempt import Attempt
from taskplane.unit.class_executor import ClassExecutor
from taskplane.unit.config import read_config
from taskplane.unit.errors import Interrupted
from taskplane.unit.executors import CoroutineExecutor, Executor, FunctionExecutor, RegisteredTaskType
from taskplane.unit.outcomes import failed, interrupted, succeeded
from taskplane.v1.execution_unit_control_pb2 import Report

logger = logging.getLogger("taskplane.unit")

# Seconds that executors have to end after `close` has cancelled them.
_CLOSE_SECONDS = 1.0


class Runner:
    """Runs each attempt in an asyncio task, all on one event loop.

    An exception of an executor ends its attempt; any other exception is a fault of the SDK and goes to `on_fault`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, on_fault: Callable[[Exception], object]) -> None:
        self._loop = loop
        self._on_fault = on_fault
        self._running: set[asyncio.Task[None]] = set()
        self._executors: dict[Attempt, Executor] = {}
        # The task of the latest attempt, by task id.
        self._latest: dict[int, asyncio.Task[None]] = {}

    def launch(self, attempt: Attempt, task_type: RegisteredTaskType) -> None:
        """Run an attempt, after an earlier one of the same task has ended in this process. From any thread."""
        attempt.is_class_based = task_type.methods is not None
        self._loop.call_soon_threadsafe(self._begin, attempt, task_type)

    def report_status(self, attempt: Attempt, command_id: str) -> None:
        """Answer a get_status command, after a class-based executor was asked. From any thread."""
        if attempt.is_class_based:
            self._loop.call_soon_threadsafe(lambda: self._spawn(self._refresh_and_report(attempt, command_id)))
        else:
            attempt.post_status(command_id)

    def refresh(self, attempt: Attempt, timeout_seconds: float) -> None:
        """Ask a class-based executor for its progress, and wait for it. From any thread but the loop's."""
        refreshing = asyncio.run_coroutine_threadsafe(self._refresh(attempt), self._loop)
        wait({refreshing}, timeout_seconds)

    async def wait_idle(self) -> None:
        """Wait until no attempt runs."""
        while self._running:
            await asyncio.wait(self._running)

    async def close(self) -> None:
        """Cancel the running attempts. A function in a thread cannot be cancelled and is left behind."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=_CLOSE_SECONDS)

    def _begin(self, attempt: Attempt, task_type: RegisteredTaskType) -> None:
        task_id = attempt.key.task_id
        # A dropped attempt runs until its next safe point; two attempts at once could damage each other's files.
        earlier = self._latest.get(task_id)
        task = self._latest[task_id] = self._spawn(self._run(attempt, task_type, earlier))
        task.add_done_callback(partial(self._forget, task_id))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._finish)
        return task

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and isinstance(fault := task.exception(), Exception):
            self._on_fault(fault)

    def _forget(self, task_id: int, task: asyncio.Task[None]) -> None:
        if self._latest.get(task_id) is task:
            del self._latest[task_id]

    async def _run(self, attempt: Attempt, task_type: RegisteredTaskType, earlier: asyncio.Task[None] | None) -> None:
        if earlier is not None:
            await asyncio.wait({earlier})
        logger.info("%s: started, %s", attempt, task_type.name)
        try:
            outcome = await self._outcome(attempt, task_type)
        finally:
            self._executors.pop(attempt, None)
        reported = attempt.end(outcome)
        logger.info("%s: %s%s", attempt, outcome.WhichOneof("kind"), "" if reported else ", not reported")

    async def _outcome(self, attempt: Attempt, task_type: RegisteredTaskType) -> Report:
        try:
            outcome = succeeded(await self._execute(attempt, task_type))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if attempt.interruption is not None:
                return interrupted(attempt, error)
            if isinstance(error, asyncio.CancelledError) and _is_closing():
                raise
            return failed(attempt, error)
        return outcome if attempt.interruption is None else interrupted(attempt, None)

    async def _execute(self, attempt: Attempt, task_type: RegisteredTaskType) -> Any:
        config = read_config(task_type.config, to_dict(attempt.order.config))
        executor = self._executors[attempt] = _executor(task_type, attempt)
        attempt.on_signal = partial(self._loop.call_soon_threadsafe, executor.signal_changed)
        executor.signal_changed()  # a signal may have arrived before
        return await executor.run(config)

    async def _refresh_and_report(self, attempt: Attempt, command_id: str) -> None:
        await self._refresh(attempt)
        attempt.post_status(command_id)

    async def _refresh(self, attempt: Attempt) -> None:
        try:
            if (executor := self._executors.get(attempt)) is not None:
                await executor.refresh_status()
        except (Exception, Interrupted):
            logger.warning("%s: get_status failed; the last known status is reported", attempt, exc_info=True)


def _is_closing() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _executor(task_type: RegisteredTaskType, attempt: Attempt) -> Executor:
    if task_type.methods is not None:
        return ClassExecutor(task_type.code, attempt, task_type.methods, can_pause=task_type.can_pause)
    if inspect.iscoroutinefunction(task_type.code):
        return CoroutineExecutor(task_type.code, attempt)
    return FunctionExecutor(task_type.code, attempt)
