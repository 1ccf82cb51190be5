"""A database: one writer on the event loop, and readers in threads.

Writes are ordered by commit. The writer decides on the event loop and awaits the database there: a separate thread
would compete with the loop for the interpreter. Reads do not wait for writes, and the sessions of readers are
read-only. So every write goes through the writer's sessions, which check the ownership.

Readers have four pools, so that callers' lists delay neither single rows nor the server's reads.
"""

import asyncio
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import NoReturn, TypeVar

import sqlalchemy
from sqlalchemy import Connection

from taskplane.server.store.dialects import dialect_of_url
from taskplane.server.store.outages import Outage, Source
from taskplane.server.store.ownership import Ownership, renew_lease
from taskplane.server.store.pending_transaction import PendingTransaction, Transaction, TransactionStart
from taskplane.server.store.readers import ReadPool
from taskplane.server.store.taking_over import take_over
from taskplane.server.store.writer import Writer

# Each thread is a MySQL connection. The server's own reads are few and short.
_OWN_THREADS = 2
# Reads of a few rows by key, for callers. Above this number of waiting reads, calls are refused.
_ROW_THREADS = 4
_ROWS_WAITING = 2000
# Scans for callers. With more, scans would starve everything else on a small machine.
_SCAN_THREADS = 3
_SCANS_WAITING = 64
# Snapshots and replays for watches, whose number is bounded.
_WATCH_THREADS = 2
# A scan ends after this time, or at its caller's deadline.
SCAN_SECONDS = 30.0

T = TypeVar("T")
X = TypeVar("X", bound=Transaction)


class Database:
    """A SQL database by its SQLAlchemy URL: `sqlite:///path` or `mysql+pymysql://user:password@host/name`.

    Call all methods on the event loop. Migrations and tests use `engine`.
    """

    def __init__(self, url: str) -> None:
        parsed = sqlalchemy.make_url(url)
        self._dialect = dialect_of_url(parsed)
        self._ownership = Ownership()
        # For migrations and the take-over.
        self.engine = self._dialect.engine(parsed, 1)
        threads = _OWN_THREADS + _ROW_THREADS + _SCAN_THREADS + _WATCH_THREADS
        self.reading_engine = self._dialect.engine(parsed, threads, reads_only=True)
        self.writing_engine = self._dialect.writing_engine(parsed, self._ownership)
        self.reading, self.writing = Outage("read"), Outage("written")
        self._dialect.renew_sessions(self.reading_engine, lambda: self.reading.denied_at)
        self._dialect.renew_sessions(self.writing_engine.sync_engine, lambda: self.writing.denied_at)
        self._writer = Writer(self.writing_engine, self.read, self.writing, overlaps=not self._dialect.has_one_lock)
        self._own = ReadPool(self.reading_engine, self.reading, "own", _OWN_THREADS)
        self._rows = ReadPool(self.reading_engine, self.reading, "rows", _ROW_THREADS, _ROWS_WAITING)
        self._scans = ReadPool(self.reading_engine, self.reading, "scans", _SCAN_THREADS, _SCANS_WAITING)
        self._watches = ReadPool(self.reading_engine, self.reading, "watches", _WATCH_THREADS)

    def begin(self, start: Callable[[TransactionStart], X], decide: Callable[[X], T]) -> PendingTransaction[T]:
        """Begin a transaction: `decide` gets the result of `start`. It may overlap with the preceding one; see Writer.

        Both run on the event loop, and once more for each retry. Effects outside the database must be undone by
        `on_rollback`.
        """
        return self._writer.begin(start, decide)

    async def write(self, statements: Callable[[Connection], T], source: Source = Source.WRITE) -> T:
        """Execute statements in a durable transaction. Raises DatabaseUnavailable.

        The statements must be idempotent: a retry may follow a commit.
        """
        pending = self._writer.begin_exclusive(
            _Statements, lambda transaction: statements(transaction.start.connection), source
        )
        return await pending.durable()

    async def write_unordered(self, statements: Callable[[Connection], T]) -> T:
        """Execute statements as `write` does, without delaying transactions: for rows that no transaction changes."""
        if self._dialect.has_one_lock:
            return await self.write(statements)
        return await self._writer.write_unordered(statements)

    async def take_over(self, address: str) -> None:
        """Become the owner, at an address. From now on, all writes of an older server fail.

        Raises CannotTakeOver, or DBAPIError.
        """
        await asyncio.to_thread(take_over, self.engine, self._ownership, address)
        self.engine.dispose()  # unused while the server runs

    async def renew_lease(self) -> None:
        """Renew the owner's lease. Raises DatabaseUnavailable."""
        if self._dialect.has_one_lock:
            await self.write(renew_lease, Source.LEASE)
        else:
            await self._writer.write_unordered(renew_lease, Source.LEASE)

    def lease_is_overdue(self, why: str) -> None:
        """Record that the lease could not be renewed in time."""
        self.writing.failed(Source.LEASE, why)

    @property
    def outage(self) -> str:
        """Return why the database cannot be written or read at present; empty if it can."""
        return self.writing.cause or self.reading.cause

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, a short read of the server's own, in a thread. Raises DatabaseUnavailable."""
        return await self._own.run(work)

    async def read_rows(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, which reads a few rows by key for a caller, in a thread.

        Raises DatabaseUnavailable, and TooManyReads if too many calls wait.
        """
        return await self._rows.run(work)

    async def scan(self, work: Callable[[Connection], T], seconds: float | None = None) -> T:
        """Run `work`, which may read many rows for a caller, in a thread; within `seconds`, and SCAN_SECONDS at most.

        Raises DatabaseUnavailable, TooManyReads if too many calls wait, and ReadTooLong at the end of the time.
        """
        return await self._scans.run(work, SCAN_SECONDS if seconds is None else min(seconds, SCAN_SECONDS))

    async def read_for_watch(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, which reads a page for a watch, in a thread.

        Raises DatabaseUnavailable, TooManyReads if no thread was free within SCAN_SECONDS, and ReadTooLong after them.
        """
        return await self._watches.run(work, SCAN_SECONDS)

    async def wait_for_failure(self) -> NoReturn:
        """Wait forever; raise WriterFailed if the writer fails, which only a restart of the server repairs."""
        await self._writer.wait_for_failure()

    async def close(self) -> None:
        """Wait for running transactions and reads, then close all threads and connections."""
        await self._writer.close()
        for pool in (self._own, self._rows, self._scans, self._watches):
            await pool.close()
        await self.writing_engine.dispose()
        await asyncio.sleep(0)  # its transports close in the loop's next round
        self.reading_engine.dispose()
        self.engine.dispose()


@dataclass(frozen=True, slots=True)
class _Statements:
    """A transaction of idempotent statements, executed at once."""

    start: TransactionStart
    touched: AbstractSet[int] = frozenset()

    def commit(self) -> None:
        """Commit."""
        self.start.connection.commit()

    def is_stored(self, _connection: Connection) -> bool:
        return False

    def after_commit(self) -> None:
        """Do nothing: memory has no copy."""

    def after_rollback(self) -> None:
        """Do nothing: memory was not changed."""
