"""A state manager over a real store, with its writer at work."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from deeds import AT_ONCE
from writer import ClaimingStates, CountingStore

from taskplane.server.core.placement import Slots
from taskplane.server.store.database import Database
from taskplane.server.store.migrate import migrate
from taskplane.server.tasks.batch import Committed
from taskplane.server.tasks.group_commit import GroupCommit
from taskplane.server.tasks.live import LiveAttempts


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The quickest database; modules that must hold on every kind override this by `database_url`."""
    return f"sqlite:///{tmp_path / 'taskplane.db'}"


@pytest.fixture
async def store(url: str) -> AsyncIterator[CountingStore]:
    database = Database(url)
    migrate(database.engine)
    yield CountingStore(database)
    await database.close()


@pytest.fixture
def live(store: CountingStore) -> LiveAttempts:
    return LiveAttempts(store)


@pytest.fixture
def told() -> list[Committed]:
    """What listeners have heard, in order."""
    return []


@pytest.fixture
def slots() -> Slots:
    return Slots()


@pytest.fixture
async def commits(
    store: CountingStore, live: LiveAttempts, slots: Slots, told: list[Committed]
) -> AsyncIterator[GroupCommit]:
    commits = GroupCommit(store, live, slots)
    commits.listeners.append(told.extend)
    running = asyncio.create_task(commits.run())
    yield commits
    commits.stop()
    await running


@pytest.fixture
def states(commits: GroupCommit, slots: Slots) -> ClaimingStates:
    return ClaimingStates(commits, AT_ONCE, slots)
