"""The composition root: builds every object, starts them, and stops them in order."""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

from taskplane.gateway.callers import Callers
from taskplane.gateway.server import HttpServer, listen
from taskplane.gateway.services import Services
from taskplane.server.config import ServerConfig, masked, unknown_variables
from taskplane.server.core.clock import utc_now
from taskplane.server.core.endpoint import Endpoints
from taskplane.server.core.errors import ServerStopping, TaskplaneError
from taskplane.server.core.retry import RetryPolicy
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
from taskplane.server.services.verb_changes import CommandTimeLimits, VerbChanges
from taskplane.server.services.watching import WatchService
from taskplane.server.store.database import Database
from taskplane.server.store.migrate import migrate, missing_migrations
from taskplane.server.store.ownership import TakenOver
from taskplane.server.store.pending_transaction import WriterFailed
from taskplane.server.store.store import Store
from taskplane.server.tasks.group_commit import GroupCommit
from taskplane.server.tasks.lease_keeper import LeaseKeeper
from taskplane.server.tasks.maintenance import Maintenance, repeat
from taskplane.server.tasks.progress_cache import ProgressCache
from taskplane.server.tasks.state_manager import TaskStateManager
from taskplane.server.tasks.watch import WatchHub

log = logging.getLogger("taskplane.server")

# How often the connected units' heartbeats are stored.
HEARTBEATS_STORED_SECONDS = 5.0
# How often units that are away for longer than the retention are looked for.
UNITS_PURGED_SECONDS = 60.0


class CannotStart(Exception):
    """The server cannot start; the message says why and what to do."""


