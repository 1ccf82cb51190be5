"""Pending transactions, from their begin until all listeners have been notified, and their tries."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util import await_only, greenlet_spawn

from taskplane.server.core.errors import DatabaseUnavailable
from taskplane.server.store.dialects import dialect_of
from taskplane.server.store.dialects.dialect import SILENT_SECONDS

log = logging.getLogger(__name__)

T = TypeVar("T")
X = TypeVar("X", bound="Transaction")


class ConnectionLost(Exception):
    """The connection broke in the middle of a transaction."""


class CommitOutcomeUnknown(Exception):
    """The connection broke before COMMIT was answered: the transaction may be committed or not."""


class PredecessorFailed(Exception):
    """The preceding transaction failed, so decisions made on top of it are void."""


class WriterFailed(BaseException):
    """Memory and the database may disagree. Only a restart, which reads the database, repairs the difference.

    A BaseException, never mistaken for a retryable error.
    """


@contextmanager
def fatal_on_error() -> Iterator[None]:
    """Let the writer fail on an error within the context."""
    try:
        yield
    except Exception as error:
        raise WriterFailed from error


class Transaction(Protocol):
    """The content of one try of a transaction."""

    @property
    def touched(self) -> AbstractSet[int]:
        """Return the ids of changed tasks, once decided."""

    def commit(self) -> None:
        """Write the decisions, and commit."""

    def is_stored(self, connection: Connection) -> bool:
        """Return whether the transaction was committed, after its connection broke before COMMIT was answered."""

    def after_commit(self) -> None:
        """Update memory: the transaction is durable."""

    def after_rollback(self) -> None:
        """Undo the transaction's effects on memory, after those of its successor."""


@dataclass(frozen=True, slots=True)
class TransactionStart:
    """Circumstances in which a try begins."""

    connection: Connection
    # The preceding transaction, if not published yet. Rows touched or added by the predecessor must not be read.
    predecessor: "PendingTransaction[Any] | None" = None
    # An earlier try failed, perhaps because a new row existed already, or a row was not as cached.
    is_retry: bool = False


class PendingTransaction(Generic[T]):
    """A transaction from its begin until its listeners have been notified.

    1. Decided: the successor may be decided too, as long as it reads no row touched by its predecessor.
    2. Committed, or failed. After a failure, a successor already decided is rolled back first, then its predecessor;
       both are retried in order. No successor builds on a transaction that has failed for good.
    3. Published: the owner got the result from `durable` and has notified the listeners. Now the successor may read
       everything. A successor without overlap is decided only now: listeners must learn which slots the predecessor
       takes or frees before they learn the same of the successor.
    """

    def __init__(self, start: Callable[[TransactionStart], Any], decide: Callable[[Any], T]) -> None:
        self.start = start
        self.decide = decide
        # Set when the next transaction may begin.
        self.decided = asyncio.Event()
        # Whether decisions on top of this transaction are valid, once known. If not, both are retried.
        self.successor_is_valid: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        # Ids of changed tasks.
        self.touched: AbstractSet[int] = frozenset()
        # The preceding transaction, until published.
        self.predecessor: PendingTransaction[Any] | None = None
        # Undoes the effects of a failed try on memory, until called.
        self.after_rollback: Callable[[], None] | None = None
        self._result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._published = asyncio.Event()

    async def durable(self) -> T:
        """Return the result of `decide`, once durable. Raises DatabaseUnavailable, AlreadyStored, or decide's error."""
        return await asyncio.shield(self._result)

    def published(self) -> None:
        """Record the end of all notifications, or a failure."""
        self._published.set()

    async def wait_for_predecessor(self) -> None:
        """Wait until the preceding transaction is published or has failed."""
        if self.predecessor:
            await self.predecessor._published.wait()  # noqa: SLF001  (another object of this class)
            self.predecessor = None

    @property
    def is_rolled_back(self) -> bool:
        """Return whether a try failed, which voids decisions on top of the transaction."""
        return self.successor_is_valid.done() and not self.successor_is_valid.result()

    def block_until_published(self) -> None:
        """Let a successor's greenlet wait until this transaction is published. Raises PredecessorFailed."""
        if not await_only(asyncio.shield(self.successor_is_valid)):
            raise PredecessorFailed
        await_only(self._published.wait())

    @property
    def is_done(self) -> bool:
        """Return whether the transaction is durable or has failed for good."""
        return self._result.done()

    def succeed(self, result: T) -> None:
        """Hand the result to the owner: the transaction is durable."""
        self._result.set_result(result)

    def fail(self, error: Exception) -> None:
        """Hand the final error to the owner. There is nothing to publish."""
        self._published.set()
        self._result.set_exception(error)
        self._result.exception()  # marks it as retrieved, in case the owner has gone

    def abandon(self) -> None:
        """Release all waiters, unless the transaction is done. The outcome is unknown."""
        self.decided.set()
        if not self.successor_is_valid.done():
            self.successor_is_valid.set_result(True)
        if not self.is_done:
            self.fail(DatabaseUnavailable())


