"""A database: one writer on the event loop, and a few readers in threads.

One transaction writes at a time, so that writes are ordered by commit. It decides on the event loop and awaits the
database there: a thread of its own would fight with the loop for the interpreter. Reads do not wait behind it.
"""

import asyncio
import itertools
import logging
import random
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from taskplane.server.core.errors import DatabaseUnavailable
from taskplane.server.store.engine import (
    SILENT_SECONDS,
    is_duplicate,
    make_engine,
    make_writing_engine,
    may_be_tried_again,
    translated,
)

log = logging.getLogger(__name__)

# Enough for list and get calls to overlap; each is a MySQL connection.
READER_THREADS = 4
# How long a transaction is tried again, and how long a lost COMMIT is looked for.
_RETRY_SECONDS = 5.0
_RESOLVE_SECONDS = 120.0


class Transaction(Protocol):
    """One try of a transaction: how what it has decided becomes true or is taken back."""

    def send(self) -> None:
        """Write what was decided."""

    def is_stored(self, connection: Connection) -> bool:
        """Look, after the connection broke in COMMIT, whether it is there."""

    def keep(self) -> None:
        """Take that it is durable."""

    def undo(self) -> None:
        """Take that it is not: take back what it did beside the database."""


@dataclass(frozen=True, slots=True)
class Begin:
    """What a try of a transaction begins with."""

    connection: Connection
    # An earlier try has failed, perhaps since a row was there that was to be new.
    is_again: bool = False


T = TypeVar("T")
X = TypeVar("X", bound=Transaction)


class _Lost(Exception):
    """The connection is lost, in the middle of a transaction."""


class _CommitLost(Exception):
    """The connection broke in COMMIT: the transaction may be durable or not."""


class Database:
    """A SQL database by its SQLAlchemy URL: `sqlite:///path` or `mysql+pymysql://user:password@host/name`.

    All methods may be called from the event loop only, but `engine`, which migrations and tests use.
    """

    def __init__(self, url: str) -> None:
        self.engine = make_engine(url, READER_THREADS)
        self.writing_engine = make_writing_engine(url)
        # Those that wait for it get it in the order in which they came.
        self._turn = asyncio.Lock()
        self._writes: set[asyncio.Task[Any]] = set()
        self._readers = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="database-reader")

    async def transact(self, start: Callable[[Begin], X], decide: Callable[[X], T]) -> T:
        """Let `decide` work on the transaction that `start` returns, and commit it; durable when this returns.

        Both run on the event loop, and again from the start if the try has failed for a reason that may be over the
        next time: so they must have no effect but on the database, or one that `undo` takes back. Who stops waiting
        stops nothing. Raises DatabaseUnavailable, and AlreadyStored if a key is taken even when that was looked for.
        """
        writing = asyncio.create_task(self._transact(start, decide))
        self._writes.add(writing)
        writing.add_done_callback(self._ended)
        return await asyncio.shield(writing)

    async def write(self, statements: Callable[[Connection], T]) -> T:
        """Execute statements in a transaction, durable when this returns. Raises DatabaseUnavailable.

        They may be executed twice, even if they were committed, and must bear that.
        """
        return await self.transact(_Statements, lambda transaction: statements(transaction.connection))

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a reader's thread in a transaction that is rolled back. Raises DatabaseUnavailable."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work)

    async def close(self) -> None:
        """Wait for what is under way, then let go of all threads and connections."""
        if self._writes:
            await asyncio.wait(self._writes)
        await asyncio.to_thread(self._readers.shutdown)
        await self.writing_engine.dispose()
        self.engine.dispose()

    def _ended(self, writing: asyncio.Task[Any]) -> None:
        self._writes.discard(writing)
        if not writing.cancelled():
            writing.exception()  # whoever still waits gets it; if nobody does, it is no news either

    async def _transact(self, start: Callable[[Begin], X], decide: Callable[[X], T]) -> T:
        async with self._turn:
            give_up_at = time.monotonic() + _RETRY_SECONDS
            for tries in itertools.count(1):
                try:
                    return await self._try(start, decide, is_again=tries > 1)
                except _CommitLost:
                    continue
                except _Lost as error:
                    if time.monotonic() > give_up_at:
                        raise DatabaseUnavailable from error
                except DBAPIError as error:
                    if is_duplicate(error) and tries == 1:
                        continue
                    if not may_be_tried_again(error) or time.monotonic() > give_up_at:
                        raise translated(error) from error
                # Two writers that met once should not meet again in step.
                await asyncio.sleep(random.uniform(0, min(0.5, 0.01 * 2**tries)))  # noqa: S311  (keeps no secret)
        raise AssertionError("a try returns or raises")

    async def _try(self, start: Callable[[Begin], X], decide: Callable[[X], T], *, is_again: bool) -> T:
        async with self._connected() as connection:
            transaction = await connection.run_sync(lambda each: start(Begin(each, is_again)))

            def decide_and_send(_: Connection) -> T:
                result = decide(transaction)
                transaction.send()
                return result

            try:
                async with _in_time():
                    result = await connection.run_sync(decide_and_send)
                await self._commit(connection, transaction)
            except BaseException:
                transaction.undo()
                await _roll_back(connection)
                raise
            transaction.keep()
            return result

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        async with _in_time():
            connection = await self.writing_engine.connect()
            await connection.begin()
        try:
            yield connection
        finally:
            await connection.close()

    async def _commit(self, connection: AsyncConnection, transaction: Transaction) -> None:
        try:
            async with _in_time():
                await connection.commit()
        except (DBAPIError, _Lost) as error:
            if isinstance(error, DBAPIError) and not error.connection_invalidated:
                raise
            log.warning("the connection broke in COMMIT; looking whether the transaction is there")
            if not await self._is_stored(transaction):
                raise _CommitLost from error

    async def _is_stored(self, transaction: Transaction) -> bool:
        """Ask the database itself, as soon as it is back: the outcome is never guessed."""
        give_up_at = time.monotonic() + _RESOLVE_SECONDS
        while True:
            try:
                return await self.read(transaction.is_stored)
            except DatabaseUnavailable:
                if time.monotonic() > give_up_at:
                    log.critical("the outcome of a transaction stays unknown: the database does not come back")
                    raise
                log.warning("the database is away")
                await asyncio.sleep(0.5)

    def _read(self, work: Callable[[Connection], T]) -> T:
        try:
            with self.engine.connect() as connection:
                return work(connection)
        except (OperationalError, InterfaceError) as error:
            raise translated(error) from error


@asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    """Take a database that is silent for long as lost."""
    try:
        async with asyncio.timeout(SILENT_SECONDS):
            yield
    except TimeoutError as error:
        raise _Lost from error


async def _roll_back(connection: AsyncConnection) -> None:
    try:
        async with _in_time():
            await connection.rollback()
    except (DBAPIError, _Lost) as error:
        # A database that does not hear of it undoes what a lost connection has left.
        log.info("a transaction is left to the database: %r", error)
        await connection.invalidate()


@dataclass(frozen=True, slots=True)
class _Statements:
    """A transaction of statements that may be executed twice."""

    begin: Begin

    @property
    def connection(self) -> Connection:
        return self.begin.connection

    def send(self) -> None:
        """All are sent."""

    def is_stored(self, _connection: Connection) -> bool:
        return False

    def keep(self) -> None:
        """Nothing is kept beside the database."""

    def undo(self) -> None:
        """Nothing was done beside the database."""
