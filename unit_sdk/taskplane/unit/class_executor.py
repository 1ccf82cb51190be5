"""Classes with start, pause, resume, cancel and get_status as executors."""

import asyncio
import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any

from taskplane.unit.attempt import Attempt, Demand
from taskplane.unit.class_methods import ClassMethods, is_coroutine
from taskplane.unit.context import SyncTaskContext, TaskContext
from taskplane.unit.errors import Interrupted, TaskCancelled
from taskplane.unit.executors import CANCEL_GRACE_SECONDS
from taskplane.unit.structs import from_struct
from taskplane.unit.threads import in_thread

logger = logging.getLogger("taskplane.unit")

# So often an instance is asked for its status while its `start` does not report for itself.
STATUS_SECONDS = 2.0


class ClassExecutor:
    """Runs one instance for one attempt: `start` does the work, and the other methods control it.

    `pause` returns once the work is at rest, with a checkpoint or None, and `resume` lets it continue. Without a
    checkpoint of `pause` that of `get_status` counts. `cancel` makes `start` end and cleans up. An attempt that is
    given back or lost is brought to rest with `pause` and then left; an asynchronous `start` is cancelled there, one in
    a thread just stays at rest. Reports of `start` are no safe points, but raise the interruption once there is one.
    `get_status` is asked every few seconds, unless `start` reports for itself, and what is new is reported. Methods
    that are not coroutines run in threads.
    """

    def __init__(
        self, executor_class: Callable[[], Any], attempt: Attempt, methods: ClassMethods, *, can_pause: bool
    ) -> None:
        self._instance = executor_class()
        self._attempt = attempt
        self._methods = methods
        self._can_pause = can_pause
        self._news = asyncio.Event()
        # The last answers of `get_status`, so that nothing is reported twice.
        self._progress: tuple[float | None, str | None] | None = None
        self._checkpoint: Any = None

    async def run(self, config: Any) -> Any:
        """Runs `start` and steers it until it ends."""
        start = self._bind_start(config)
        working = asyncio.create_task(self._call(start, "start"))
        working.add_done_callback(lambda _: self._news.set())
        polling = asyncio.create_task(self._poll())
        try:
            await self._steer(working)
        except TaskCancelled:
            await self._ask("cancel")
            await asyncio.wait({working}, timeout=CANCEL_GRACE_SECONDS if is_coroutine(start) else None)
            raise
        finally:
            await _abandon(polling)
            await _abandon(working)
        return working.result()

    def meet_demand(self) -> None:
        """Makes `run` look at the demand."""
        self._news.set()

    async def refresh_status(self) -> None:
        """Asks the instance, and reports what is new."""
        status = await self._status()
        said = (status.get("progress"), status.get("message"))
        is_new = said not in (self._progress, (None, None))
        checkpoint = status.get("checkpoint")
        if checkpoint == self._checkpoint:
            checkpoint = None
        if is_new or checkpoint is not None:
            self._attempt.report(*(said if is_new else (None, None)), checkpoint)
        self._progress = said
        self._checkpoint = checkpoint or self._checkpoint

    def _bind_start(self, config: Any) -> Callable[[], Any]:
        order = self._attempt.order
        face = TaskContext if inspect.iscoroutinefunction(self._instance.start) else SyncTaskContext
        checkpoint = from_struct(order.checkpoint.data) if order.HasField("checkpoint") else None
        return self._methods.bind_start(
            self._instance, face(self._attempt), self._attempt.key.task_id, config, checkpoint
        )

    async def _poll(self) -> None:
        """Asks for the status now and then, until `start` reports or `get_status` fails."""
        while True:
            await asyncio.sleep(STATUS_SECONDS)
            if self._attempt.reports_for_itself:
                return
            if self._attempt.demand != Demand.NOTHING:
                continue
            try:
                await self.refresh_status()
            except Interrupted:
                return
            except Exception:
                logger.warning(
                    "%s: get_status failed, and is not asked for progress any more", self._attempt, exc_info=True
                )
                return

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
        checkpoint = await self._bring_to_rest(demand) if at_rest else None
        if working.done():  # sooner than it could be paused
            return
        hold = self._attempt.meet_demand(checkpoint)
        while hold is not None:
            await asyncio.wrap_future(hold)
            hold = self._attempt.meet_demand(None)
        if at_rest:
            await self._ask("resume")

    async def _bring_to_rest(self, demand: Demand) -> Mapping[str, Any] | None:
        """Pauses the work and returns the checkpoint from which it can continue."""
        checkpoint: Mapping[str, Any] | None = await self._ask("pause")
        if checkpoint is None and demand != Demand.DROP:
            try:
                checkpoint = (await self._status()).get("checkpoint")
            except Exception:
                logger.warning(
                    "%s: get_status failed, so it is paused without a checkpoint", self._attempt, exc_info=True
                )
        return checkpoint

    async def _status(self) -> Mapping[str, Any]:
        status = await self._ask("get_status")
        if not isinstance(status, Mapping):
            raise TypeError(f"get_status must return a dict, not {type(status).__name__}")
        return status

    async def _ask(self, name: str) -> Any:
        return await self._call(self._methods.bind(self._instance, name, self._attempt.key.task_id), name)

    async def _call(self, call: Callable[[], Any], name: str) -> Any:
        if is_coroutine(call):
            return await call()
        outcome = await in_thread(f"{self._attempt} {name}", call)
        # A decorator may hide that the method is a coroutine.
        return await outcome if inspect.isawaitable(outcome) else outcome


async def _abandon(task: asyncio.Task[Any]) -> None:
    """Cancels what still runs. Its error, if it has one, is of no interest: the attempt has ended otherwise."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()
