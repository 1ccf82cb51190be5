"""A database: one writer, a few readers, all off the event loop.

Writes are ordered by commit. Reads have threads of their own and do not wait behind them.
"""

import asyncio
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import InterfaceError, OperationalError

from taskplane.server.store.engine import make_engine, translated
from taskplane.server.store.writer import Begin, Transaction, UnderWay, Writer

T = TypeVar("T")
X = TypeVar("X", bound=Transaction)

# Enough for list and get calls to overlap; each is a MySQL connection.
READER_THREADS = 4
# Two transactions overlap.
_WRITER_CONNECTIONS = 2


class Database:
    """A SQL database by its SQLAlchemy URL: `sqlite:///path` or `mysql+pymysql://user:password@host/name`.

    All methods may be called from the event loop only, but `engine`, which migrations and tests use.
    """

    def __init__(self, url: str) -> None:
        self.engine = make_engine(url, READER_THREADS + _WRITER_CONNECTIONS)
        self._writer = Writer(self.engine)
        self._readers = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="database-reader")

    def begin(self, start: Callable[[Begin], X], decide: Callable[[X], T]) -> UnderWay[T]:
        """Begin a transaction that may overlap with the one before; see UnderWay and Writer."""
        job = UnderWay(start, decide)
        self._writer.begin(job)
        return job

    async def write(self, statements: Callable[[Connection], T]) -> T:
        """Execute statements in one transaction, durable when this returns.

        They may be executed again after a deadlock or a lost connection, also one that is lost in COMMIT, so they must
        have no effect but on the database and bear being done twice. Raises DatabaseUnavailable if it is away.
        """
        job = UnderWay(lambda begin: _Statements(begin.connection), lambda each: statements(each.connection))
        self._writer.begin_alone(job)
        return await job.until_durable()

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a reader's thread in a transaction that is rolled back. Raises DatabaseUnavailable."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work)

    async def close(self) -> None:
        """Wait for what is under way, then let go of all threads and connections."""
        await asyncio.to_thread(self._writer.close)
        await asyncio.to_thread(self._readers.shutdown)
        self.engine.dispose()

    def _read(self, work: Callable[[Connection], T]) -> T:
        try:
            with self.engine.connect() as connection:
                return work(connection)
        except (OperationalError, InterfaceError) as error:
            raise translated(error) from error


@dataclass(frozen=True, slots=True)
class _Statements:
    """A transaction of statements that may be executed twice."""

    connection: Connection
    touched: AbstractSet[int] = frozenset()

    def send(self) -> None:
        """All are sent."""

    def is_stored(self, _connection: Connection) -> bool:
        return False

    def keep(self) -> None:
        """Nothing is kept beside the database."""

    def undo(self) -> None:
        """Nothing was done beside the database."""
