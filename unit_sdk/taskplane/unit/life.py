"""One life of a unit: connected, at work, drained, gone."""

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from typing import Protocol

from taskplane.unit.commands import Commands
from taskplane.unit.executors import TaskType
from taskplane.unit.fence import Fence
from taskplane.unit.lease import Lease
from taskplane.unit.postbox import Postbox
from taskplane.unit.runner import Runner
from taskplane.unit.threads import in_thread
from taskplane.unit.workload import Workload
from taskplane.v1.execution_unit_control_pb2 import Hello

logger = logging.getLogger("taskplane.unit")


class AnyLink(Protocol):
    """The way to the server."""

    def start(self) -> None:
        """Begins to be in touch."""

    def drain(self) -> None:
        """Tells the server that the unit is about to leave."""

    def leave(self) -> None:
        """Says what is left to be said, and ends. Blocks."""


class MakeLink(Protocol):
    """Makes the link, as `link.Link` for the stream and `http.link.HttpLink` for HTTP."""

    def __call__(  # noqa: D102, PLR0913 - all that a link connects
        self,
        introduction: Hello,
        workload: Workload,
        commands: Commands,
        postbox: Postbox,
        *,
        runner: Runner,
        lease: Lease,
        on_drain: Callable[[float | None], None],
        on_failure: Callable[[Exception], object],
    ) -> AnyLink: ...


class Life:
    """Builds all that a connected unit consists of, and takes it down in order. Made on the running event loop."""

    def __init__(
        self, make_link: MakeLink, introduction: Hello, task_types: Mapping[str, TaskType], drain_seconds: float
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._drain_seconds = drain_seconds
        self._leaving = asyncio.Event()
        self._time_is_up = asyncio.Event()
        # On the loop's clock.
        self._leave_by = math.inf
        self._all_acknowledged = asyncio.Event()
        self._failure: Exception | None = None
        self._postbox = Postbox()
        self._runner = Runner(self._loop, self._fail)
        lease = Lease()
        self._workload = Workload(introduction.capacity, self._postbox, self._runner, lease)
        self._fence = Fence(lease, self._workload)
        self._link = make_link(
            introduction,
            self._workload,
            Commands(task_types, self._workload, self._runner, self._postbox, lease),
            self._postbox,
            runner=self._runner,
            lease=lease,
            on_drain=self.leave,
            on_failure=lambda error: self._loop.call_soon_threadsafe(self._fail, error),
        )

    async def live(self) -> None:
        """Returns after `leave`; raises what the server or a fault ended the unit with."""
        self._link.start()
        self._fence.start()
        try:
            await self._leaving.wait()
            await self._drain()
        finally:
            # What is still at work is stopped first: after Goodbye the server gives it to others.
            await self._runner.close()
            await in_thread("taskplane-leave", self._link.leave)
            self._fence.stop()
        if self._failure is not None:
            raise self._failure

    def leave(self, within_seconds: float | None) -> None:
        """Begins to drain; None: without a bound. A further call can only shorten the bound. From any thread."""
        self._loop.call_soon_threadsafe(self._begin_to_leave, within_seconds)

    def _begin_to_leave(self, within_seconds: float | None) -> None:
        self._leaving.set()
        if within_seconds is not None:
            self._leave_by = min(self._leave_by, self._loop.time() + within_seconds)
            self._loop.call_later(within_seconds, self._time_is_up.set)

    async def _drain(self) -> None:
        if self._failure is None:
            logger.info("drain: giving attempts back")
            self._link.drain()
            # Half of the time, so that the rest is left to report it.
            self._workload.drain((self._leave_by - self._loop.time()) / 2)
        given_back = self._loop.create_task(self._given_back())
        time_is_up = self._loop.create_task(self._time_is_up.wait())
        await asyncio.wait({given_back, time_is_up}, return_when=asyncio.FIRST_COMPLETED)
        if not given_back.done():
            logger.warning("drain: time is up, what is still at work is lost to the unit")
        for task in (given_back, time_is_up):
            task.cancel()

    async def _given_back(self) -> None:
        await self._runner.idle()
        self._postbox.call_when_empty(lambda: self._loop.call_soon_threadsafe(self._all_acknowledged.set))
        await self._all_acknowledged.wait()

    def _fail(self, error: Exception) -> None:
        """Nothing can be reported any more, so work is only stopped."""
        logger.error("session: %s", error)
        self._failure = error
        self._workload.abandon()
        self._all_acknowledged.set()
        self._begin_to_leave(self._drain_seconds)
