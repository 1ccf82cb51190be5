"""A store over every kind of database there is."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest
from conftest import DATABASES, fresh_database, server_url
from sqlalchemy import Connection, Engine, create_engine, event

from taskplane.server.store.database import Database
from taskplane.server.store.dialects import mysql_statements
from taskplane.server.store.dialects.mysql_sessions import execute_message
from taskplane.server.store.migrate import migrate
from taskplane.server.store.schema import id_blocks, metadata, owners
from taskplane.server.store.store import Store


@pytest.fixture(scope="session")
def migrated() -> Iterator[Callable[[str], str]]:
    """Give the URL of a database with the schema, by kind. Made once: that takes longer than most of the tests."""
    with ExitStack() as databases:

        @cache
        def url_of(kind: str) -> str:
            url = databases.enter_context(fresh_database(server_url(kind)))
            engine = create_engine(url)
            migrate(engine)
            engine.dispose()
            return url

        yield url_of


@pytest.fixture(params=DATABASES)
async def database(
    request: pytest.FixtureRequest, tmp_path: Path, migrated: Callable[[str], str]
) -> AsyncIterator[Database]:
    """A database with the schema and nothing in it; one test for each kind of database."""
    is_sqlite = request.param == "sqlite"
    database = Database(f"sqlite:///{tmp_path / 'taskplane.db'}" if is_sqlite else migrated(request.param))
    if is_sqlite:
        migrate(database.engine)
    yield database
    if not is_sqlite:
        _empty(database.engine)
    await database.close()


def _empty(engine: Engine) -> None:
    with engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            if table not in {id_blocks, owners}:
                connection.execute(table.delete())


@pytest.fixture
def engine(database: Database) -> Engine:
    """Connections of a stranger, beside the store's own."""
    return database.engine


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database)


@pytest.fixture
def statements(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sequence[str]]:
    """What is sent to the database from now on, one entry a round trip."""
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
