"""Databases for tests: empty ones, and ones with the schema that are emptied and used again."""

import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import pymysql
import pytest
from sqlalchemy import URL, Connection, Row, create_engine, make_url, select

from taskplane.server.store.migrate import migrate
from taskplane.server.store.schema import metadata

SERVER_VARIABLES = {"mysql": "TASKPLANE_TEST_MYSQL_URL", "mariadb": "TASKPLANE_TEST_MARIADB_URL"}

# MariaDB is tested where its server is given; a missing MySQL is reported by `server_url`.
SERVERS = ["mysql", *(["mariadb"] if os.environ.get(SERVER_VARIABLES["mariadb"]) else [])]
DATABASES = ["sqlite", *SERVERS]

# After this wait for a lock, emptying a database fails: a test has left a transaction open.
_LOCK_WAIT_SECONDS = 10

# A connection with TLS costs 20 ms of CPU, mostly for the certificates of the system; most tests open four.
_PLAIN = {"ssl_disabled": "true"}


def server_url(kind: str) -> str:
    """Return the URL of a database server whose user may create databases; without one skip, or fail in CI."""
    variable = SERVER_VARIABLES[kind]
    url = os.environ.get(variable)
    if url:
        return make_url(url).set(drivername="mysql+pymysql").render_as_string(hide_password=False)
    if os.environ.get("CI") == "true":
        pytest.fail(f"{variable} is not set: CI tests every database")
    pytest.skip(f"{variable} is not set: `make test` starts a server by itself")


def sqlite_url(folder: Path) -> str:
    """Return the URL of the SQLite database in the folder."""
    return f"sqlite:///{folder / 'taskplane.db'}"


@contextmanager
def fresh_database(url: str) -> Iterator[str]:
    """Create a database on the server of `url`, yield its URL, and drop the database."""
    server = make_url(url)
    name = f"test_{uuid.uuid4().hex}"
    execute(server, f"CREATE DATABASE `{name}`")
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        execute(server, f"DROP DATABASE `{name}`")


def execute(server: URL, statement: str) -> None:
    connection = pymysql.connect(
        host=server.host or "127.0.0.1",
        port=server.port or 3306,
        user=server.username,
        password=server.password or "",
        ssl_disabled=True,
    )
    with connection, connection.cursor() as cursor:
        cursor.execute(statement)


class MigratedDatabases:
    """Databases with the schema and without tasks, for the tests of one process.

    Migrations take longer than most tests. Each server has one database, which is emptied after each test and
    connected to without TLS; the SQLite file is copied for each test.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._exits = ExitStack()
        self._on_server = cache(self._make_on_server)
        self._sqlite = cache(self._make_sqlite)

    def close(self) -> None:
        self._exits.close()

    @contextmanager
    def lent(self, kind: str, folder: Path) -> Iterator[str]:
        """Yield the URL of a database for one test. The file of an SQLite database is in the folder."""
        if kind == "sqlite":
            shutil.copy(self._sqlite(), folder / "taskplane.db")
            yield sqlite_url(folder)
            return
        url, contents = self._on_server(kind)
        yield url
        _restore(url, contents)

    def _make_sqlite(self) -> Path:
        _migrate(sqlite_url(self._folder))
        return self._folder / "taskplane.db"

    def _make_on_server(self, kind: str) -> tuple[str, "Contents"]:
        fresh = self._exits.enter_context(fresh_database(server_url(kind)))
        url = make_url(fresh).update_query_dict(_PLAIN).render_as_string(hide_password=False)
        _migrate(url)
        engine = create_engine(url)
        with engine.connect() as connection:
            contents = _contents(connection)
        engine.dispose()
        return url, contents


Contents = dict[str, Sequence[Row[tuple[object, ...]]]]


def _migrate(url: str) -> None:
    engine = create_engine(url)
    migrate(engine)
    engine.dispose()


def _contents(connection: Connection) -> Contents:
    return {table.name: connection.execute(select(table)).all() for table in metadata.sorted_tables}


def _restore(url: str, contents: Contents) -> None:
    """Leave in the database what its migrations have put there, and nothing else."""
    engine = create_engine(url, connect_args={"init_command": f"SET innodb_lock_wait_timeout = {_LOCK_WAIT_SECONDS}"})
    with engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
        for table in metadata.sorted_tables:
            if rows := contents[table.name]:
                connection.execute(table.insert(), [row._asdict() for row in rows])
    engine.dispose()
