"""Classes with start, pause, resume, cancel and get_status as executors."""

import asyncio
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from taskplane.unit.attempt import Attempt, Demand
from taskplane.unit.context import SyncTaskContext, TaskContext
from taskplane.unit.errors import TaskCancelled
from taskplane.unit.executors import CANCEL_GRACE_SECONDS
from taskplane.unit.threads import in_thread

_ALWAYS_NEEDED = ("start", "cancel", "get_status")
_NEEDED_TO_PAUSE = ("pause", "resume")


def check_methods(executor_class: type[Any], *, can_pause: bool) -> None:
    """Raises TypeError if the class lacks a method of the interface."""
    needed = _ALWAYS_NEEDED + (_NEEDED_TO_PAUSE if can_pause else ())
    if missing := [name for name in needed if not callable(getattr(executor_class, name, None))]:
        raise TypeError(f"{executor_class.__name__} lacks {', '.join(missing)}")


class ClassExecutor:
    """Runs one instance for one attempt: `start` does the work, the other methods steer it meanwhile.

    `pause` returns once the work is at rest, with a checkpoint or None, and `resume` lets it go on. `cancel` makes
    `start` end and cleans up. An attempt that is given back or lost is brought to rest with `pause` and then left;
    an asynchronous `start` is cancelled there, one in a thread just stays at rest. Reports of `start` are no safe
    points, but raise the interruption once there is one. Methods that are not coroutines run in threads.
    """

    def __init__(self, executor_class: Callable[[], Any], attempt: Attempt, *, can_pause: bool) -> None:
        self._instance = executor_class()
        self._attempt = attempt
        self._can_pause = can_pause
        self._news = asyncio.Event()

    async def run(self, config: Any) -> Any:
        """Runs `start` and steers it until it ends."""
        working = asyncio.create_task(self._start(config))
        working.add_done_callback(lambda _: self._news.set())
        try:
            await self._steer(working)
        except TaskCancelled:
            await self._call(self._instance.cancel)
            await self._wait_for_end(working)
            raise
        finally:
            await _abandon(working)
        return working.result()

    def meet_demand(self) -> None:
        """Makes `run` look at the demand."""
        self._news.set()

    async def refresh_status(self) -> None:
        """Asks the instance."""
        status: Mapping[str, Any] = await self._call(self._instance.get_status)
        self._attempt.report(status.get("progress"), status.get("message"), status.get("checkpoint"))

    async def _start(self, config: Any) -> Any:
        face = TaskContext if inspect.iscoroutinefunction(self._instance.start) else SyncTaskContext
        return await self._call(self._instance.start, face(self._attempt), config)

    async def _steer(self, working: asyncio.Task[Any]) -> None:
        """Meets demands until the work is done; raises what ends the attempt before."""
        while not working.done():
            await self._news.wait()
            self._news.clear()
            if not working.done() and self._can_meet(self._attempt.demand):
                await self._meet(self._attempt.demand, working)

    def _can_meet(self, demand: Demand) -> bool:
        # Work that cannot be paused cannot be given back either: it may finish, or is lost with the unit.
        return self._can_pause or demand in (Demand.CANCEL, Demand.DROP)

    async def _meet(self, demand: Demand, working: asyncio.Task[Any]) -> None:
        at_rest = self._can_pause and demand in (Demand.FENCE, Demand.PAUSE, Demand.RELEASE, Demand.DROP)
        checkpoint = await self._call(self._instance.pause) if at_rest else None
        if working.done():  # sooner than it could be paused
            return
        hold = self._attempt.meet_demand(checkpoint)
        while hold is not None:
            await asyncio.wrap_future(hold)
            hold = self._attempt.meet_demand(None)
        if at_rest:
            await self._call(self._instance.resume)

    async def _wait_for_end(self, working: asyncio.Task[Any]) -> None:
        grace = CANCEL_GRACE_SECONDS if inspect.iscoroutinefunction(self._instance.start) else None
        await asyncio.wait({working}, timeout=grace)

    async def _call(self, method: Callable[..., Any], *args: Any) -> Any:
        if inspect.iscoroutinefunction(method):
            return await method(*args)
        return await in_thread(f"{self._attempt} {method.__name__}", method, *args)


async def _abandon(working: asyncio.Task[Any]) -> None:
    """Cancels what still runs. Its error, if it has one, is of no interest: the attempt has ended otherwise."""
    working.cancel()
    await asyncio.wait({working})
    if not working.cancelled():
        working.exception()
