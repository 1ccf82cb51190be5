"""SQLite: one file, one write lock, statements without a round trip."""

import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import sqlalchemy
from sqlalchemy import URL, Connection, Engine, Select, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import await_only

from taskplane.server.core.task import Task
from taskplane.server.store.dialects.dialect import BulkUpdate, Dialect, ErrorKind, StatementBuffer
from taskplane.server.store.ownership import EPOCH_QUERY, Ownership
from taskplane.server.store.records import task_of

# How long SQLite waits for another connection's write lock.
_BUSY_MILLISECONDS = 5000
_KINDS = {
    "UNIQUE constraint": ErrorKind.DUPLICATE,
    "integer overflow": ErrorKind.TAKEN_OVER,
    "is locked": ErrorKind.DATABASE_LOCKED | ErrorKind.AWAY,
    "disk I/O error": ErrorKind.AWAY,
    "unable to open": ErrorKind.AWAY,
    "is full": ErrorKind.AWAY,
    "readonly": ErrorKind.AWAY,
}


class SQLite(Dialect):
    """The dialect of SQLite."""

    has_one_lock = True
    mark = "?"
    lock_unlocked = ""
    driver_error = sqlite3.Error

    def engine(self, url: URL, connections: int, *, reads_only: bool = False) -> Engine:
        """Return a blocking engine."""
        engine = sqlalchemy.create_engine(url, pool_size=connections)
        event.listen(engine, "connect", _configure)
        if reads_only:
            event.listen(engine, "connect", _refuse_writes)
        event.listen(engine, "begin", _begin_reading)
        return engine

    def writing_engine(self, url: URL, ownership: Ownership) -> AsyncEngine:
        """Return an engine with one connection; its transactions begin with the write lock."""
        engine = create_async_engine(url.set(drivername="sqlite+aiosqlite"), pool_size=1)
        event.listen(engine.sync_engine, "connect", _configure)
        event.listen(engine.sync_engine, "begin", partial(_begin_writing, ownership))
        return engine

    def renew_sessions(self, engine: Engine, denied_at: Callable[[], float]) -> None:
        """Do nothing: sessions have no rights."""

    def kinds(self, error: Exception) -> ErrorKind:
        """Return the meanings of an error by its text."""
        text, found = str(error), ErrorKind.NONE
        for sign, kinds in _KINDS.items():
            if sign in text:
                found |= kinds
        return found

    def buffer(self, connection: Connection) -> StatementBuffer:
        """Return a buffer that executes each statement at once."""
        return _Statements(connection)

    def update_rows(self, connection: Connection, update: BulkUpdate, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute one prepared statement for each row."""
        assignments = ", ".join(f"{name} = {value}" for name, value in update.assignments.items())
        statement = f"UPDATE {update.table} SET {assignments} WHERE {update.condition}"  # noqa: S608  (names of ours)
        connection.exec_driver_sql(statement.replace("given.", ":"), [dict(row) for row in rows])

    def read_tasks(self, connection: Connection, query: Select[Any]) -> list[Task]:
        """Return the tasks of a query."""
        return [task_of(row) for row in connection.execute(query)]

    def index_hint(self, index: str) -> str:
        """Return INDEXED BY."""
        return f"INDEXED BY {index}"

    def interrupt(self, engine: Engine, connection: Connection) -> None:
        """Stop the statement on a connection."""
        driver: Any = connection.connection.driver_connection
        driver.interrupt()

    def session_lock(self, connection: Connection) -> str:
        """Return nothing: a lost connection leaves no session behind."""
        return ""

    def end_sessions(self, connection: Connection, locks: Sequence[str]) -> None:
        """Do nothing: no process can end another's session, and nothing is left of a lost one."""


class _Statements(StatementBuffer):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        self._insert(table, columns, rows)

    def upsert(
        self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]], key: str, changed: Sequence[str]
    ) -> None:
        changes = ", ".join(f"{name} = excluded.{name}" for name in changed)
        self._insert(table, columns, rows, f" ON CONFLICT ({key}) DO UPDATE SET {changes}")

    def update_tasks(self, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        assignments = ", ".join(f"{name} = ?" for name in columns)
        statement = f"UPDATE tasks SET {assignments} WHERE id = ? AND revision = ?"  # noqa: S608  (column names of ours)
        self._connection.exec_driver_sql(
            statement, [(*values, task_id, revision) for task_id, revision, *values in rows]
        )

    def check_unchanged(self, tasks: Collection[Task]) -> None:
        """Do nothing: the transaction has held the write lock since it read them."""

    def execute(self, statement: str) -> None:
        self._connection.exec_driver_sql(statement)

    def send(self) -> None:
        """Do nothing: every statement has been executed."""

    def commit(self) -> None:
        self._connection.commit()

    def _insert(
        self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]], on_conflict: str = ""
    ) -> None:
        if rows:
            marks = ", ".join("?" * len(columns))
            self._connection.exec_driver_sql(
                f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks}){on_conflict}",  # noqa: S608  (names of ours)
                list(rows),
            )


def _configure(connection: Any, _record: Any) -> None:
    # The driver must not begin transactions; the "begin" listeners do.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "journal_mode = WAL",
        # Durable before acknowledged: NORMAL can lose the last commits in a power failure.
        "synchronous = FULL",
        "foreign_keys = ON",
        f"busy_timeout = {_BUSY_MILLISECONDS}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _refuse_writes(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA query_only = ON")
    cursor.close()


def _begin_reading(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_writing(ownership: Ownership, connection: Connection) -> None:
    # A writer takes the lock at once: an upgrade fails if another connection has written since the first read.
    driver: Any = connection.connection.driver_connection
    if driver.in_transaction:
        # The script below would commit the rest of an aborted try.
        await_only(driver.rollback())
    begin = _owned_begin(ownership.epoch)
    try:
        await_only(driver.executescript(begin))
    except sqlite3.Error as error:
        await_only(driver.rollback())
        raise DBAPIError.instance(begin, None, error, sqlite3.Error) from error


@lru_cache(maxsize=2)
def _owned_begin(epoch: int) -> str:
    # An integer overflow. One script, because each statement alone is a hop to the driver's thread.
    return f"BEGIN IMMEDIATE; SELECT CASE WHEN ({EPOCH_QUERY}) = {epoch} THEN 1 ELSE abs(-9223372036854775808) END;"
