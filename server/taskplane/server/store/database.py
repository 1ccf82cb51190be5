"""A database: one writer on the event loop, and a few readers in threads.

Writes are ordered by commit. They decide on the event loop and await the database there: a thread of their own would
fight with the loop for the interpreter. Reads do not wait behind them.
"""

import asyncio
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from taskplane.server.store.driver_errors import translated
from taskplane.server.store.engine import make_engine, make_writing_engine
from taskplane.server.store.transactions import Begin, Transaction, UnderWay
from taskplane.server.store.writer import Writer

# Enough for list and get calls to overlap; each is a MySQL connection.
READER_THREADS = 4

T = TypeVar("T")
X = TypeVar("X", bound=Transaction)


class Database:
    """A SQL database by its SQLAlchemy URL: `sqlite:///path` or `mysql+pymysql://user:password@host/name`.

    All methods may be called from the event loop only, but `engine`, which migrations and tests use.
    """

    def __init__(self, url: str) -> None:
        self.engine = make_engine(url, READER_THREADS)
        self.writing_engine = make_writing_engine(url)
        self._writer = Writer(self.writing_engine, self.read)
        self._readers = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="database-reader")

    def begin(self, start: Callable[[Begin], X], decide: Callable[[X], T]) -> UnderWay[T]:
        """Begin a transaction: `decide` works on what `start` returns. It may overlap with the one before; see Writer.

        Both run on the event loop, and again from the start if the try has failed for a reason that may be over the
        next time: so they must have no effect but on the database, or one that `undo` takes back.
        """
        return self._writer.begin(start, decide)

    async def write(self, statements: Callable[[Connection], T]) -> T:
        """Execute statements in a transaction, durable when this returns. Raises DatabaseUnavailable.

        They may be executed twice, even if they were committed, and must bear that.
        """
        under_way = self._writer.begin_alone(_Statements, lambda transaction: statements(transaction.begin.connection))
        return await under_way.durable()

    async def write_beside(self, statements: Callable[[Connection], T]) -> T:
        """Do what `write` does without keeping other transactions waiting: for rows that none of them changes."""
        if self.engine.dialect.name == "sqlite":  # which has one lock for all
            return await self.write(statements)
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._write, statements)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a reader's thread in a transaction that is rolled back. Raises DatabaseUnavailable."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work)

    async def until_it_fails(self) -> NoReturn:
        """Wait for ever; raises WriterFailed if nothing can be written any more until the server is started anew."""
        await self._writer.until_it_fails()

    async def close(self) -> None:
        """Wait for what is under way, then let go of all threads and connections."""
        await self._writer.close()
        await asyncio.to_thread(self._readers.shutdown)
        await self.writing_engine.dispose()
        await asyncio.sleep(0)  # its transports close in the loop's next round
        self.engine.dispose()

    def _read(self, work: Callable[[Connection], T]) -> T:
        with _translating(), self.engine.connect() as connection:
            return work(connection)

    def _write(self, statements: Callable[[Connection], T]) -> T:
        with _translating(), self.engine.begin() as connection:
            return statements(connection)


@contextmanager
def _translating() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise translated(error) from error


@dataclass(frozen=True, slots=True)
class _Statements:
    """A transaction of statements that may be executed twice."""

    begin: Begin
    touched: AbstractSet[int] = frozenset()

    def commit(self) -> None:
        """Commit; all statements have been executed."""
        self.begin.connection.commit()

    def is_stored(self, _connection: Connection) -> bool:
        return False

    def keep(self) -> None:
        """Nothing is kept beside the database."""

    def undo(self) -> None:
        """Nothing was done beside the database."""