class Server:
    """One server over one database. `start`, then `stop`; both once."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._database = Database(config.database_url)
        self._store = Store(self._database)
        self._progress_cache = ProgressCache(self._store)
        self._responses = StoredResponses(self._store)
        self._hub = WatchHub()
        self._background: list[asyncio.Task[None]] = []
        # Set when a part that must run for ever has failed.
        self.failed = asyncio.Event()
        self._budget = connection_budget(0 if config.no_http else config.max_http_connections)
        self._rpc = RpcServer(
            with_reflection=config.reflection, with_channelz=config.channelz, max_connections=self._budget.grpc
        )
        self._http: HttpServer | None = None
        self._listening: socket.socket | None = None
        # Where HTTP listens, HOST:PORT; empty if it does not.
        self.http_address = ""
        self._is_stopping = False

    async def start(self) -> str:
        """Start in order, so that no two servers decide, and none ends another for nothing. Returns gRPC's HOST:PORT.

        Raises CannotStart.
        """
        try:
            # 1. The ports are taken, but not served: a server that cannot listen must not end another.
            address = self._bind()
            # 2. The schema is that of this version.
            await self._prepare_database()
            # 3. A server that cannot read must not end another either. From here on no other server writes, so what is
            # read stays true.
            await self._try_to_read()
            await self._take_over(address)
            # 4. Read, and build all on that.
            self._hub.revision = await self._store.latest_revision()
            registry = Registry(await self._store.all_units(), await self._store.running_tasks())
            registry.slots.scan.task_queue.add_types(await self._store.task_types())
            self._commits = GroupCommit(self._store, self._progress_cache, registry.slots)
            self._states = TaskStateManager(self._commits, RetryPolicy())
            self._build_units(registry)
            servicers = self._build_apis(registry)
            # 5. The loops commit, and keep tasks and units within their limits.
            self._run_loops(registry)
            await self._http_units.start()
            # 6. Now calls are answered.
            await self._rpc.start(*servicers)
            if self._http and self._listening:
                self._http.start(self._listening)
        except BaseException:
            await self._abandon()
            raise
        return address

    def _build_units(self, registry: Registry) -> None:
        intervals = Intervals(self._config.heartbeat_seconds, self._config.lease_seconds)
        self._units = ExecutionUnitManager(self._store, self._states, registry, intervals)
        self._dispatch_loop = DispatchLoop(self._states, self._store, registry)
        self._report_handler = ReportHandler(self._states, self._progress_cache, self._hub, registry)
        self._http_units = self._build_http_units(registry, self._report_handler)
        # The registry hears first, since the others look things up in it.
        self._commits.listeners += [
            registry.on_commit,
            Delivery(registry).on_commit,
            self._dispatch_loop.on_commit,
            self._hub.publish,
            logs.log_transitions,
        ]

    def _build_apis(self, registry: Registry) -> tuple[TaskServicer, UnitControlServicer, OperationsServicer]:
        """Build HTTP's face; returns gRPC's."""
        time_limits = CommandTimeLimits(
            timedelta(seconds=self._config.pause_seconds), timedelta(seconds=self._config.cancel_seconds)
        )
        tasks = TaskService(
            self._store, self._states, registry, self._progress_cache, self._hub, time_limits=time_limits
        )
        batches = BatchControl(self._store, self._states, VerbChanges(registry, time_limits))
        self._watches = watches = WatchService(self._store, tasks, self._hub, self._config.max_watches)
        callbacks = Callbacks(self._store, registry, self._http_units, self._report_handler)
        if not self._config.no_http:
            services = Services(
                tasks=tasks,
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
                self._units, self._report_handler, self._http_units, callbacks, is_stopping=lambda: self._is_stopping
            ),
            OperationsServicer(self._units, StatisticsService(self._store, self._units)),
        )

    def _run_loops(self, registry: Registry) -> None:
        retention = timedelta(days=self._config.retention_days) if self._config.retention_days else None
        listening_clock = ListeningClock(registry, self._config.lease_seconds)
        maintenance = Maintenance(self._states, self._store, retention, listening_clock)
        self._committing = self._run(self._commits.run())
        self._leases = self._run(Leases(self._states, registry, self._config.lease_seconds, listening_clock).run())
        for part in (
            listening_clock.run(),
            self._until_database_fails(),
            LeaseKeeper(self._database, lambda outage: self._rpc.show_ready(is_ready=not outage)).run(),
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

    async def _take_over(self, address: str) -> None:
        try:
            await self._store.take_over(address)
        except Exception as error:
            raise self._cannot_use_database(error) from error

    async def _try_to_read(self) -> None:
        try:
            await self._store.check_readable()
        except Exception as error:
            raise self._cannot_use_database(error.__cause__ or error) from error

    async def _until_database_fails(self) -> None:
        try:
            await self._database.wait_for_failure()
        except WriterFailed as error:
            if isinstance(error.__cause__, TakenOver):
                log.critical("another server has taken over this database, so this one ends")
                self.failed.set()
            else:
                raise

    async def stop(self) -> None:
        """Stop in order, so that nothing that was promised is lost."""
        # 1. Health checks and load balancers look elsewhere.
        self._is_stopping = True
        await self._rpc.refuse_new_work()
        # 2. Streams end with UNAVAILABLE, and new ones too: units and watchers come back to the next server. Who is not
        # heard any more is not to blame.
        self._leases.cancel()
        self._units.end_all()
        self._hub.stop()
        await self._http_units.stop()
        # 3. No new calls; those under way may end. HTTP first, as it may wait for what comes by gRPC.
        if self._http:
            await self._http.stop(self._config.drain_seconds)
        await self._rpc.stop(self._config.drain_seconds)
        # 4. What was proposed becomes durable, then nothing is proposed any more.
        self._commits.stop()
        # A database that is away may not come back.
        await asyncio.wait([self._committing], timeout=self._config.drain_seconds)
        await self._end_background()
        # 5. The last news of running attempts, then the database.
        await self._store_cached_state()
        await self._database.close()

    async def _prepare_database(self) -> None:
        bring_up = migrate if self._config.migrate else missing_migrations
        try:
            missing = await asyncio.to_thread(bring_up, self._database.engine)
        except Exception as error:
            raise self._cannot_use_database(error) from error
        if missing:
            raise CannotStart(f"the database is {missing}: start once without --no-migrate")

    def _cannot_use_database(self, error: BaseException) -> CannotStart:
        # Whatever the driver raises here, the operator needs the place and the reason, not a traceback.
        reason = str(error).partition("\n")[0]  # SQLAlchemy adds a link to its own pages
        return CannotStart(f"database {masked(self._config.database_url)}: {reason}")

    def _build_http_units(self, registry: Registry, report_handler: ReportHandler) -> HttpUnits:
        endpoints = Endpoints(self._config.allowed_endpoints)
        # An answer renews the lease: a unit that sends no heartbeats has these only.
        poll_seconds = min(self._config.poll_seconds, self._config.lease_seconds / 4)
        return HttpUnits(self._units, registry, report_handler, endpoints, poll_seconds)

    def _bind(self) -> str:
        """Take the ports. Returns gRPC's address."""
        host = self._config.grpc.rpartition(":")[0]
        http_host = self._config.http.rpartition(":")[0]
        try:
            address = f"{host}:{self._rpc.bind(self._config.grpc)}"
            if not self._config.no_http:
                self._listening = listen(self._config.http)
                self.http_address = f"{http_host}:{self._listening.getsockname()[1]}"
        except OSError as error:
            raise CannotStart(str(error)) from error
        return address

    async def _abandon(self) -> None:
        """Let go of what a start that failed has taken; a server that is left serving spoils the end of the process."""
        await self._end_background()
        await self._rpc.stop(0)
        if self._listening:
            self._listening.close()
        await self._database.close()

    async def _store_cached_state(self) -> None:
        try:
            await self._progress_cache.close()
            await self._responses.flush()
            await self._units.save_heartbeats()
            await self._store.return_unused_ids()
        except TaskplaneError as error:
            log.warning("the last progress is not stored: %s", error.message)

    def _run(self, part: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(part)
        task.add_done_callback(self._ended)
        self._background.append(task)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        # Whatever a part proposes while the server stops is refused.
        if error and not isinstance(error, ServerStopping):
            log.critical("a part of the server has failed; it stops", exc_info=error)
            self.failed.set()

    async def _end_background(self) -> None:
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)


