"""A state manager over a real store, with its writer at work."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from support.actions import AT_ONCE
from support.writer import CountingStore, DispatchingStates

from taskplane.server.core.placement import Slots
from taskplane.server.store.database import Database
from taskplane.server.tasks.group_commit import GroupCommit
from taskplane.server.tasks.progress_cache import ProgressCache
from taskplane.server.tasks.unit_of_work import CommittedEvent


@pytest.fixture
def url(sqlite_database_url: str) -> str:
    """Return the quickest database; modules for every kind of database override it by `database_url`."""
    return sqlite_database_url


@pytest.fixture
async def store(url: str) -> AsyncIterator[CountingStore]:
    database = Database(url)
    yield CountingStore(database)
    await database.close()


@pytest.fixture
def progress_cache(store: CountingStore) -> ProgressCache:
    return ProgressCache(store)


@pytest.fixture
def published() -> list[CommittedEvent]:
    """Collect the events of the listeners, in order."""
    return []


@pytest.fixture
def slots() -> Slots:
    return Slots()


@pytest.fixture
async def commits(
    store: CountingStore, progress_cache: ProgressCache, slots: Slots, published: list[CommittedEvent]
) -> AsyncIterator[GroupCommit]:
    commits = GroupCommit(store, progress_cache, slots)
    commits.listeners.append(published.extend)
    running = asyncio.create_task(commits.run())
    yield commits
    commits.stop()
    await running


@pytest.fixture
def states(commits: GroupCommit, slots: Slots) -> DispatchingStates:
    return DispatchingStates(commits, AT_ONCE, slots)
