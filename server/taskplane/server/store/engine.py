"""How the database is spoken to: the connections' settings, and what the driver's errors mean.

There are two ways. Reads and migrations block a thread of their own. Writes run on the event loop and await the
database there.
"""

import asyncio
import inspect
import logging
import time
from collections import deque
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import aiomysql
import pymysql
import sqlalchemy
from pymysql.constants import CLIENT, CR
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.util import await_only

from taskplane.server.core.errors import DatabaseUnavailable

log = logging.getLogger(__name__)

# MySQL: lock wait timeout, deadlock. The server has rolled back; the same transaction may be tried again.
_RETRYABLE_MYSQL_ERRORS = frozenset({1205, 1213})
_DUPLICATE_MYSQL_ERROR = 1062
# A subquery with two rows, which is what the checks of task_updates fail with.
_UNEXPECTED_MYSQL_ERROR = 1242
# Lost in the middle of a transaction, which is then undone: 2006 gone away, 2013 lost.
_LOST_MYSQL_ERRORS = frozenset({2006, 2013})
# A server that says nothing for so long is taken as lost, a lock that is not had as a deadlock.
SILENT_SECONDS = 15
_LOCK_SECONDS = 5
_CONNECT_SECONDS = 5
# Too many connections, shutting down, read only, out of disk; cannot connect, gone away, lost.
_AWAY_MYSQL_ERRORS = frozenset({1040, 1053, 1290, 1021, 1114, 2002, 2003, 2006, 2013, 2014, 2055})
_AWAY_SQLITE_SIGNS = ("is locked", "disk I/O error", "unable to open", "is full", "readonly")
# A connection that was not used for so long may have been closed by the server.
_REST_SECONDS = 1.0
# How often it is looked whether a session has ended.
_POLL_SECONDS = 0.02
# The connections that were opened last: as many as may be closing when the server ends.
_MOST_CLOSING = 8
# How long SQLite waits for another connection's write lock.
_SQLITE_BUSY_MILLISECONDS = 5000

_MYSQL_SETTINGS = {
    "charset": "utf8mb4",
    "connect_timeout": _CONNECT_SECONDS,
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


class AlreadyStored(Exception):
    """A row that was to be new is there."""


def make_engine(url: str, connections: int) -> Engine:
    """Return an engine that blocks, with so many connections, for a URL; see Database."""
    parsed = sqlalchemy.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = sqlalchemy.create_engine(parsed, pool_size=connections)
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_reading)
        return engine
    settings = _MYSQL_SETTINGS | {
        "client_flag": CLIENT.FOUND_ROWS,
        "read_timeout": SILENT_SECONDS,
        "write_timeout": SILENT_SECONDS,
    }
    engine = sqlalchemy.create_engine(parsed, pool_size=connections, connect_args=settings, **_MYSQL_OPTIONS)
    _ping_after_rest(engine)
    return engine


def make_writing_engine(url: str) -> AsyncEngine:
    """Return an engine for the event loop: two transactions overlap on MySQL and MariaDB, none on SQLite."""
    parsed = sqlalchemy.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = create_async_engine(parsed.set(drivername="sqlite+aiosqlite"), pool_size=1)
        event.listen(engine.sync_engine, "connect", _configure_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_writing)
        return engine
    opened: deque[asyncio.Transport] = deque(maxlen=_MOST_CLOSING)
    settings = _MYSQL_SETTINGS | {
        "client_flag": CLIENT.FOUND_ROWS | CLIENT.MULTI_STATEMENTS,
        "async_creator_fn": _connector(parsed, opened),
    }
    engine = create_async_engine(
        parsed.set(drivername="mysql+aiomysql"), pool_size=2, connect_args=settings, **_MYSQL_OPTIONS
    )
    _ping_after_rest(engine.sync_engine)

    @event.listens_for(engine.sync_engine, "engine_disposed")
    def abort(_engine: Engine) -> None:
        # A connection with TLS would take its time to close, and the loop may end before.
        for each in opened:
            each.abort()

    return engine


def _connector(url: sqlalchemy.URL, opened: deque[asyncio.Transport]) -> Any:
    """Return what connects as PyMySQL does: with TLS if the server has it, only with TLS if the URL says how."""
    _, named = sqlalchemy.create_engine(url).dialect.create_connect_args(url)
    blocking: Any = pymysql.Connection(**named, defer_connect=True)
    tls = blocking.ctx if blocking.ssl else None
    needs_tls = any(name.startswith("ssl_") for name in url.query if name != "ssl_disabled")
    # A URL may have settings that only PyMySQL knows, like timeouts: this driver has none, and ours for all it does.
    known = inspect.signature(aiomysql.connect).parameters.keys() - {"ssl"}

    async def connect(**settings: Any) -> aiomysql.Connection:
        connection = _Session(**{name: value for name, value in settings.items() if name in known}, ssl=tls)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await connection._connect()  # noqa: SLF001  (aiomysql.connect does no more, but for its own class)
        except TimeoutError as error:
            raise pymysql.OperationalError(CR.CR_CONN_HOST_ERROR, "the server does not answer") from error
        opened.append(connection._writer.transport)  # noqa: SLF001  (there is no other way to know)
        if needs_tls and not connection._secure:  # noqa: SLF001  (ditto)
            connection.close()
            raise pymysql.OperationalError(CR.CR_SSL_CONNECTION_ERROR, "the server does not support TLS")
        return connection

    return connect


