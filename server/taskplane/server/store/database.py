"""Connections and threads: one writer, a few readers, all off the event loop.

One thread writes, one transaction at a time, so that writes are ordered by commit. Reads have their own threads and do
not wait behind it.
"""

import asyncio
import itertools
import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pymysql
import sqlalchemy
from pymysql.constants import CLIENT
from pymysql.cursors import Cursor
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from taskplane.server.core.errors import DatabaseUnavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

# Enough for list and get calls to overlap; each is a MySQL connection.
READER_THREADS = 4
# MySQL: lock wait timeout, deadlock. The server has rolled back; the same transaction may be tried again.
_RETRYABLE_MYSQL_ERRORS = frozenset({1205, 1213})
_DUPLICATE_MYSQL_ERROR = 1062
# Lost in the middle of a transaction, which is then undone: 2006 gone away, 2013 lost.
_LOST_MYSQL_ERRORS = frozenset({2006, 2013})
# How long a transaction is tried again, and how long a lost COMMIT is looked for.
_RETRY_SECONDS = 5.0
_RESOLVE_SECONDS = 120.0
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


class _CommitLost(Exception):
    """The connection broke in COMMIT: the transaction may be durable or not."""


class Database:
    """A SQL database by its SQLAlchemy URL: `sqlite:///path` or `mysql+pymysql://user:password@host/name`.

    All methods may be called from the event loop only, but `engine`, which migrations and tests use.
    """

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="database-writer")
        self._readers = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="database-reader")

    async def write(
        self,
        work: Callable[[Connection], T],
        was_committed: Callable[[Connection], bool] = lambda _: False,
        on_commit: Callable[[], None] = lambda: None,
    ) -> T:
        """Run `work` in the writer's thread in one transaction, durable when this returns.

        `work` runs again from the start after a deadlock or a lost connection, so it must have no effect but on the
        database. If the connection is lost in COMMIT, `was_committed` looks in the database whether the transaction
        is there; without it, `work` must bear being done twice. `on_commit` is called in the writer's thread once it is
        durable. Raises DatabaseUnavailable if the database is away.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._writer, self._transact, work, was_committed, on_commit)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a reader's thread in a transaction that is rolled back. Raises DatabaseUnavailable."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work)

    async def close(self) -> None:
        """Wait for what is under way, then let go of all threads and connections."""
        await asyncio.to_thread(self._writer.shutdown)
        await asyncio.to_thread(self._readers.shutdown)
        self.engine.dispose()

    def _transact(
        self,
        work: Callable[[Connection], T],
        was_committed: Callable[[Connection], bool],
        on_commit: Callable[[], None],
    ) -> T:
        give_up_at = time.monotonic() + _RETRY_SECONDS
        for tries in itertools.count(1):
            result: list[T] = []
            try:
                self._try(work, result)
            except _CommitLost as lost:
                log.warning("the connection broke in COMMIT; looking whether the transaction is there")
                if not self._look(was_committed, lost):
                    continue
            except (OperationalError, InterfaceError) as error:
                if not _may_be_tried_again(error) or time.monotonic() > give_up_at:
                    raise _translated(error) from error
                # Two writers that met once should not meet again in step.
                time.sleep(random.uniform(0, min(0.5, 0.01 * 2**tries)))  # noqa: S311  (spreads, keeps no secret)
                continue
            on_commit()
            return result[0]
        raise AssertionError("a try returns or raises")

    def _try(self, work: Callable[[Connection], T], result: list[T]) -> None:
        with self.engine.connect().execution_options(taskplane_writes=True) as connection:
            transaction = connection.begin()
            try:
                result.append(work(connection))
            except BaseException:
                transaction.rollback()
                raise
            try:
                transaction.commit()
            except DBAPIError as error:
                if error.connection_invalidated:
                    raise _CommitLost from error
                raise

    def _look(self, was_committed: Callable[[Connection], bool], lost: _CommitLost) -> bool:
        """Ask the database itself, as soon as it is back: the outcome is never guessed."""
        give_up_at = time.monotonic() + _RESOLVE_SECONDS
        while True:
            try:
                with self.engine.connect() as connection:
                    return was_committed(connection)
            except (OperationalError, InterfaceError) as error:
                if time.monotonic() > give_up_at:
                    log.critical("the outcome of a transaction stays unknown: the database does not come back")
                    raise DatabaseUnavailable from lost
                log.warning("the database is away: %s", error.orig)
                time.sleep(0.5)

    def _read(self, work: Callable[[Connection], T]) -> T:
        try:
            with self.engine.connect() as connection:
                return work(connection)
        except (OperationalError, InterfaceError) as error:
            raise _translated(error) from error


def _engine(url: str) -> Engine:
    parsed = sqlalchemy.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = sqlalchemy.create_engine(parsed, pool_size=READER_THREADS + 1)
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    engine = sqlalchemy.create_engine(
        parsed,
        pool_size=READER_THREADS + 1,
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


def _may_be_tried_again(error: DBAPIError) -> bool:
    return error.connection_invalidated or _code(error) in _RETRYABLE_MYSQL_ERRORS | _LOST_MYSQL_ERRORS


def _translated(error: DBAPIError) -> Exception:
    """DatabaseUnavailable for what waiting can mend; the error itself for what is our own mistake."""
    if error.connection_invalidated or _code(error) in _AWAY_MYSQL_ERRORS | _RETRYABLE_MYSQL_ERRORS:
        return DatabaseUnavailable()
    if any(sign in str(error.orig) for sign in _AWAY_SQLITE_SIGNS):
        return DatabaseUnavailable()
    return error


def _code(error: DBAPIError) -> object:
    return error.orig.args[0] if error.orig and error.orig.args else None