class TransactionTry:
    """One try of a transaction. Methods run in greenlets, which yield to the loop while the database works."""

    def __init__(self) -> None:
        self.result: Any = None
        self._session_lock = ""
        self._connection: Connection | None = None
        self._transaction: Transaction | None = None

    def decide(
        self,
        engine: Engine,
        pending: PendingTransaction[Any],
        predecessor: PendingTransaction[Any] | None,
        *,
        is_retry: bool,
    ) -> None:
        """Begin, lock, read and decide."""
        self._connection = connection = engine.connect()
        self._session_lock = dialect_of(connection).session_lock(connection)
        connection.begin()
        self._transaction = pending.start(TransactionStart(connection, predecessor, is_retry))
        self.result = pending.decide(self._transaction)
        pending.touched = self._transaction.touched

    def write(self, engine: Engine, write: Callable[[Connection], Any]) -> None:
        """Execute a whole transaction without decisions."""
        self._connection = connection = engine.connect()
        connection.begin()
        self.result = write(connection)
        connection.commit()
        connection.close()

    def commit(self) -> None:
        """Send the decisions, with COMMIT. Raises CommitOutcomeUnknown if the connection breaks."""
        if self._connection is None or self._transaction is None:
            raise AssertionError("committed before it was decided")
        try:
            self._transaction.commit()
        except DBAPIError as error:
            if error.connection_invalidated:
                raise CommitOutcomeUnknown from error
            raise
        with fatal_on_error():
            self._connection.close()

    def is_stored(self, connection: Connection) -> bool:
        """Return whether the try was committed, asked on another connection after the try's session has ended."""
        if self._session_lock:
            dialect_of(connection).end_sessions(connection, [self._session_lock])
        return self._transaction is not None and self._transaction.is_stored(connection)

    def after_commit(self) -> None:
        """Update memory: the try is durable."""
        if self._transaction:
            with fatal_on_error():
                self._transaction.after_commit()

    def after_rollback(self) -> None:
        """Undo the try's effects on memory."""
        if self._transaction:
            with fatal_on_error():
                self._transaction.after_rollback()

    async def roll_back(self) -> None:
        """Roll back and release the connection. A silent database rolls back without being asked."""
        with fatal_on_error():
            try:
                await with_timeout(self._roll_back)
            except ConnectionLost as error:
                log.info("a transaction is left to the database: %r", error)

    def _roll_back(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.rollback()
        except Exception as error:  # noqa: BLE001  (a database without a connection rolls back too)
            log.info("a transaction is left to the database: %r", error)
            connection.invalidate()
        finally:
            connection.close()


async def with_timeout(work: Callable[[], None]) -> None:
    """Run work that waits for the database in a greenlet. Raises ConnectionLost after SILENT_SECONDS."""
    try:
        async with asyncio.timeout(SILENT_SECONDS):
            await greenlet_spawn(work)
    except TimeoutError as error:
        raise ConnectionLost from error
