"""One try of a transaction, in a greenlet that gives way while it waits for the database."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util import greenlet_spawn

from taskplane.server.store.dialects import dialect_of
from taskplane.server.store.dialects.dialect import SILENT_SECONDS
from taskplane.server.store.pending_transactions import PendingTransaction, Transaction, TransactionStart

log = logging.getLogger(__name__)


class ConnectionLost(Exception):
    """The connection is lost, in the middle of a transaction."""


class CommitLost(Exception):
    """The connection broke before COMMIT was answered: the transaction may be there or not."""


class WriterFailed(BaseException):
    """Memory and the database may not say the same any more: only a new start, which reads the database, mends that.

    Not an Exception, so that it is never mistaken for the failure of one transaction, which another try may mend.
    """


@contextmanager
def sure_to_work() -> Iterator[None]:
    """Let the writer fail with what is done in the context."""
    try:
        yield
    except Exception as error:
        raise WriterFailed from error


class Try:
    """One try of a transaction. Its methods run in greenlets, which give way while they wait for the database."""

    def __init__(self) -> None:
        self.result: Any = None
        self._session_lock = ""
        self._connection: Connection | None = None
        self._transaction: Transaction | None = None

    def decide(
        self, engine: Engine, job: PendingTransaction[Any], last: PendingTransaction[Any] | None, *, is_retry: bool
    ) -> None:
        """Begin, lock, read and decide."""
        self._connection = connection = engine.connect()
        self._session_lock = dialect_of(connection).session_lock(connection)
        connection.begin()
        self._transaction = job.start(TransactionStart(connection, last, is_retry))
        self.result = job.decide(self._transaction)
        job.touched = self._transaction.touched

    def write(self, engine: Engine, write: Callable[[Connection], Any]) -> None:
        """Do all of a transaction that nothing is decided in."""
        self._connection = connection = engine.connect()
        connection.begin()
        self.result = write(connection)
        connection.commit()
        connection.close()

    def commit(self) -> None:
        """Send what was decided, with COMMIT. Raises CommitLost if nobody knows whether that has worked."""
        if self._connection is None or self._transaction is None:
            raise AssertionError("committed before it was decided")
        try:
            self._transaction.commit()
        except DBAPIError as error:
            if error.connection_invalidated:
                raise CommitLost from error
            raise
        with sure_to_work():
            self._connection.close()

    def roll_back(self) -> None:
        """Let go of the connection and of all locks."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.rollback()
        except Exception as error:  # noqa: BLE001  (a database that does not hear of it undoes it by itself)
            log.info("a transaction is left to the database: %r", error)
            connection.invalidate()
        finally:
            connection.close()

    def is_stored(self, connection: Connection) -> bool:
        """Look by another connection whether it was committed, when it cannot be any more."""
        if self._session_lock:
            dialect_of(connection).end_sessions(connection, [self._session_lock])
        return self._transaction is not None and self._transaction.is_stored(connection)

    def keep(self) -> None:
        """Tell the transaction that it is durable."""
        if self._transaction:
            with sure_to_work():
                self._transaction.keep()

    def undo(self) -> None:
        """Tell the transaction that it has failed."""
        if self._transaction:
            with sure_to_work():
                self._transaction.undo()


async def roll_back(tried: Try) -> None:
    """Roll a try back, or leave that to the database if it does not answer."""
    with sure_to_work():
        try:
            await in_time(tried.roll_back)
        except ConnectionLost as error:
            log.info("a transaction is left to the database: %r", error)


async def in_time(work: Callable[[], None]) -> None:
    """Run what waits for the database in a greenlet. A database that is silent for long is taken as lost."""
    try:
        async with asyncio.timeout(SILENT_SECONDS):
            await greenlet_spawn(work)
    except TimeoutError as error:
        raise ConnectionLost from error
