"""The writer: one transaction is decided while the one before it is on its way to the disk.

Two threads. The first decides: it locks, reads and works out what to write. The second sends that and commits.
Transactions become durable in the order in which they were decided; if one fails, what was decided after it is undone,
and both are done over, one after the other.
"""

import asyncio
import itertools
import logging
import random
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from taskplane.server.core.errors import DatabaseUnavailable
from taskplane.server.store.engine import is_duplicate, may_be_tried_again, translated

log = logging.getLogger(__name__)

T = TypeVar("T")
X = TypeVar("X", bound="Transaction")

# How long a transaction is tried again, and how long a lost COMMIT is looked for.
_RETRY_SECONDS = 5.0
_RESOLVE_SECONDS = 120.0


class Transaction(Protocol):
    """One try of a transaction: what it has decided, and how that becomes true or is taken back."""

    @property
    def touched(self) -> AbstractSet[int]:
        """The tasks that it changes, as soon as it is decided."""

    def send(self) -> None:
        """Write what was decided. In the sender's thread."""

    def is_stored(self, connection: Connection) -> bool:
        """Look, after the connection broke in COMMIT, whether it is there."""

    def keep(self) -> None:
        """Take that it is durable."""

    def undo(self) -> None:
        """Take that it is not: take back what it did beside the database. What was decided last is undone first."""


@dataclass(frozen=True, slots=True)
class Begin:
    """What a try of a transaction begins with."""

    connection: Connection
    # The transaction before, if it is still on its way. What that has touched or may have added must not be looked at
    # before it is told.
    last: "UnderWay[Any] | None" = None
    # An earlier try has failed, perhaps since a row was there that was to be new.
    is_again: bool = False


class LastFailed(Exception):
    """The transaction before has failed, so what was decided after it is void."""


class CommitLost(Exception):
    """The connection broke in COMMIT: the transaction may be durable or not."""


