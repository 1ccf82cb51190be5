"""How the database is spoken to: the connections' settings, and what the driver's errors mean."""

import time
from typing import Any

import pymysql
import sqlalchemy
from pymysql.constants import CLIENT
from pymysql.cursors import Cursor
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

from taskplane.server.core.errors import DatabaseUnavailable

# MySQL: lock wait timeout, deadlock. The server has rolled back; the same transaction may be tried again.
_RETRYABLE_MYSQL_ERRORS = frozenset({1205, 1213})
_DUPLICATE_MYSQL_ERROR = 1062
# Lost in the middle of a transaction, which is then undone: 2006 gone away, 2013 lost.
_LOST_MYSQL_ERRORS = frozenset({2006, 2013})
# A server that says nothing for so long is taken as lost, a lock that is not had as a deadlock.
_READ_SECONDS = 15
_LOCK_SECONDS = 5
# Too many connections, shutting down, read only, out of disk; cannot connect, gone away, lost.
_AWAY_MYSQL_ERRORS = frozenset({1040, 1053, 1290, 1021, 1114, 2002, 2003, 2006, 2013, 2014, 2055})
_AWAY_SQLITE_SIGNS = ("is locked", "disk I/O error", "unable to open", "is full", "readonly")
# A connection that was not used for so long may have been closed by the server.
_REST_SECONDS = 1.0
# How long SQLite waits for another connection's write lock.
_SQLITE_BUSY_MILLISECONDS = 5000


class AlreadyStored(Exception):
    """A row that was to be new is there."""


def make_engine(url: str, connections: int) -> Engine:
    """Return an engine with so many connections for a URL; see Database."""
    parsed = sqlalchemy.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = sqlalchemy.create_engine(parsed, pool_size=connections)
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    engine = sqlalchemy.create_engine(
        parsed,
        pool_size=connections,
        # Every transaction here is ended by its owner, so the pool need not roll back once more.
        pool_reset_on_return=None,
        isolation_level="READ COMMITTED",
        connect_args={
            "charset": "utf8mb4",
            "client_flag": CLIENT.FOUND_ROWS | CLIENT.MULTI_STATEMENTS,
            "cursorclass": WholeCursor,
            "connect_timeout": 5,
            "read_timeout": _READ_SECONDS,
            "write_timeout": _READ_SECONDS,
            "init_command": (
                "SET time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_DATE', "
                f"innodb_lock_wait_timeout = {_LOCK_SECONDS}"
            ),
        },
    )
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "checkout", _ping_after_rest)
    return engine


class WholeCursor(Cursor):
    """Executes all statements of a message before it returns, so that none fails unheard."""

    def execute(self, query: str, args: Any = None) -> int:
        """See pymysql. Raises what the first statement that fails does; those behind it are not executed."""
        affected = super().execute(query, args)
        while self.nextset():
            pass
        return affected


def _note_use(_connection: Any, record: ConnectionPoolEntry) -> None:
    record.info["used_at"] = time.monotonic()


def _ping_after_rest(connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
    """Find out that a resting connection is dead before a transaction needs it; a busy one needs no such round trip."""
    if time.monotonic() - record.info.get("used_at", 0.0) > _REST_SECONDS:
        try:
            connection.ping(reconnect=False)
        except pymysql.Error as error:
            # The pool makes a new connection.
            raise DisconnectionError from error


def _configure_sqlite(connection: Any, _record: Any) -> None:
    # The driver must not begin transactions by itself; `_begin_sqlite` does.
    connection.isolation_level = None
    for pragma in (
        "journal_mode = WAL",
        # Durable before acknowledged: NORMAL can lose the last commits with the power.
        "synchronous = FULL",
        "foreign_keys = ON",
        f"busy_timeout = {_SQLITE_BUSY_MILLISECONDS}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes the lock at once: one that upgrades later fails if somebody has written in between.
    writes = connection.get_execution_options().get("taskplane_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def is_duplicate(error: DBAPIError) -> bool:
    """Whether a row was refused since its key is taken."""
    return _code(error) == _DUPLICATE_MYSQL_ERROR or "UNIQUE constraint" in str(error.orig)


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
