"""The writer of pending transactions: decides a transaction while its predecessor is on its way to the disk.

Transactions become durable in the order of decision. After a failure, a successor decided on top of the failed
transaction is rolled back, and both are retried in order: the successor is decided again only after its predecessor is
published. If an outcome cannot be determined, or another server has taken over, the writer fails for good.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NoReturn, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from taskplane.protocol.backoff import full_jitter
from taskplane.server.core.errors import DatabaseUnavailable
from taskplane.server.store.dialects.dialect import ErrorKind
from taskplane.server.store.driver_errors import is_kind, is_outage, is_retryable, is_retryable_once, translated
from taskplane.server.store.outages import Outage, Source
from taskplane.server.store.ownership import TakenOver
from taskplane.server.store.pending_transaction import (
    CommitOutcomeUnknown,
    ConnectionLost,
    PendingTransaction,
    PredecessorFailed,
    Transaction,
    TransactionStart,
    TransactionTry,
    WriterFailed,
    fatal_on_error,
    with_timeout,
)

log = logging.getLogger(__name__)

# Time limit of all retries of a transaction, in seconds.
_RETRY_SECONDS = 5.0
# Time limit of the search for the outcome of a COMMIT, in seconds: longer than any outage of a database.
_RESOLVE_SECONDS = 24 * 3600.0
# Time limit of `close` in seconds. Transactions unfinished by then are cancelled.
_CLOSE_SECONDS = 10.0

T = TypeVar("T")
X = TypeVar("X", bound=Transaction)


class Writer:
    """Runs transactions in the order of their begins, until it fails. `read` is Database.read."""

    def __init__(
        self,
        engine: AsyncEngine,
        read: Callable[[Callable[[Connection], bool]], Awaitable[bool]],
        outage: Outage,
        *,
        overlaps: bool,
    ) -> None:
        """Create a writer. With `overlaps`, transactions may be decided before their predecessors are durable."""
        self._engine = engine.sync_engine
        self._read = read
        self._outage = outage
        self._overlaps = overlaps
        # Held while a transaction is decided. Fair: waiters get it in the order of their begins.
        self._deciding = asyncio.Lock()
        self._last: PendingTransaction[Any] | None = None
        # Unordered writes run one at a time; the renewal of the lease waits for no other write.
        self._unordered = {source: asyncio.Lock() for source in (Source.WRITE, Source.LEASE)}
        self._retries = 0
        self._running: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._has_failed = asyncio.Event()

    def begin(self, start: Callable[[TransactionStart], X], decide: Callable[[X], T]) -> PendingTransaction[T]:
        """Begin a transaction, decided as soon as its predecessor is decided, and continued even without its owner."""
        pending = PendingTransaction(start, decide)
        self._spawn(self._run(pending), pending)
        return pending

    def begin_exclusive(
        self, start: Callable[[TransactionStart], X], decide: Callable[[X], T], source: Source = Source.WRITE
    ) -> PendingTransaction[T]:
        """Begin a transaction without overlaps, which must change nothing cached by others."""
        pending = PendingTransaction(start, decide)
        self._spawn(self._run_exclusive(pending, source), pending)
        return pending

    async def write_unordered(self, write: Callable[[Connection], T], source: Source = Source.WRITE) -> T:
        """Write concurrently with pending transactions, without a retry. Raises DatabaseUnavailable. Not on SQLite."""
        async with self._unordered[source]:
            tried = TransactionTry()
            try:
                self._require_working()
                await with_timeout(lambda: tried.write(self._engine, write))
            except BaseException as error:
                await tried.roll_back()
                if self._is_taken_over(error) or isinstance(error, WriterFailed):
                    raise DatabaseUnavailable from error
                if not isinstance(error, Exception):
                    raise
                self._note_failure(error, source)
                raise _for_owner(error) from error
            self._outage.succeeded(source)
            result: T = tried.result
            return result

    async def close(self) -> None:
        """Wait for the running transactions, at most _CLOSE_SECONDS."""
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=_CLOSE_SECONDS)
            for each in late:
                each.cancel()
            if late:
                log.warning("%d transactions are left to the database", len(late))
                await asyncio.wait(late)

    async def wait_for_failure(self) -> NoReturn:
        """Wait forever; raise WriterFailed if the writer fails. Then all transactions end as unavailable."""
        await self._has_failed.wait()
        raise WriterFailed from self._failure

    def _spawn(self, running: Coroutine[Any, Any, None], pending: PendingTransaction[Any]) -> None:
        task = asyncio.create_task(self._supervise(running, pending))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _supervise(self, running: Coroutine[Any, Any, None], pending: PendingTransaction[Any]) -> None:
        try:
            await running
        except (Exception, WriterFailed) as error:  # noqa: BLE001  (`wait_for_failure` raises it)
            self._failure = self._failure or error
            self._has_failed.set()
        finally:
            pending.abandon()

    def _require_working(self) -> None:
        """Refuse decisions and commits after the writer has failed."""
        if self._has_failed.is_set():
            raise WriterFailed

    def _is_taken_over(self, error: BaseException) -> bool:
        """Return whether another server has taken over, according to an error. Then the writer fails for good."""
        by_check = isinstance(error, DBAPIError) and is_kind(error, ErrorKind.TAKEN_OVER)
        is_taken_over = by_check or isinstance(error, TakenOver)
        if is_taken_over and not self._has_failed.is_set():
            self._failure = TakenOver()
            self._has_failed.set()
        return is_taken_over

    def _note_failure(self, error: Exception, source: Source) -> None:
        if isinstance(error, DBAPIError):
            if source is Source.LEASE or isinstance(translated(error), DatabaseUnavailable):
                self._outage.failed(source, error)
        elif isinstance(error, ConnectionLost | CommitOutcomeUnknown):
            self._outage.failed(source, str(error.__cause__ or "") or "the connection was lost")

    async def _run(self, pending: PendingTransaction[Any]) -> None:
        async with self._deciding:
            predecessor = pending.predecessor = self._last
            self._last = pending
            decided = await self._decide_overlapping(pending, predecessor) if self._overlaps else None
            if decided is None:
                await self._retry_if_rolled_back(predecessor)
                await self._run_serially(pending)
            pending.decided.set()
        if decided:
            await self._commit_overlapping(pending, decided)

    async def _run_exclusive(self, pending: PendingTransaction[Any], source: Source) -> None:
        async with self._deciding:
            await self._retry_if_rolled_back(self._last)
            await self._run_serially(pending, source=source)

    async def _decide_overlapping(
        self, pending: PendingTransaction[Any], predecessor: PendingTransaction[Any] | None
    ) -> TransactionTry | None:
        """Decide while the predecessor is on its way, and wait for its commit. Return None for a serial run."""
        if predecessor:
            self._require_working()
            await predecessor.wait_for_predecessor()
            if predecessor.is_rolled_back:
                return None
        try:
            decided = await self._decide(pending, predecessor)
        except Exception as error:  # noqa: BLE001  (the serial run raises it again, unless caused by the overlap)
            self._log_retry(error)
            return None
        if predecessor and not await predecessor.successor_is_valid:
            await decided.roll_back()
            decided.after_rollback()
            return None
        return decided

    async def _commit_overlapping(self, pending: PendingTransaction[Any], decided: TransactionTry) -> None:
        """Commit. After a failure, retry, unless the successor has retried both already."""
        try:
            await self._commit(decided)
        except Exception as error:  # noqa: BLE001  (the retry raises it again if it persists)
            self._log_retry(error)
            pending.after_rollback = decided.after_rollback
            pending.successor_is_valid.set_result(False)
            async with self._deciding:
                await self._retry_if_rolled_back(pending)
        else:
            pending.successor_is_valid.set_result(True)
            self._succeed(pending, decided.result)

    def _succeed(self, pending: PendingTransaction[Any], result: Any, source: Source = Source.WRITE) -> None:
        if pending.touched or source is Source.LEASE:
            self._outage.succeeded(source)
        pending.succeed(result)

    def _log_retry(self, error: Exception) -> None:
        """Log the cause of a retry, unless the transaction only follows its predecessor's retry."""
        if not isinstance(error, PredecessorFailed):
            self._retries += 1
            is_away = isinstance(error, DBAPIError) and is_outage(error)
            level = logging.DEBUG if is_away or self._outage.cause else logging.INFO
            reason = error.orig if isinstance(error, DBAPIError) else error
            log.log(level, "a transaction is retried, number %d since the start: %r", self._retries, reason)

    async def _retry_if_rolled_back(self, pending: PendingTransaction[Any] | None) -> None:
        """Wait for a transaction, and retry it after a failure. Its successor must be rolled back before."""
        if pending is None or await pending.successor_is_valid or pending.after_rollback is None:
            return
        pending.after_rollback()
        pending.after_rollback = None
        if not pending.is_done:
            await self._run_serially(pending, is_retry=True)

    async def _run_serially(
        self, pending: PendingTransaction[Any], *, is_retry: bool = False, source: Source = Source.WRITE
    ) -> None:
        """Decide and commit until durable, or until a retry is useless.

        Decided only after the predecessor is published: its listeners might take slots that this transaction frees.
        """
        self._require_working()
        await pending.wait_for_predecessor()
        give_up_at = time.monotonic() + _RETRY_SECONDS
        for tries in itertools.count(1):
            try:
                result = await self._try_once(pending, is_retry=is_retry)
            except Exception as error:  # noqa: BLE001  (handed to the owner)
                may_retry = _may_retry(error, is_first=not is_retry)
                if not may_retry or time.monotonic() > give_up_at:
                    self._note_failure(error, source)
                    pending.fail(_for_owner(error))
                    break
                self._log_retry(error)
            else:
                self._succeed(pending, result, source)
                break
            is_retry = True
            # A random delay keeps two writers from colliding again.
            await asyncio.sleep(full_jitter(tries + 1, 0.01, 0.5))
        if not pending.successor_is_valid.done():
            pending.successor_is_valid.set_result(True)

    async def _try_once(self, pending: PendingTransaction[Any], *, is_retry: bool) -> Any:
        decided = await self._decide(pending, is_retry=is_retry)
        try:
            await self._commit(decided)
        except Exception:
            decided.after_rollback()
            raise
        return decided.result

    async def _decide(
        self,
        pending: PendingTransaction[Any],
        predecessor: PendingTransaction[Any] | None = None,
        *,
        is_retry: bool = False,
    ) -> TransactionTry:
        self._require_working()
        decided = TransactionTry()
        try:
            await with_timeout(lambda: decided.decide(self._engine, pending, predecessor, is_retry=is_retry))
        except BaseException as error:
            await decided.roll_back()
            decided.after_rollback()
            if self._is_taken_over(error):
                raise WriterFailed from error
            raise
        return decided

    async def _commit(self, decided: TransactionTry) -> None:
        """Commit a try. After an error the try is not durable; if the outcome stays unknown, the writer fails."""
        try:
            self._require_working()
            await with_timeout(decided.commit)
        except BaseException as error:
            await decided.roll_back()
            if self._is_taken_over(error):
                raise WriterFailed from error
            if not isinstance(error, ConnectionLost | CommitOutcomeUnknown):
                raise
            log.warning("the connection broke before COMMIT was answered; looking whether the transaction is there")
            with fatal_on_error():
                is_stored = await self._is_stored(decided)
            if not is_stored:
                raise
        decided.after_commit()

    async def _is_stored(self, decided: TransactionTry) -> bool:
        """Ask the database as soon as the outage ends: an outcome is never guessed."""
        give_up_at = time.monotonic() + _RESOLVE_SECONDS
        while True:
            try:
                return await self._read(decided.is_stored)
            except DatabaseUnavailable as error:
                self._outage.failed(Source.WRITE, str(error.__cause__ or error))
                if time.monotonic() > give_up_at:
                    log.critical("the outcome of a transaction stays unknown: the database does not come back")
                    raise
                await asyncio.sleep(0.5)


def _may_retry(error: Exception, *, is_first: bool) -> bool:
    if isinstance(error, DBAPIError):
        return is_first if is_retryable_once(error) else is_retryable(error)
    return isinstance(error, ConnectionLost | CommitOutcomeUnknown)


def _for_owner(error: Exception) -> Exception:
    if isinstance(error, DBAPIError):
        return translated(error)
    return DatabaseUnavailable() if isinstance(error, ConnectionLost | CommitOutcomeUnknown) else error