async def serve(config: ServerConfig) -> int:
    """Run a server until SIGTERM or SIGINT; a second signal ends the process at once. Returns the exit code."""
    server = Server(config)
    log.info("starting: %s", config.described())
    for warning in unknown_variables(os.environ):
        log.warning("%s", warning)
    address = await server.start()
    stop = _stop_on_signals()
    http = f" http={server.http_address}" if server.http_address else ""
    print(f"ready grpc={address}{http}", flush=True)  # noqa: T201  (the line that scripts wait for)
    waits = [asyncio.ensure_future(each.wait()) for each in (stop, server.failed)]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    log.info("stopping")
    await server.stop()
    log.info("stopped")
    return 1 if server.failed.is_set() else 0


def run(config: ServerConfig) -> int:
    """Run a server in this process, on uvloop where there is one. Returns the exit code."""
    logs.configure(config.log_level, config.log_format)
    _collect_garbage_less_often()
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(serve(config))
    except CannotStart as error:
        print(f"taskplane: {error}", file=sys.stderr)  # noqa: T201  (one line for the operator)
        return 1


def _collect_garbage_less_often() -> None:
    """Leave alone what was imported, and look for cycles after ten thousand new objects instead of seven hundred.

    A call makes a hundred objects and no cycle; the looks took an eighth of the server's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def _loop_factory() -> Any:
    try:
        import uvloop  # noqa: PLC0415  (an extra; not made for every platform)
    except ImportError:
        return None
    return uvloop.new_event_loop


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(1)
        stop.set()

    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, on_signal)
    return stop
