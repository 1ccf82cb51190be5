"""A store over every kind of database there is."""

from collections.abc import AsyncIterator, Sequence

import pytest
from sqlalchemy import Engine, event, make_url

from taskplane.server.store.database import Database
from taskplane.server.store.migrate import migrate
from taskplane.server.store.store import Store


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An empty database with the schema of this version; one test for each kind of database."""
    database = Database(database_url)
    migrate(database.engine)
    yield database
    await database.close()


@pytest.fixture
def engine(database: Database) -> Engine:
    """Connections of a stranger, beside the store's own."""
    return database.engine


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database)


@pytest.fixture
def without_sqlite(database_url: str) -> None:
    """Skip what a database with one writer and loose types cannot show."""
    if make_url(database_url).get_backend_name() == "sqlite":
        pytest.skip("SQLite locks the whole database, and takes values of any length")


@pytest.fixture
def statements(engine: Engine) -> Sequence[str]:
    """What is sent to the database from now on, one entry a round trip."""
    sent: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *args: sent.append(args[2]))
    return sent
