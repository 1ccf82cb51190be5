"""A session of the writer with MySQL or MariaDB: how it begins, is spoken to, and is ended from outside."""

import asyncio
import inspect
import logging
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
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
# How often to check whether a session has ended.
_POLL_SECONDS = 0.02


class WriterConnection(aiomysql.Connection):  # type: ignore[misc]  # (it has no types)
    """A connection of the writer, which the database knows by a lock that is held as long as its session lasts.

    Whatever commits on it checks the ownership of the tasks, in the same message.
    """

    def __init__(self, *, ownership: Ownership, **settings: Any) -> None:
        self.lock = ""
        self.transport: asyncio.Transport | None = None
        self._ownership = ownership
        self._has_committed = False
        super().__init__(**settings)

    async def begin_session(self) -> None:
        """Take the first free of the server's locks, by which a newer server finds this session and ends it.

        Raises TakenOver if there is a newer server already. In this order, so that one of both notices the other.
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
        """Break the connection off, be it in the middle of something, or about to close."""
        self.close()
        if self.transport:
            # With TLS, Python 3.11.2 for one fails here if the connection is lost already: nothing is left to break.
            with suppress(AttributeError):
                self.transport.abort()

    async def execute_message(self, statements: Sequence[str], *, commits: bool) -> None:
        """Execute statements in one round trip; if it `commits`, with the check of the ownership and COMMIT behind."""
        await self.query(
            ";\n".join([*_owned(statements, _owner_check(self._ownership.epoch)), "COMMIT"] if commits else statements)
        )
        while self._result.has_next:  # a cursor would tell, but ask for warnings too
            await self.next_result()
        self._has_committed = commits

    async def commit(self) -> None:
        """Commit, unless the last message has."""
        if not self._has_committed:
            await self.execute_message((), commits=True)
        self._has_committed = False


def _owned(statements: Sequence[str], check: str) -> list[str]:
    """Return statements with the check of the ownership: in the last SET if there is one, as each statement costs."""
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
    """Return what connects as PyMySQL does: with TLS if the server has it, only with TLS if the URL says how."""
    _, named = sqlalchemy.create_engine(url).dialect.create_connect_args(url)
    blocking: Any = pymysql.Connection(**named, defer_connect=True)
    tls = blocking.ctx if blocking.ssl else None
    needs_tls = any(name.startswith("ssl_") for name in url.query if name != "ssl_disabled")
    # A URL may have settings that only PyMySQL knows, like timeouts: this driver has none, and ours for all it does.
    known = inspect.signature(aiomysql.connect).parameters.keys() - {"ssl"}

    async def connect(**settings: Any) -> aiomysql.Connection:
        taken = {name: value for name, value in settings.items() if name in known}
        connection = WriterConnection(ownership=ownership, **taken, ssl=tls)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await connection._connect()  # noqa: SLF001  (aiomysql.connect does no more, but for its own class)
        except TimeoutError as error:
            raise pymysql.OperationalError(CR.CR_CONN_HOST_ERROR, "the server does not answer") from error
        connection.transport = connection._writer.transport  # noqa: SLF001  (there is no other way to know)
        opened.append(connection)
        if needs_tls and not connection._secure:  # noqa: SLF001  (ditto)
            connection.close()
            raise pymysql.OperationalError(CR.CR_SSL_CONNECTION_ERROR, "the server does not support TLS")
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await connection.begin_session()
        except BaseException as error:
            connection.abort()
            if isinstance(error, TimeoutError):
                raise pymysql.OperationalError(CR.CR_CONN_HOST_ERROR, "the server does not answer") from error
            raise
        return connection

    return connect


def execute_message(connection: Connection, statements: Sequence[str], *, commits: bool = False) -> None:
    """Execute statements on a writing engine of MySQL or MariaDB in one round trip, which may end with COMMIT.

    Raises DBAPIError for the first that fails; those behind it, and COMMIT, are not executed.
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
        connection.commit()  # no trip: only SQLAlchemy has to know


def end_sessions(connection: Connection, locks: Sequence[str]) -> None:
    """End the sessions that hold these locks: what they were still doing is done then, or never will be.

    To the database a message is no less to be executed since nobody waits for the answer any more. Blocks its thread
    until they have ended. Raises DatabaseUnavailable if they do not end, and DBAPIError if they must not be ended.
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
                log.info("a session is left to end by itself: %r", error)
        time.sleep(_POLL_SECONDS)