class _Session(aiomysql.Connection):  # type: ignore[misc]  # (it has no types)
    """A connection of the writer, which the database knows by a lock that is held as long as its session lasts."""

    def __init__(self, *, init_command: str, **settings: Any) -> None:
        self.lock = f"taskplane-{uuid4().hex}"
        self._has_committed = False
        super().__init__(init_command=f"{init_command}, @held = GET_LOCK('{self.lock}', 0)", **settings)

    async def execute_message(self, statements: Sequence[str], *, commits: bool) -> None:
        """Execute statements in one round trip, with COMMIT as the last one if `commits`."""
        await self.query(";\n".join([*statements, "COMMIT"] if commits else statements))
        while self._result.has_next:  # a cursor would tell, but ask for warnings too
            await self.next_result()
        self._has_committed = commits

    async def commit(self) -> None:
        """Commit, unless the last message has."""
        if not self._has_committed:
            await super().commit()
        self._has_committed = False


def execute_message(connection: Connection, statements: Sequence[str], *, commits: bool = False) -> None:
    """Execute statements on a writing engine of MySQL or MariaDB in one round trip, which may end with COMMIT.

    Raises DBAPIError for the first that fails; those behind it, and COMMIT, are not executed.
    """
    session: Any = connection.connection.driver_connection
    try:
        await_only(session.execute_message(statements, commits=commits))
    except pymysql.Error as error:
        is_lost = isinstance(error, pymysql.InterfaceError) or error.args[0] in _LOST_MYSQL_ERRORS
        if is_lost:
            connection.invalidate(error)
        raise DBAPIError.instance(None, None, error, pymysql.Error, connection_invalidated=is_lost) from error
    if commits:
        connection.commit()  # no trip: only SQLAlchemy has to know


def session_lock(connection: Connection) -> str:
    """Return the lock by which the database knows the session of a writing connection; empty for SQLite."""
    return getattr(connection.connection.driver_connection, "lock", "")


def end_session(connection: Connection, lock: str) -> None:
    """End the session behind a lost connection: what it was still doing is done then, or never will be.

    To the database a message is no less to be executed since nobody waits for the answer any more. Raises
    DatabaseUnavailable if it does not end.
    """
    give_up_at = time.monotonic() + SILENT_SECONDS
    while session := connection.exec_driver_sql("SELECT IS_USED_LOCK(%s)", (lock,)).scalar():
        if time.monotonic() > give_up_at:
            raise DatabaseUnavailable
        try:
            connection.exec_driver_sql(f"KILL CONNECTION {session}")
        except DBAPIError as error:
            log.info("a session is left to end by itself: %r", error)
        time.sleep(_POLL_SECONDS)


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


def _begin_writing(connection: Connection) -> None:
    # A writer takes the lock at once: one that upgrades later fails if somebody has written in between.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def is_duplicate(error: DBAPIError) -> bool:
    """Whether a row was refused since its key is taken."""
    return _code(error) == _DUPLICATE_MYSQL_ERROR or "UNIQUE constraint" in str(error.orig)


def is_unexpected(error: DBAPIError) -> bool:
    """Whether a row was not as it was taken to be."""
    return _code(error) == _UNEXPECTED_MYSQL_ERROR


def may_be_tried_again(error: DBAPIError) -> bool:
    """Whether the database has undone the transaction for a reason that may be over the next time."""
    return error.connection_invalidated or _code(error) in _RETRYABLE_MYSQL_ERRORS | _LOST_MYSQL_ERRORS


def translated(error: DBAPIError) -> Exception:
    """DatabaseUnavailable for what waiting can mend, AlreadyStored, or the error itself if it is our own mistake."""
    if is_duplicate(error):
        return AlreadyStored()
    if error.connection_invalidated or _code(error) in _AWAY_MYSQL_ERRORS | _RETRYABLE_MYSQL_ERRORS:
        return DatabaseUnavailable()
    if any(sign in str(error.orig) for sign in _AWAY_SQLITE_SIGNS):
        return DatabaseUnavailable()
    return error


def _code(error: DBAPIError) -> object:
    return error.orig.args[0] if error.orig and error.orig.args else None
