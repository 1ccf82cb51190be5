"""Sessions of the writer with MySQL or MariaDB: their begin, their messages, and their end from outside."""

import asyncio
import inspect
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from typing import Any

import aiomysql
import pymysql
import sqlalchemy
from pymysql.constants import CR
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util import await_only

from taskplane.server.core.errors import DatabaseUnavailable
from taskplane.server.store.dialects.dialect import SILENT_SECONDS, ErrorKind
from taskplane.server.store.dialects.mysql_errors import is_lost, kinds
from taskplane.server.store.ownership import EPOCH_QUERY, Ownership, TakenOver, session_locks

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5
# Interval of checks for the end of a session.
_POLL_SECONDS = 0.02


class WriterConnection(aiomysql.Connection):  # type: ignore[misc]  # (it has no types)
    """A connection of the writer, identified in the database by a lock that the session holds until its end.

    Every commit on the connection checks the ownership, in the same message.
    """

    def __init__(self, *, ownership: Ownership, **settings: Any) -> None:
        self.lock = ""
        self.transport: asyncio.Transport | None = None
        self._ownership = ownership
        self._has_committed = False
        super().__init__(**settings)

    async def begin_session(self) -> None:
        """Take the first free of the server's locks, so that a newer server can find and end this session.

        Raises TakenOver if a newer server has taken over. The lock comes before the check: so either the newer server
        finds this session, or this session notices the newer server.
        """
        for lock in session_locks(self._ownership.instance):
            if await self._ask(f"SELECT GET_LOCK('{lock}', 0)"):
                self.lock = lock
                break
        else:
            raise pymysql.OperationalError(CR.CR_SERVER_LOST, "too many lost sessions of this server have not ended")
        if await self._ask(EPOCH_QUERY) != self._ownership.epoch:
            raise TakenOver
        await self.rollback()

    async def _ask(self, query: str) -> Any:
        cursor = await self.cursor()
        await cursor.execute(query)
        (value,) = await cursor.fetchone()
        await cursor.close()
        return value

    def abort(self) -> None:
        """Close the connection without waiting, even in the middle of a statement."""
        self.close()
        if self.transport:
            # With TLS, Python 3.11.2 raises this error if the connection is already lost.
            with suppress(AttributeError):
                self.transport.abort()

    async def execute_message(self, statements: Sequence[str], *, commits: bool) -> None:
        """Execute statements in one round trip; with `commits`, followed by the ownership check and COMMIT."""
        await self.query(
            ";\n".join([*_owned(statements, _owner_check(self._ownership.epoch)), "COMMIT"] if commits else statements)
        )
        while self._result.has_next:  # a cursor would ask for warnings too
            await self.next_result()
        self._has_committed = commits

    async def commit(self) -> None:
        """Commit, unless the last message has committed."""
        if not self._has_committed:
            await self.execute_message((), commits=True)
        self._has_committed = False


def _owned(statements: Sequence[str], check: str) -> list[str]:
    """Return statements with the ownership check, added to the last SET if possible: each statement costs time."""
    place = max((index for index, each in enumerate(statements) if each.startswith("SET ")), default=None)
    if place is None:
        return [*statements, f"SET {check}"]
    return [*statements[:place], f"{statements[place]}, {check}", *statements[place + 1 :]]


@lru_cache(maxsize=2)
def _owner_check(epoch: int) -> str:
    # 1690, a number out of range: no other statement here can fail with that code. MySQL and MariaDB both understand
    # LOCK IN SHARE MODE.
    return f"@owned = IF(({EPOCH_QUERY} LOCK IN SHARE MODE) = {epoch}, 1, ~0 + {epoch + 1})"


def connector(url: sqlalchemy.URL, opened: deque[WriterConnection], ownership: Ownership) -> Any:
    """Return a function that connects as PyMySQL does: with TLS if available, and only with TLS if the URL sets it."""
    _, named = sqlalchemy.create_engine(url).dialect.create_connect_args(url)
    blocking: Any = pymysql.Connection(**named, defer_connect=True)
    tls = blocking.ctx if blocking.ssl else None
    needs_tls = any(name.startswith("ssl_") for name in url.query if name != "ssl_disabled")
    # Settings that only PyMySQL knows, like timeouts, are dropped: the writer has its own timeouts.
    known = inspect.signature(aiomysql.connect).parameters.keys() - {"ssl"}

    async def connect(**settings: Any) -> aiomysql.Connection:
        taken = {name: value for name, value in settings.items() if name in known}
        connection = WriterConnection(ownership=ownership, **taken, ssl=tls)
        async with _time_limit():
            await connection._connect()  # noqa: SLF001  (aiomysql.connect does the same for its own class)
        connection.transport = connection._writer.transport  # noqa: SLF001  (there is no other way to know)
        opened.append(connection)
        if needs_tls and not connection._secure:  # noqa: SLF001  (ditto)
            connection.close()
            raise pymysql.OperationalError(CR.CR_SSL_CONNECTION_ERROR, "the server does not support TLS")
        try:
            async with _time_limit():
                await connection.begin_session()
        except BaseException:
            connection.abort()
            raise
        return connection

    return connect


@asynccontextmanager
async def _time_limit() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            yield
    except TimeoutError as error:
        raise pymysql.OperationalError(CR.CR_CONN_HOST_ERROR, "the server does not answer") from error


def execute_message(connection: Connection, statements: Sequence[str], *, commits: bool = False) -> None:
    """Execute statements on a writing engine in one round trip, which may end with COMMIT.

    Raises DBAPIError for the first statement that fails; later statements, and COMMIT, are not executed.
    """
    session: Any = connection.connection.driver_connection
    try:
        await_only(session.execute_message(statements, commits=commits))
    except pymysql.Error as error:
        lost = is_lost(error)
        if lost:
            connection.invalidate(error)
        raise DBAPIError.instance(None, None, error, pymysql.Error, connection_invalidated=lost) from error
    if commits:
        connection.commit()  # no round trip: updates SQLAlchemy's state


def end_sessions(connection: Connection, locks: Sequence[str]) -> None:
    """End the sessions that hold these locks; afterwards their last messages are either executed or void.

    A lost connection alone does not stop the database from executing its last message. Blocks the thread until the
    sessions have ended. Raises DatabaseUnavailable if they do not end, and DBAPIError if the user may not end them.
    """
    give_up_at = time.monotonic() + SILENT_SECONDS
    used = "SELECT " + ", ".join(["IS_USED_LOCK(%s)"] * len(locks))
    while sessions := set(connection.exec_driver_sql(used, tuple(locks)).one()) - {None}:
        if time.monotonic() > give_up_at:
            raise DatabaseUnavailable
        for session in sessions:
            try:
                connection.exec_driver_sql(f"KILL CONNECTION {session}")
            except DBAPIError as error:
                if error.orig and ErrorKind.KILL_REFUSED in kinds(error.orig):
                    raise
                log.info("a session is left to end without a KILL: %r", error)
        time.sleep(_POLL_SECONDS)
