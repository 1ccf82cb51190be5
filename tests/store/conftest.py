"""Stores on every kind of database."""

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, event
from support.databases import DATABASES, MigratedDatabases

from taskplane.server.store.database import Database
from taskplane.server.store.dialects import mysql_statements
from taskplane.server.store.dialects.mysql_sessions import execute_message
from taskplane.server.store.store import Store


@pytest.fixture(params=DATABASES)
async def database(
    request: pytest.FixtureRequest, tmp_path: Path, migrated_databases: MigratedDatabases
) -> AsyncIterator[Database]:
    """Return a database with the schema and without tasks; the test runs for each kind of database."""
    with migrated_databases.lent(request.param, tmp_path) as url:
        database = Database(url)
        yield database
        await database.close()


@pytest.fixture
def engine(database: Database) -> Engine:
    """Return an engine for connections apart from the store's."""
    return database.engine


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database)


@pytest.fixture
def statements(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sequence[str]]:
    """Yield all statements sent to the database from now on, an entry for each round trip."""
    sent: list[str] = []

    def note(*args: object) -> None:
        sent.append(str(args[2]))

    def send(connection: Connection, texts: Sequence[str], *, commits: bool = False) -> None:
        sent.append(";\n".join(texts))
        execute_message(connection, texts, commits=commits)

    monkeypatch.setattr(mysql_statements, "execute_message", send)
    engines = database.engine, database.reading_engine, database.writing_engine.sync_engine
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    yield sent
    for engine in engines:
        event.remove(engine, "before_cursor_execute", note)
