"""Runs attempts on the unit's event loop and reports how each ended."""

import asyncio
import inspect
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import wait
from functools import partial
from typing import Any

from taskplane.unit.attempt import Attempt
from taskplane.unit.class_executor import ClassExecutor
from taskplane.unit.config import read_config
from taskplane.unit.endings import failed, interrupted, succeeded
from taskplane.unit.errors import Interrupted
from taskplane.unit.executors import CoroutineExecutor, Executor, FunctionExecutor, TaskType
from taskplane.unit.structs import from_struct
from taskplane.v1.execution_unit_control_pb2 import Report

logger = logging.getLogger("taskplane.unit")

# What is still at work when the unit leaves is cancelled, and gets so long to end.
_CLOSE_SECONDS = 1.0


class Runner:
    """Owns the asyncio tasks in which attempts run, all on one event loop.

    An executor's errors end its attempt; what else is raised is a fault of the SDK and goes to `on_fault`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, on_fault: Callable[[Exception], object]) -> None:
        self._loop = loop
        self._on_fault = on_fault
        self._running: set[asyncio.Task[None]] = set()
        self._executors: dict[Attempt, Executor] = {}
        self._latest: dict[int, asyncio.Task[None]] = {}

    def launch(self, attempt: Attempt, task_type: TaskType) -> None:
        """Begins an attempt, as soon as an earlier one of the same task has ended here. From any thread."""
        attempt.is_steered = task_type.methods is not None
        self._loop.call_soon_threadsafe(self._begin, attempt, task_type)

    def answer_status(self, attempt: Attempt, command_id: str) -> None:
        """Answers a get_status command, after asking an executor that is a class. From any thread."""
        if attempt.is_steered:
            self._loop.call_soon_threadsafe(lambda: self._spawn(self._answer_status(attempt, command_id)))
        else:
            attempt.post_status(command_id)

    def refresh(self, attempt: Attempt, within_seconds: float) -> None:
        """Asks an executor that is a class how far it is, and waits for it. From any other thread than the loop's."""
        refreshing = asyncio.run_coroutine_threadsafe(self._refresh(attempt), self._loop)
        wait({refreshing}, within_seconds)

    async def idle(self) -> None:
        """Waits until nothing runs."""
        while self._running:
            await asyncio.wait(self._running)

    async def close(self) -> None:
        """Cancels what still runs. What is stuck in a thread is left behind there."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=_CLOSE_SECONDS)

    def _begin(self, attempt: Attempt, task_type: TaskType) -> None:
        task_id = attempt.key.task_id
        # An attempt that was dropped may not have come to its next safe point; two at once could spoil each other.
        earlier = self._latest.get(task_id)
        task = self._latest[task_id] = self._spawn(self._run(attempt, task_type, earlier))
        task.add_done_callback(partial(self._forget, task_id))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._end)
        return task

    def _end(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and isinstance(fault := task.exception(), Exception):
            self._on_fault(fault)

    def _forget(self, task_id: int, task: asyncio.Task[None]) -> None:
        if self._latest.get(task_id) is task:
            del self._latest[task_id]

    async def _run(self, attempt: Attempt, task_type: TaskType, earlier: asyncio.Task[None] | None) -> None:
        if earlier is not None:
            await asyncio.wait({earlier})
        logger.info("%s: started, %s", attempt, task_type.name)
        try:
            ending = await self._ending(attempt, task_type)
        finally:
            self._executors.pop(attempt, None)
        reported = attempt.end(ending)
        logger.info("%s: %s%s", attempt, ending.WhichOneof("kind"), "" if reported else ", not reported")

    async def _ending(self, attempt: Attempt, task_type: TaskType) -> Report:
        try:
            ending = succeeded(await self._work(attempt, task_type))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if attempt.interruption is not None:
                return interrupted(attempt, error)
            if isinstance(error, asyncio.CancelledError) and self._is_closing():
                raise
            return failed(attempt, error)
        return ending if attempt.interruption is None else interrupted(attempt, None)

    async def _work(self, attempt: Attempt, task_type: TaskType) -> Any:
        config = read_config(task_type.config, from_struct(attempt.order.config))
        executor = self._executors[attempt] = _executor(task_type, attempt)
        attempt.on_demand = partial(self._loop.call_soon_threadsafe, executor.meet_demand)
        executor.meet_demand()  # one may have come before
        return await executor.run(config)

    async def _answer_status(self, attempt: Attempt, command_id: str) -> None:
        await self._refresh(attempt)
        attempt.post_status(command_id)

    async def _refresh(self, attempt: Attempt) -> None:
        try:
            if (executor := self._executors.get(attempt)) is not None:
                await executor.refresh_status()
        except (Exception, Interrupted):
            logger.warning("%s: get_status failed; the last known status is told", attempt, exc_info=True)

    @staticmethod
    def _is_closing() -> bool:
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0


def _executor(task_type: TaskType, attempt: Attempt) -> Executor:
    if task_type.methods is not None:
        return ClassExecutor(task_type.code, attempt, task_type.methods, can_pause=task_type.can_pause)
    if inspect.iscoroutinefunction(task_type.code):
        return CoroutineExecutor(task_type.code, attempt)
    return FunctionExecutor(task_type.code, attempt)
