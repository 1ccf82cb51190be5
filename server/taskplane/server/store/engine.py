"""The two ways to the database: reads and migrations block a thread of their own, writes await it on the event loop."""

import sqlite3
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import pymysql
import sqlalchemy
from pymysql.constants import CLIENT
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.util import await_only

from taskplane.server.core.clock import monotonic
from taskplane.server.store.ownership import Ownership
from taskplane.server.store.writer_connection import CONNECT_SECONDS, SILENT_SECONDS, WriterConnection, connector

# How long a row's lock is waited for, which somebody else holds: all who write wait for that.
_LOCK_SECONDS = 1
# A connection that was not used for so long may have been closed by the server.
_REST_SECONDS = 1.0
# The connections that were opened last: as many as may be closing when the server ends.
_MOST_CLOSING = 8
# The option of a connection that says until when its statements may take, by `core.clock.monotonic`.
UNTIL = "taskplane_until"
# The reader gives up first; the database by itself only if it was not told.
_STOP_LATER_SECONDS = 1.0
# How long SQLite waits for another connection's write lock.
_SQLITE_BUSY_MILLISECONDS = 5000

_MYSQL_SETTINGS = {
    "charset": "utf8mb4",
    "connect_timeout": CONNECT_SECONDS,
    # The outbox counts on it that a backslash escapes.
    "init_command": (
        "SET time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_DATE', "
        f"innodb_lock_wait_timeout = {_LOCK_SECONDS}"
    ),
}
_MYSQL_OPTIONS: dict[str, Any] = {
    # Every transaction here is ended by its owner, so the pool need not roll back once more.
    "pool_reset_on_return": None,
    "isolation_level": "READ COMMITTED",
}


def make_engine(url: str, connections: int, *, reads_only: bool = False) -> Engine:
    """Return an engine that blocks, with so many connections. If it `reads_only`, the database refuses its writes."""
    parsed = sqlalchemy.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = sqlalchemy.create_engine(parsed, pool_size=connections)
        event.listen(engine, "connect", _configure_sqlite)
        if reads_only:
            event.listen(engine, "connect", partial(_execute, "PRAGMA query_only = ON"))
        event.listen(engine, "begin", _begin_reading)
        return engine
    settings = _MYSQL_SETTINGS | {
        "client_flag": CLIENT.FOUND_ROWS,
        "read_timeout": SILENT_SECONDS,
        "write_timeout": SILENT_SECONDS,
    }
    engine = sqlalchemy.create_engine(parsed, pool_size=connections, connect_args=settings, **_MYSQL_OPTIONS)
    if reads_only:
        event.listen(engine, "connect", partial(_execute, "SET SESSION TRANSACTION READ ONLY"))
    _ping_after_rest(engine)
    event.listen(engine, "before_cursor_execute", _limit_time, retval=True)
    return engine


def make_writing_engine(url: str, ownership: Ownership) -> AsyncEngine:
    """Return the engine of all writes, for the event loop. Each transaction on it checks the ownership.

    On MySQL and MariaDB two transactions of tasks overlap, and two others go beside them; on SQLite none does.
    """
    parsed = sqlalchemy.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = create_async_engine(parsed.set(drivername="sqlite+aiosqlite"), pool_size=1)
        event.listen(engine.sync_engine, "connect", _configure_sqlite)
        event.listen(engine.sync_engine, "begin", partial(_begin_writing, ownership))
        return engine
    opened: deque[WriterConnection] = deque(maxlen=_MOST_CLOSING)
    settings = _MYSQL_SETTINGS | {
        "client_flag": CLIENT.FOUND_ROWS | CLIENT.MULTI_STATEMENTS,
        "async_creator_fn": connector(parsed, opened, ownership),
    }
    engine = create_async_engine(
        parsed.set(drivername="mysql+aiomysql"), pool_size=4, connect_args=settings, **_MYSQL_OPTIONS
    )
    _ping_after_rest(engine.sync_engine)

    @event.listens_for(engine.sync_engine, "engine_disposed")
    def abort(_engine: Engine) -> None:
        # A connection with TLS would take its time to close, and the loop may end before. One may also still be in use.
        for each in opened:
            each.abort()

    return engine


def _limit_time(
    connection: Connection, _cursor: Any, statement: str, parameters: Any, *_context: Any
) -> tuple[str, Any]:
    """Let MySQL or MariaDB end a SELECT by itself soon after its time is over."""
    until = connection.get_execution_options().get(UNTIL)
    if until is None or not statement.startswith("SELECT"):
        return statement, parameters
    seconds = max(0.0, until - monotonic()) + _STOP_LATER_SECONDS
    if connection.dialect.is_mariadb:  # type: ignore[attr-defined]  # MySQL's dialect has it
        return f"SET STATEMENT max_statement_time = {seconds:.3f} FOR {statement}", parameters
    hint = f"SELECT /*+ MAX_EXECUTION_TIME({round(seconds * 1000)}) */"
    return statement.replace("SELECT", hint, 1), parameters


def _ping_after_rest(engine: Engine) -> None:
    """Find out that a resting connection is dead before a transaction needs it; a busy one needs no such round trip."""

    @event.listens_for(engine, "checkin")
    def note_use(_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info["used_at"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def ping(connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
        if time.monotonic() - record.info.get("used_at", 0.0) > _REST_SECONDS:
            try:
                connection.ping(reconnect=False)
            except pymysql.Error as error:
                # The pool makes a new connection.
                raise DisconnectionError from error


def renew_sessions(engine: Engine, denied_at: Callable[[], float]) -> None:
    """Use no session again that began before one was denied something: rights that come or go reach new ones only."""

    @event.listens_for(engine, "connect")
    def note_begin(_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info["began_at"] = monotonic()

    @event.listens_for(engine, "checkout")
    def check(_connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
        # A new one is used once at least, as the pool makes only one attempt more.
        if "used_at" in record.info and record.info["began_at"] <= denied_at():
            raise DisconnectionError  # the pool makes a new connection


def _configure_sqlite(connection: Any, _record: Any) -> None:
    # The driver must not begin transactions by itself; we do.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "journal_mode = WAL",
        # Durable before acknowledged: NORMAL can lose the last commits with the power.
        "synchronous = FULL",
        "foreign_keys = ON",
        f"busy_timeout = {_SQLITE_BUSY_MILLISECONDS}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_reading(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_writing(ownership: Ownership, connection: Connection) -> None:
    # A writer takes the lock at once: one that upgrades later fails if somebody has written in between.
    driver: Any = connection.connection.driver_connection
    if driver.in_transaction:
        # A script would commit what a try that was broken off has left.
        await_only(driver.rollback())
    try:
        await_only(driver.executescript(ownership.begin_sqlite))
    except sqlite3.Error as error:
        await_only(driver.rollback())
        raise DBAPIError.instance(ownership.begin_sqlite, None, error, sqlite3.Error) from error


def _execute(statement: str, connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(statement)
    cursor.close()
