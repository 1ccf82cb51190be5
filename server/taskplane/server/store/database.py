"""A database: one writer on the event loop, and readers in threads.

Writes are ordered by commit. They decide on the event loop and await the database there: a thread of their own would
fight with the loop for the interpreter. Reads do not wait behind them, and the database lets their sessions write
nothing. So all that is written goes through the writer's sessions, which check the ownership.

Readers come in three pools, so that callers' lists hold up neither single rows nor the server's own work.
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

# Each thread is a MySQL connection. The server's own reads are few, and short.
_OWN_THREADS = 2
# Reads of a few rows by key, for callers. Above so many waiting, calls are refused.
_ROW_THREADS = 4
_ROWS_WAITING = 2000
# Scans for callers: two leave a core to everything else on a small machine.
_SCAN_THREADS = 3
_SCANS_WAITING = 64
# Snapshots and replays for watches, of which there is a bounded number.
_WATCH_THREADS = 2
# A scan ends after so many seconds, if its caller does not leave less.
SCAN_SECONDS = 30.0

T = TypeVar("T")
X = TypeVar("X", bound=Transaction)


class Database:
    """A SQL database by its SQLAlchemy URL: `sqlite:///path` or `mysql+pymysql://user:password@host/name`.

    All methods may be called from the event loop only, but `engine`, which migrations and tests use.
    """

    def __init__(self, url: str) -> None:
        parsed = sqlalchemy.make_url(url)
        self._dialect = dialect_of_url(parsed)
        self._ownership = Ownership()
        # For migrations, and for the take-over.
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
        """Begin a transaction: `decide` works on what `start` returns. It may overlap with the one before; see Writer.

        Both run on the event loop, and again from the start if the try has failed for a reason that may be over the
        next time: so they must have no effect but on the database, or one that `on_rollback` undoes.
        """
        return self._writer.begin(start, decide)

    async def write(self, statements: Callable[[Connection], T], source: Source = Source.WRITE) -> T:
        """Execute statements in a transaction, durable when this returns. Raises DatabaseUnavailable.

        They may be executed twice, even if they were committed, and must bear that.
        """
        pending = self._writer.begin_exclusive(
            _Statements, lambda transaction: statements(transaction.start.connection), source
        )
        return await pending.durable()

    async def write_unordered(self, statements: Callable[[Connection], T]) -> T:
        """Do what `write` does without keeping other transactions waiting: for rows that none of them changes."""
        if self._dialect.has_one_lock:
            return await self.write(statements)
        return await self._writer.write_unordered(statements)

    async def take_over(self, address: str) -> None:
        """Become the server that decides, at an address. Whatever an older server still tries to write fails.

        Raises CannotTakeOver, or DBAPIError.
        """
        await asyncio.to_thread(take_over, self.engine, self._ownership, address)
        self.engine.dispose()  # nothing else needs it while the server runs

    async def renew_lease(self) -> None:
        """Tell that this server still decides. Raises DatabaseUnavailable."""
        if self._dialect.has_one_lock:
            await self.write(renew_lease, Source.LEASE)
        else:
            await self._writer.write_unordered(renew_lease, Source.LEASE)

    def lease_is_overdue(self, why: str) -> None:
        """Note that the lease could not be renewed in time."""
        self.writing.failed(Source.LEASE, why)

    @property
    def outage(self) -> str:
        """Why the database cannot be written or read at present; empty if it can."""
        return self.writing.cause or self.reading.cause

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, a short read of the server's own, in a thread. Raises DatabaseUnavailable."""
        return await self._own.run(work)

    async def read_rows(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, which reads a few rows by key for a caller, in a thread.

        Raises DatabaseUnavailable, and TooManyReads if too many such calls wait.
        """
        return await self._rows.run(work)

    async def scan(self, work: Callable[[Connection], T], seconds: float | None = None) -> T:
        """Run `work`, which may read many rows for a caller, in a thread; within `seconds`, and SCAN_SECONDS at most.

        Raises DatabaseUnavailable, TooManyReads if too many such calls wait, and ReadTooLong when the time is over.
        """
        return await self._scans.run(work, SCAN_SECONDS if seconds is None else min(seconds, SCAN_SECONDS))

    async def read_for_watch(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, which reads a page for a watch, in a thread.

        Raises DatabaseUnavailable, TooManyReads if no thread was free in SCAN_SECONDS, and ReadTooLong after those.
        """
        return await self._watches.run(work, SCAN_SECONDS)

    async def wait_for_failure(self) -> NoReturn:
        """Wait for ever; raises WriterFailed if nothing can be written any more until the server is started anew."""
        await self._writer.wait_for_failure()

    async def close(self) -> None:
        """Wait for what is under way, then let go of all threads and connections."""
        await self._writer.close()
        for pool in (self._own, self._rows, self._scans, self._watches):
            await pool.close()
        await self.writing_engine.dispose()
        await asyncio.sleep(0)  # its transports close in the loop's next round
        self.reading_engine.dispose()
        self.engine.dispose()


@dataclass(frozen=True, slots=True)
class _Statements:
    """A transaction of statements that may be executed twice."""

    start: TransactionStart
    touched: AbstractSet[int] = frozenset()

    def commit(self) -> None:
        """Commit; all statements have been executed."""
        self.start.connection.commit()

    def is_stored(self, _connection: Connection) -> bool:
        return False

    def after_commit(self) -> None:
        """Nothing is kept beside the database."""

    def after_rollback(self) -> None:
        """Nothing was done beside the database."""
