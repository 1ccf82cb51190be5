"""The composition root: builds all objects of the server, and starts and stops them in order."""

import asyncio
import logging
import socket
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

from taskplane.gateway.callers import Callers
from taskplane.gateway.server import HttpServer, listen
from taskplane.gateway.services import Services
from taskplane.server.config import ServerConfig, masked
from taskplane.server.core.clock import utc_now
from taskplane.server.core.endpoint import Endpoints
from taskplane.server.core.errors import ServerStopping, TaskplaneError
from taskplane.server.core.retry import RetryPolicy
from taskplane.server.core.tuning import DEFAULT_TUNING, Tuning
from taskplane.server.descriptors import connection_budget
from taskplane.server.execution_units.assignment_check import CHECK_SECONDS, AssignmentCheck
from taskplane.server.execution_units.callbacks import Callbacks
from taskplane.server.execution_units.delivery import Delivery
from taskplane.server.execution_units.dispatch_loop import DispatchLoop
from taskplane.server.execution_units.http_units import HttpUnits
from taskplane.server.execution_units.leases import Leases
from taskplane.server.execution_units.listening_clock import ListeningClock
from taskplane.server.execution_units.manager import ExecutionUnitManager, Intervals
from taskplane.server.execution_units.registry import Registry
from taskplane.server.execution_units.report_handler import ReportHandler
from taskplane.server.idempotency.responses import StoredResponses
from taskplane.server.observability import logs
from taskplane.server.rpc.operations_service import OperationsServicer
from taskplane.server.rpc.server import RpcServer
from taskplane.server.rpc.task_service import TaskServicer
from taskplane.server.rpc.unit_control import UnitControlServicer
from taskplane.server.services.batch_control import BatchControl
from taskplane.server.services.statistics import StatisticsService
from taskplane.server.services.task_service import TaskService
from taskplane.server.services.verbs import CommandTimeLimits, VerbChanges
from taskplane.server.services.watching import WatchService
from taskplane.server.store.database import Database
from taskplane.server.store.migrate import migrate, missing_migrations
from taskplane.server.store.ownership import TakenOver
from taskplane.server.store.ownership_renewal import OwnershipRenewal
from taskplane.server.store.pending_transaction import WriterFailed
from taskplane.server.store.store import Store
from taskplane.server.tasks.group_commit import GroupCommit
from taskplane.server.tasks.maintenance import Maintenance, repeat
from taskplane.server.tasks.progress_cache import ProgressCache
from taskplane.server.tasks.state_manager import TaskStateManager
from taskplane.server.tasks.watch import WatchHub

log = logging.getLogger("taskplane.server")

# Interval at which the heartbeats of connected units are stored, in seconds.
HEARTBEATS_STORED_SECONDS = 5.0
# Interval at which units that are absent for longer than the retention are deleted, in seconds.
UNITS_PURGED_SECONDS = 60.0


class CannotStart(Exception):
    """The server cannot start; the message gives the reason and the remedy."""


