"""The runtime of a unit: connect, run attempts, drain, close.

A pause passes through these modules, top to bottom: `stream.session` reads the command, `stream.connection` hands the
command over, `command_handler` responds and signals the attempt, `attempt` holds the signal until the executor calls
`context.safe_point` or `report`, closes the gate and puts the report with the checkpoint into `report_queue`, from
where `stream.session` sends the report. Over HTTP, `http.api` and `http.connection` take the places of the stream's
modules.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from typing import Protocol

from taskplane.unit.attempt_registry import AttemptRegistry
from taskplane.unit.command_handler import CommandHandler
from taskplane.unit.executors import RegisteredTaskType
from taskplane.unit.lease import Lease
from taskplane.unit.report_queue import ReportQueue
from taskplane.unit.runner import Runner
from taskplane.unit.self_fence import SelfFence
from taskplane.unit.threads import in_thread
from taskplane.v1.execution_unit_control_pb2 import Hello

logger = logging.getLogger("taskplane.unit")


class ServerConnection(Protocol):
    """The unit's connection to the server: `stream.connection` over gRPC, `http.connection` over HTTP."""

    def start(self) -> None:
        """Connect, and reconnect until `close`."""

    def announce_drain(self) -> None:
        """Tell the server to send no new attempts."""

    def close(self) -> None:
        """Send the remaining reports and disconnect. Blocks."""


class ConnectionFactory(Protocol):
    """Builds the connection of a runtime."""

    def __call__(  # noqa: D102, PLR0913 - the collaborators of a connection
        self,
        introduction: Hello,
        registry: AttemptRegistry,
        command_handler: CommandHandler,
        report_queue: ReportQueue,
        *,
        runner: Runner,
        lease: Lease,
        on_drain: Callable[[float | None], None],
        on_failure: Callable[[Exception], object],
    ) -> ServerConnection: ...


class UnitRuntime:
    """Builds the parts of a running unit, and stops them in order. Must be created on the running event loop."""

    def __init__(
        self,
        make_connection: ConnectionFactory,
        introduction: Hello,
        task_types: Mapping[str, RegisteredTaskType],
        drain_seconds: float,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._drain_seconds = drain_seconds
        self._is_draining = asyncio.Event()
        self._drain_expired = asyncio.Event()
        # On the loop's clock.
        self._drain_by = math.inf
        self._all_acknowledged = asyncio.Event()
        self._failure: Exception | None = None
        self._report_queue = ReportQueue()
        self._runner = Runner(self._loop, self._fail)
        lease = Lease()
        self._registry = AttemptRegistry(introduction.capacity, self._report_queue, self._runner, lease)
        self._self_fence = SelfFence(lease, self._registry)
        self._connection = make_connection(
            introduction,
            self._registry,
            CommandHandler(task_types, self._registry, self._runner, self._report_queue, lease),
            self._report_queue,
            runner=self._runner,
            lease=lease,
            on_drain=self.drain,
            on_failure=lambda error: self._loop.call_soon_threadsafe(self._fail, error),
        )

    async def run(self) -> None:
        """Run until drained; raise the error that ended the unit, if one did."""
        self._connection.start()
        self._self_fence.start()
        try:
            await self._is_draining.wait()
            await self._drain()
        finally:
            # Executors stop before Goodbye, since the server gives their tasks to other units after it.
            await self._runner.close()
            await in_thread("taskplane-close", self._connection.close)
            self._self_fence.stop()
        if self._failure is not None:
            raise self._failure

    def drain(self, timeout_seconds: float | None) -> None:
        """Start to drain; None: without a timeout. A further call can only shorten the timeout. From any thread."""
        self._loop.call_soon_threadsafe(self._start_drain, timeout_seconds)

    def _start_drain(self, timeout_seconds: float | None) -> None:
        self._is_draining.set()
        if timeout_seconds is not None:
            self._drain_by = min(self._drain_by, self._loop.time() + timeout_seconds)
            self._loop.call_later(timeout_seconds, self._drain_expired.set)

    async def _drain(self) -> None:
        if self._failure is None:
            logger.info("drain: releasing attempts")
            self._connection.announce_drain()
            # Half of the time, so that the other half is left to report the releases.
            self._registry.drain((self._drain_by - self._loop.time()) / 2)
        drained = self._loop.create_task(self._wait_until_drained())
        expired = self._loop.create_task(self._drain_expired.wait())
        await asyncio.wait({drained, expired}, return_when=asyncio.FIRST_COMPLETED)
        if not drained.done():
            logger.warning("drain: time is up, attempts that still run are lost to the unit")
        for task in (drained, expired):
            task.cancel()

    async def _wait_until_drained(self) -> None:
        await self._runner.wait_idle()
        self._report_queue.call_when_empty(lambda: self._loop.call_soon_threadsafe(self._all_acknowledged.set))
        await self._all_acknowledged.wait()

    def _fail(self, error: Exception) -> None:
        """Stop all work without reports, which no server would accept."""
        logger.error("session: %s", error)
        self._failure = error
        self._registry.drop_all()
        self._all_acknowledged.set()
        self._start_drain(self._drain_seconds)