class UnderWay(Generic[T]):
    """A transaction from its begin until all have heard of it, which its owner must say by `told`.

    `decide` may run several times, each time on what `start` returns.
    """

    def __init__(self, start: Callable[[Begin], X], decide: Callable[[X], T]) -> None:
        self._start = start
        self._decide = decide
        # The next transaction may begin.
        self.decided: Future[None] = _future()
        # The result, or why there is none.
        self.durable: Future[T] = _future()
        # Whether it is durable, as soon as the sender knows.
        self.sent: Future[bool] = Future()
        # Whether it is durable or given up, so that nothing of it will be done over.
        self.is_settled = False
        self._told = Event()
        self._connection: Connection | None = None
        self._transaction: Transaction | None = None
        self._result: T

    @property
    def touched(self) -> AbstractSet[int]:
        """The tasks that it changes."""
        return self._transaction.touched if self._transaction else set()

    async def until_decided(self) -> None:
        """Wait until the next one may begin."""
        await asyncio.wrap_future(self.decided)

    async def until_durable(self) -> T:
        """Wait for the result. Raises DatabaseUnavailable, AlreadyStored, or what `decide` has raised."""
        return await asyncio.wrap_future(self.durable)

    def told(self) -> None:
        """Take that all have heard of it, or that it has failed."""
        self._told.set()

    def wait_until_durable(self) -> None:
        """Let the next one wait for it. Raises LastFailed."""
        if not self.is_settled and not self.sent.result():
            raise LastFailed

    def wait_until_told(self) -> None:
        """Let the next one wait until all have heard of it. Raises LastFailed."""
        self.wait_until_durable()
        self._told.wait()

    def decide(self, engine: Engine, last: "UnderWay[Any] | None" = None, *, is_again: bool = False) -> None:
        """Begin, and decide."""
        self._connection = engine.connect().execution_options(taskplane_writes=True)
        self._connection.begin()
        self._transaction = transaction = self._start(Begin(self._connection, last, is_again))
        self._result = self._decide(transaction)

    def commit(self, is_stored: Callable[[Transaction, CommitLost], bool]) -> None:
        """Send and commit. Asks `is_stored` if nobody knows the outcome. Raises CommitLost if it was not committed."""
        if self._connection is None or self._transaction is None:
            raise AssertionError("committed before it was decided")
        self._transaction.send()
        try:
            self._connection.commit()
            self._connection.close()
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            lost = CommitLost()
            if not is_stored(self._transaction, lost):
                raise lost from error
        self._transaction.keep()
        self.durable.set_result(self._result)

    def roll_back(self) -> None:
        """Let go of the connection and of all locks."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.rollback()
        except DBAPIError as error:
            # A database that does not hear of it undoes what a lost connection has left.
            log.info("a transaction is left to the database: %s", error.orig)
            connection.invalidate()
        finally:
            connection.close()

    def undo(self) -> None:
        """Take that the try has failed."""
        self.roll_back()
        transaction, self._transaction = self._transaction, None
        if transaction:
            transaction.undo()


class Writer:
    """Runs transactions in the order in which they are begun."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._decider = ThreadPoolExecutor(1, thread_name_prefix="database-writer")
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="database-sender")
        # SQLite has one lock for all.
        self._overlaps = engine.dialect.name != "sqlite"
        self._last: UnderWay[Any] | None = None

    def begin(self, job: UnderWay[Any]) -> None:
        """Begin a transaction, which may overlap with the one before. The owner of that sees to it that it is told."""
        self._decider.submit(self._run, job)

    def begin_alone(self, job: UnderWay[Any]) -> None:
        """Begin a transaction that overlaps with no other, and changes nothing that another one may have in mind."""
        self._decider.submit(self._run_alone, job)

    def close(self) -> None:
        """Wait for what is under way."""
        self._decider.shutdown()
        self._sender.shutdown()

    def _run(self, job: UnderWay[Any]) -> None:
        if self._overlaps and self._is_decided_ahead(job):
            job.sent = self._sender.submit(self._send, job)
        else:
            self._run_alone(job)
        self._last = job
        job.decided.set_result(None)

    def _run_alone(self, job: UnderWay[Any]) -> None:
        self._settle(self._last)
        self._do(job)

    def _is_decided_ahead(self, job: UnderWay[Any]) -> bool:
        """Decide while the last one is on its way, and wait for that. What goes wrong is to be done over alone."""
        try:
            job.decide(self._engine, self._last, is_again=False)
            if self._last:
                self._last.wait_until_durable()
        except Exception as error:  # noqa: BLE001  (it is raised again, unless it came from the overlap)
            log.debug("to be done over: %r", error)
            job.undo()
            return False
        return True

    def _send(self, job: UnderWay[Any]) -> bool:
        """In the sender's thread: commit. Returns whether it is durable."""
        try:
            job.commit(self._is_stored)
        except DatabaseUnavailable as error:
            job.durable.set_exception(error)
        except Exception as error:  # noqa: BLE001  (it is raised again if another try cannot mend it)
            log.debug("to be done over: %r", error)
        else:
            return True
        job.roll_back()
        # If no other comes that would.
        self._decider.submit(self._settle, job)
        return False

    def _settle(self, job: UnderWay[Any] | None) -> None:
        """Wait for a transaction, and do it over if it has failed. What was decided after it must be undone before."""
        if job is None or job.is_settled:
            return
        if not job.sent.result():
            job.undo()
            if not job.durable.done():
                self._do(job, is_again=True)
        job.is_settled = True

    def _do(self, job: UnderWay[Any], *, is_again: bool = False) -> None:
        """Decide and commit until it is durable, or until there is no sense in another try."""
        give_up_at = time.monotonic() + _RETRY_SECONDS
        for tries in itertools.count(1):
            try:
                job.decide(self._engine, is_again=is_again)
                job.commit(self._is_stored)
                break
            except Exception as error:  # noqa: BLE001  (the caller hears of it)
                job.undo()
                if not _is_worth_another_try(error, is_again=is_again, give_up_at=give_up_at):
                    job.durable.set_exception(translated(error) if isinstance(error, DBAPIError) else error)
                    break
            is_again = True
            # Two writers that met once should not meet again in step.
            time.sleep(random.uniform(0, min(0.5, 0.01 * 2**tries)))  # noqa: S311  (spreads, keeps no secret)
        job.is_settled = True

    def _is_stored(self, transaction: Transaction, lost: CommitLost) -> bool:
        """Ask the database itself, as soon as it is back: the outcome is never guessed."""
        log.warning("the connection broke in COMMIT; looking whether the transaction is there")
        give_up_at = time.monotonic() + _RESOLVE_SECONDS
        while True:
            try:
                with self._engine.connect() as connection:
                    return transaction.is_stored(connection)
            except (OperationalError, InterfaceError) as error:
                if time.monotonic() > give_up_at:
                    log.critical("the outcome of a transaction stays unknown: the database does not come back")
                    raise DatabaseUnavailable from lost
                log.warning("the database is away: %s", error.orig)
                time.sleep(0.5)


def _is_worth_another_try(error: Exception, *, is_again: bool, give_up_at: float) -> bool:
    if isinstance(error, DBAPIError):
        if is_duplicate(error):
            return not is_again
        return may_be_tried_again(error) and time.monotonic() < give_up_at
    return isinstance(error, CommitLost)


def _future() -> "Future[Any]":
    """Return a future that who waits for it cannot cancel."""
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()
    return future