class Server:
    """One server over one database. Call `start` once, then `stop` once."""

    def __init__(self, config: ServerConfig, tuning: Tuning = DEFAULT_TUNING) -> None:
        self._config = config
        self._tuning = tuning
        self._database = Database(config.database_url)
        self._store = Store(self._database)
        self._progress_cache = ProgressCache(self._store)
        self._responses = StoredResponses(self._store)
        self._hub = WatchHub()
        self._budget = connection_budget(0 if config.no_http else config.max_http_connections)
        self._rpc = RpcServer(
            with_reflection=config.reflection, with_channelz=config.channelz, max_connections=self._budget.grpc
        )
        self._http: HttpServer | None = None
        self._http_socket: socket.socket | None = None
        # HOST:PORT of the REST API; empty if it is off.
        self.http_address = ""
        self._background: list[asyncio.Task[None]] = []
        # Set after the failure of a background task, none of which may end.
        self.failed = asyncio.Event()
        self._is_stopping = False

    async def start(self) -> str:
        """Start the server, and return the address of the gRPC API. Raises CannotStart.

        At no time do two servers write, and a start that fails on ports or database ends no other server.
        """
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self._database.close)
            # 1. Bind the ports, without serving: a server without its ports must not end another server.
            undo.push_async_callback(self._close_ports)
            address = self._bind()
            # 2. Bring the schema to this version.
            await self._prepare_database()
            # 3. Take the database over from an earlier server. From here on, no other server writes.
            await self._take_over(address)
            # 4. Read the state, and build all other objects on it.
            self._hub.revision = await self._store.latest_revision()
            registry = Registry(await self._store.all_units(), await self._store.running_tasks())
            registry.slots.scan.task_queue.add_types(await self._store.task_types())
            self._build_tasks_and_units(registry)
            servicers = self._build_apis(registry)
            # 5. Start the background tasks, which commit, dispatch and enforce time limits; connect the HTTP units.
            undo.push_async_callback(self._end_background)
            self._start_background(registry)
            undo.push_async_callback(self._end_units)
            await self._http_units.start()
            # 6. Serve.
            await self._rpc.start(*servicers)
            if self._http and self._http_socket:
                self._http.start(self._http_socket)
            undo.pop_all()
        return address

    async def stop(self) -> None:
        """Stop the server. Acknowledged changes are never lost."""
        # 1. Health checks fail, and load balancers choose another server.
        self._is_stopping = True
        await self._rpc.refuse_new_work()
        # 2. Streams end with UNAVAILABLE, so that units and watchers reconnect to the next server. Leases end first,
        # since disconnected units cannot renew them.
        self._leases.cancel()
        self._hub.stop()
        await self._end_units()
        # 3. Running calls may complete. HTTP first: its calls may wait for reports that arrive by gRPC.
        if self._http:
            await self._http.stop(self._config.drain_seconds)
        await self._rpc.stop(self._config.drain_seconds)
        # 4. Pending transactions commit. The wait is bounded, as the database may be unavailable.
        self._commits.stop()
        await asyncio.wait([self._committing], timeout=self._config.drain_seconds)
        await self._end_background()
        # 5. Caches are written, then the database is closed.
        await self._flush_caches()
        await self._database.close()

    def _bind(self) -> str:
        """Bind the ports. Returns the address of gRPC."""
        host = self._config.grpc.rpartition(":")[0]
        http_host = self._config.http.rpartition(":")[0]
        try:
            address = f"{host}:{self._rpc.bind(self._config.grpc)}"
            if not self._config.no_http:
                self._http_socket = listen(self._config.http)
                self.http_address = f"{http_host}:{self._http_socket.getsockname()[1]}"
        except OSError as error:
            raise CannotStart(str(error)) from error
        return address

    async def _prepare_database(self) -> None:
        bring_up = migrate if self._config.migrate else missing_migrations
        try:
            missing = await asyncio.to_thread(bring_up, self._database.engine)
        except Exception as error:
            raise self._cannot_use_database(error) from error
        if missing:
            raise CannotStart(f"the database is {missing}: start once without --no-migrate")

    async def _take_over(self, address: str) -> None:
        try:
            # First, since a server that cannot read must not end another server either.
            await self._store.check_readable()
        except Exception as error:
            raise self._cannot_use_database(error.__cause__ or error) from error
        try:
            await self._store.take_over(address)
        except Exception as error:
            raise self._cannot_use_database(error) from error

    def _cannot_use_database(self, error: BaseException) -> CannotStart:
        # One line for the operator instead of the driver's traceback.
        reason = str(error).partition("\n")[0]  # SQLAlchemy appends a link to its documentation
        return CannotStart(f"database {masked(self._config.database_url)}: {reason}")

    def _build_tasks_and_units(self, registry: Registry) -> None:
        self._commits = GroupCommit(self._store, self._progress_cache, registry.slots)
        self._states = TaskStateManager(self._commits, RetryPolicy())
        intervals = Intervals(self._config.heartbeat_seconds, self._config.lease_seconds)
        self._units = ExecutionUnitManager(self._store, self._states, registry, intervals, self._tuning)
        self._dispatch_loop = DispatchLoop(self._states, self._store, registry)
        self._report_handler = ReportHandler(self._states, self._progress_cache, self._hub, registry, self._tuning)
        # A response renews the lease, and a unit without heartbeats has no other way to do so.
        poll_seconds = min(self._config.poll_seconds, self._config.lease_seconds / 4)
        endpoints = Endpoints(self._config.allowed_endpoints)
        self._http_units = HttpUnits(self._units, registry, self._report_handler, endpoints, poll_seconds)
        # The registry is first: the other listeners look up units in it.
        self._commits.listeners += [
            registry.on_commit,
            Delivery(registry).on_commit,
            self._dispatch_loop.on_commit,
            self._hub.publish,
            logs.log_transitions,
        ]

    def _build_apis(self, registry: Registry) -> tuple[TaskServicer, UnitControlServicer, OperationsServicer]:
        """Build the REST API. Returns the servicers of the gRPC API."""
        time_limits = CommandTimeLimits(
            timedelta(seconds=self._config.pause_seconds), timedelta(seconds=self._config.cancel_seconds)
        )
        tasks = TaskService(
            self._store, self._states, registry, self._progress_cache, self._hub, time_limits=time_limits
        )
        batches = BatchControl(self._store, self._states, VerbChanges(registry, time_limits))
        statistics = StatisticsService(self._store, self._units)
        self._watches = watches = WatchService(self._store, tasks, self._hub, self._config.max_watches, self._tuning)
        callbacks = Callbacks(self._store, registry, self._http_units, self._report_handler)
        if not self._config.no_http:
            services = Services(
                tasks=tasks,
                batches=batches,
                statistics=statistics,
                watches=watches,
                units=self._units,
                http_units=self._http_units,
                callbacks=callbacks,
                responses=self._responses,
                is_stopping=lambda: self._is_stopping,
                outage=lambda: self._database.outage,
            )
            callers = Callers.of(
                self._config.http, hosts=self._config.allowed_hosts, origins=self._config.allowed_origins
            )
            self._http = HttpServer(services, callers, self._budget.http)
        return (
            TaskServicer(tasks, batches, watches, self._responses),
            UnitControlServicer(
                self._units,
                self._report_handler,
                self._http_units,
                callbacks,
                is_stopping=lambda: self._is_stopping,
                tuning=self._tuning,
            ),
            OperationsServicer(self._units, statistics),
        )

    def _start_background(self, registry: Registry) -> None:
        retention = timedelta(days=self._config.retention_days) if self._config.retention_days else None
        listening_clock = ListeningClock(registry, self._config.lease_seconds)
        maintenance = Maintenance(self._states, self._store, retention, listening_clock, self._tuning)
        self._committing = self._run(self._commits.run())
        leases = Leases(self._states, registry, self._config.lease_seconds, listening_clock, self._tuning)
        self._leases = self._run(leases.run())
        for part in (
            listening_clock.run(),
            self._watch_database(),
            OwnershipRenewal(
                self._database, lambda outage: self._rpc.show_ready(is_ready=not outage), self._tuning
            ).run(),
            self._progress_cache.run(),
            self._responses.run(),
            self._dispatch_loop.run(),
            self._dispatch_loop.run_delays(),
            self._http_units.reconnect_lost(),
            maintenance.expire_forever(),
            maintenance.purge_forever(),
            repeat(HEARTBEATS_STORED_SECONDS, self._units.save_heartbeats),
            repeat(CHECK_SECONDS, AssignmentCheck(self._states, self._store, registry).check),
        ):
            self._run(part)
        if retention:
            self._run(repeat(UNITS_PURGED_SECONDS, lambda: self._units.purge_absent(utc_now() - retention)))

    def _run(self, part: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(part)
        task.add_done_callback(self._check_failure)
        self._background.append(task)
        return task

    def _check_failure(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        # While the server stops, changes are refused with ServerStopping.
        if error and not isinstance(error, ServerStopping):
            log.critical("a part of the server has failed; it stops", exc_info=error)
            self.failed.set()

    async def _show_outage(self, outage: str) -> None:
        await self._rpc.show_ready(is_ready=not outage)

    async def _watch_database(self) -> None:
        try:
            await self._database.wait_for_failure()
        except WriterFailed as error:
            if not isinstance(error.__cause__, TakenOver):
                raise
            log.critical("another server has taken over this database, so this one ends")
            self.failed.set()

    async def _end_units(self) -> None:
        self._units.end_all()
        await self._http_units.stop()

    async def _end_background(self) -> None:
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    async def _close_ports(self) -> None:
        await self._rpc.stop(0)
        if self._http_socket:
            self._http_socket.close()

    async def _flush_caches(self) -> None:
        try:
            await self._progress_cache.close()
            await self._responses.flush()
            await self._units.save_heartbeats()
            await self._store.return_unused_ids()
        except TaskplaneError as error:
            log.warning("the last progress is not stored: %s", error.message)
