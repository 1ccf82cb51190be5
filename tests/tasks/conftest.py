"""A state manager over a real store, with its writer at work."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from deeds import AT_ONCE
from writer import CountingStore

from taskplane.server.store.database import Database
from taskplane.server.store.migrate import migrate
from taskplane.server.tasks.batch import Committed
from taskplane.server.tasks.group_commit import GroupCommit
from taskplane.server.tasks.live import LiveAttempts
from taskplane.server.tasks.state_manager import TaskStateManager


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
async def commits(store: CountingStore, live: LiveAttempts, told: list[Committed]) -> AsyncIterator[GroupCommit]:
    commits = GroupCommit(store, live)
    commits.listeners.append(told.extend)
    running = asyncio.create_task(commits.run())
    yield commits
    commits.stop()
    await running


@pytest.fixture
def states(commits: GroupCommit) -> TaskStateManager:
    return TaskStateManager(commits, AT_ONCE)
