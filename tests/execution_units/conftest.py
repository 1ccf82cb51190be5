"""The server without its APIs: store, state manager, units and dispatch loop, connected as in the server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from support.actions import AT_ONCE
from support.connected_unit import ConnectedUnit, a_hello

from taskplane.server.core.command import Welcome
from taskplane.server.core.tuning import Tuning
from taskplane.server.execution_units.delivery import Delivery
from taskplane.server.execution_units.dispatch_loop import DispatchLoop
from taskplane.server.execution_units.links.stream import StreamLink
from taskplane.server.execution_units.manager import ExecutionUnitManager, Intervals
from taskplane.server.execution_units.registry import Registry
from taskplane.server.execution_units.report_handler import ReportHandler
from taskplane.server.execution_units.session import Session
from taskplane.server.store.database import Database
from taskplane.server.store.store import Store
from taskplane.server.tasks.group_commit import GroupCommit
from taskplane.server.tasks.progress_cache import ProgressCache
from taskplane.server.tasks.state_manager import TaskStateManager
from taskplane.server.tasks.watch import WatchHub

# A newcomer under the id of another process replaces that process at once.
NOBODY_ANSWERS = Tuning(probe_seconds=0.0)

Connect = Callable[..., Awaitable[ConnectedUnit]]


@pytest.fixture
async def store(sqlite_database_url: str) -> AsyncIterator[Store]:
    database = Database(sqlite_database_url)
    yield Store(database)
    await database.close()


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def progress_cache(store: Store) -> ProgressCache:
    return ProgressCache(store)


@pytest.fixture
async def commits(store: Store, progress_cache: ProgressCache, registry: Registry) -> AsyncIterator[GroupCommit]:
    commits = GroupCommit(store, progress_cache, registry.slots)
    running = asyncio.create_task(commits.run())
    yield commits
    commits.stop()
    await running


@pytest.fixture
def states(commits: GroupCommit) -> TaskStateManager:
    return TaskStateManager(commits, AT_ONCE)


@pytest.fixture
def units(store: Store, states: TaskStateManager, registry: Registry, commits: GroupCommit) -> ExecutionUnitManager:
    units = ExecutionUnitManager(store, states, registry, Intervals(), NOBODY_ANSWERS)
    commits.listeners += [registry.on_commit, Delivery(registry).on_commit]
    return units


@pytest.fixture
async def dispatch_loop(
    states: TaskStateManager, store: Store, registry: Registry, commits: GroupCommit
) -> AsyncIterator[DispatchLoop]:
    """Run the dispatch loop."""
    dispatch_loop = DispatchLoop(states, store, registry)
    commits.listeners.append(dispatch_loop.on_commit)
    running = asyncio.gather(dispatch_loop.run(), dispatch_loop.run_delays())
    yield dispatch_loop
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def report_handler(states: TaskStateManager, progress_cache: ProgressCache, registry: Registry) -> ReportHandler:
    return ReportHandler(states, progress_cache, WatchHub(), registry)


@pytest.fixture
def connect(units: ExecutionUnitManager, report_handler: ReportHandler, dispatch_loop: DispatchLoop) -> Connect:
    """Connect a unit, by default with one slot, to a server with a running dispatch loop."""

    async def connect(unit_id: str = "unit-1", **hello: object) -> ConnectedUnit:
        return await ConnectedUnit.connect(units, report_handler, a_hello(unit_id, **hello))

    return connect


@pytest.fixture
async def link() -> StreamLink:
    """Return the stream of a unit after its welcome."""
    link = StreamLink()
    link.welcome(Welcome("unit-1", "session-1", 5.0, 30.0, ()))
    await link.next()
    return link


@pytest.fixture
def session(link: StreamLink) -> Session:
    return Session("session-1", "unit-1", "boot-1", link)
