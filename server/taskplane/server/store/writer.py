"""The writer: one transaction is decided while the one before it is on its way to the disk.

Transactions become durable in the order in which they were decided. If one fails, what was decided after it is undone,
and both are done over, one after the other: the second is decided again only when all have heard of the first. If
nobody can say any more what is true, or another server has taken over, the writer itself has failed.
"""

import asyncio
import itertools
import logging
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NoReturn, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from taskplane.server.core.errors import DatabaseUnavailable
from taskplane.server.store.dialects.dialect import ErrorKind
from taskplane.server.store.driver_errors import is_kind, is_outage, is_retryable, is_retryable_once, translated
from taskplane.server.store.outages import Outage, Source
from taskplane.server.store.ownership import TakenOver
from taskplane.server.store.pending_transactions import LastFailed, PendingTransaction, Transaction, TransactionStart
from taskplane.server.store.tries import CommitLost, ConnectionLost, Try, WriterFailed, in_time, roll_back, sure_to_work

log = logging.getLogger(__name__)

# How long a transaction is tried again.
_RETRY_SECONDS = 5.0
# How long a lost COMMIT is looked for: longer than a database is away.
_RESOLVE_SECONDS = 24 * 3600.0
# How long the end waits for what is under way, when a database is away that may not come back.
_CLOSE_SECONDS = 10.0

T = TypeVar("T")
X = TypeVar("X", bound=Transaction)


class Writer:
    """Runs transactions in the order in which they are begun, until it fails. `read` is Database.read."""

    def __init__(
        self,
        engine: AsyncEngine,
        read: Callable[[Callable[[Connection], bool]], Awaitable[bool]],
        outage: Outage,
        *,
        overlaps: bool,
    ) -> None:
        self._engine = engine.sync_engine
        self._read = read
        self._outage = outage
        # Whether a transaction is decided while the one before is on its way.
        self._overlaps = overlaps
        # Whose turn it is to decide. Who waits for it gets it in the order in which they came.
        self._turn = asyncio.Lock()
        self._last: PendingTransaction[Any] | None = None
        # One write beside the transactions at a time, and the renewal of the lease, which waits for none of them.
        self._beside = {source: asyncio.Lock() for source in (Source.WRITE, Source.LEASE)}
        # How many transactions were done over.
        self._redone = 0
        self._running: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._has_failed = asyncio.Event()

    def begin(self, start: Callable[[TransactionStart], X], decide: Callable[[X], T]) -> PendingTransaction[T]:
        """Begin a transaction, decided as soon as the one before is. It goes on even if nobody waits for it."""
        job = PendingTransaction(start, decide)
        self._spawn(self._run(job), job)
        return job

    def begin_alone(
        self, start: Callable[[TransactionStart], X], decide: Callable[[X], T], source: Source = Source.WRITE
    ) -> PendingTransaction[T]:
        """Begin a transaction that overlaps with no other, and changes nothing that others may have in mind."""
        job = PendingTransaction(start, decide)
        self._spawn(self._run_alone(job, source), job)
        return job

    async def write_beside(self, write: Callable[[Connection], T], source: Source = Source.WRITE) -> T:
        """Write beside the transactions, without another try. Raises DatabaseUnavailable. Not for SQLite: one lock."""
        async with self._beside[source]:
            tried = Try()
            try:
                self._check()
                await in_time(lambda: tried.write(self._engine, write))
            except BaseException as error:
                await roll_back(tried)
                if self._is_taken_over(error) or isinstance(error, WriterFailed):
                    raise DatabaseUnavailable from error
                if not isinstance(error, Exception):
                    raise
                self._note_failure(error, source)
                raise _as_told(error) from error
            self._outage.succeeded(source)
            result: T = tried.result
            return result

    async def close(self) -> None:
        """Wait for what is under way, though not for ever."""
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=_CLOSE_SECONDS)
            for each in late:
                each.cancel()
            if late:
                log.warning("%d transactions are left to the database", len(late))
                await asyncio.wait(late)

    async def until_it_fails(self) -> NoReturn:
        """Wait for ever; raises WriterFailed if it fails. Then whatever is under way, or is begun, is unavailable."""
        await self._has_failed.wait()
        raise WriterFailed from self._failure

    def _spawn(self, running: Coroutine[Any, Any, None], job: PendingTransaction[Any]) -> None:
        task = asyncio.create_task(self._supervise(running, job))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _supervise(self, running: Coroutine[Any, Any, None], job: PendingTransaction[Any]) -> None:
        try:
            await running
        except (Exception, WriterFailed) as error:  # noqa: BLE001  (who waits for the writer to fail hears of it)
            self._failure = self._failure or error
            self._has_failed.set()
        finally:
            job.give_up()

    def _check(self) -> None:
        """Let nothing be decided or committed any more if the writer has failed."""
        if self._has_failed.is_set():
            raise WriterFailed

    def _is_taken_over(self, error: BaseException) -> bool:
        """Whether an error means that another server has taken over. If so, this writer has failed for good."""
        is_so = isinstance(error, TakenOver) or (isinstance(error, DBAPIError) and is_kind(error, ErrorKind.TAKEN_OVER))
        if is_so and not self._has_failed.is_set():
            self._failure = TakenOver()
            self._has_failed.set()
        return is_so

    def _note_failure(self, error: Exception, source: Source) -> None:
        if isinstance(error, DBAPIError):
            if source is Source.LEASE or isinstance(translated(error), DatabaseUnavailable):
                self._outage.failed(source, error)
        elif isinstance(error, ConnectionLost | CommitLost):
            self._outage.failed(source, str(error.__cause__ or "") or "the connection was lost")

    async def _run(self, job: PendingTransaction[Any]) -> None:
        async with self._turn:
            last = job.last = self._last
            self._last = job
            ahead = await self._decided_ahead(job, last) if self._overlaps else None
            if ahead is None:
                await self._redo_if_undone(last)
                await self._run_to_the_end(job)
            job.decided.set()
        if ahead:
            await self._send(job, ahead)

    async def _run_alone(self, job: PendingTransaction[Any], source: Source) -> None:
        async with self._turn:
            await self._redo_if_undone(self._last)
            await self._run_to_the_end(job, source=source)

    async def _decided_ahead(self, job: PendingTransaction[Any], last: PendingTransaction[Any] | None) -> Try | None:
        """Decide while the last one is on its way, and wait for that. None if it is to be done over, after it."""
        if last:
            self._check()
            await last.predecessor_published()
            if last.has_been_undone:
                return None
        try:
            ahead = await self._decide(job, last)
        except Exception as error:  # noqa: BLE001  (it is raised again, unless it came from the overlap)
            self._log_redo(error)
            return None
        if last and not await last.next_may_stand:
            await roll_back(ahead)
            ahead.undo()
            return None
        return ahead

    async def _send(self, job: PendingTransaction[Any], ahead: Try) -> None:
        """Commit, and if that fails, do it over, unless the next one, which was undone for that, has seen to it."""
        try:
            await self._commit(ahead)
        except Exception as error:  # noqa: BLE001  (it is raised again if another try cannot mend it)
            self._log_redo(error)
            job.undo_failed = ahead.undo
            job.next_may_stand.set_result(False)
            async with self._turn:
                await self._redo_if_undone(job)
        else:
            job.next_may_stand.set_result(True)
            self._succeed(job, ahead.result)

    def _succeed(self, job: PendingTransaction[Any], result: Any, source: Source = Source.WRITE) -> None:
        if job.touched or source is Source.LEASE:
            self._outage.succeeded(source)
        job.succeed(result)

    def _log_redo(self, error: Exception) -> None:
        """Tell why a transaction is done over, but for one that only goes along with the one before."""
        if not isinstance(error, LastFailed):
            self._redone += 1
            is_away = isinstance(error, DBAPIError) and is_outage(error)
            level = logging.DEBUG if is_away or self._outage.cause else logging.INFO
            reason = error.orig if isinstance(error, DBAPIError) else error
            log.log(level, "a transaction is done over, number %d since the start: %r", self._redone, reason)

    async def _redo_if_undone(self, job: PendingTransaction[Any] | None) -> None:
        """Wait for a transaction, and do it over if it has failed. What was decided after it must be undone before."""
        if job is None or await job.next_may_stand or job.undo_failed is None:
            return
        job.undo_failed()
        job.undo_failed = None
        if not job.is_over:
            await self._run_to_the_end(job, is_retry=True)

    async def _run_to_the_end(
        self, job: PendingTransaction[Any], *, is_retry: bool = False, source: Source = Source.WRITE
    ) -> None:
        """Decide and commit until it is durable, or until there is no sense in another try.

        Nothing is decided before all have heard of the transaction before: they might take what this one gives up.
        """
        self._check()
        await job.predecessor_published()
        give_up_at = time.monotonic() + _RETRY_SECONDS
        for tries in itertools.count(1):
            try:
                result = await self._try_once(job, is_retry=is_retry)
            except Exception as error:  # noqa: BLE001  (who waits hears of it)
                may_mend = _another_try_may_mend(error, is_first=not is_retry)
                if not may_mend or time.monotonic() > give_up_at:
                    self._note_failure(error, source)
                    job.fail(_as_told(error))
                    break
                self._log_redo(error)
            else:
                self._succeed(job, result, source)
                break
            is_retry = True
            # Two writers that met once should not meet again in step.
            await asyncio.sleep(random.uniform(0, min(0.5, 0.01 * 2**tries)))  # noqa: S311  (keeps no secret)
        if not job.next_may_stand.done():
            job.next_may_stand.set_result(True)

    async def _try_once(self, job: PendingTransaction[Any], *, is_retry: bool) -> Any:
        decided = await self._decide(job, is_retry=is_retry)
        try:
            await self._commit(decided)
        except Exception:
            decided.undo()
            raise
        return decided.result

    async def _decide(
        self, job: PendingTransaction[Any], last: PendingTransaction[Any] | None = None, *, is_retry: bool = False
    ) -> Try:
        self._check()
        decided = Try()
        try:
            await in_time(lambda: decided.decide(self._engine, job, last, is_retry=is_retry))
        except BaseException as error:
            await roll_back(decided)
            decided.undo()
            if self._is_taken_over(error):
                raise WriterFailed from error
            raise
        return decided

    async def _commit(self, decided: Try) -> None:
        """Make it durable. After an error it is not; if the outcome stays unknown, the writer has failed."""
        try:
            self._check()
            await in_time(decided.commit)
        except BaseException as error:
            await roll_back(decided)
            if self._is_taken_over(error):
                raise WriterFailed from error
            if not isinstance(error, ConnectionLost | CommitLost):
                raise
            log.warning("the connection broke before COMMIT was answered; looking whether the transaction is there")
            with sure_to_work():
                is_stored = await self._is_stored(decided)
            if not is_stored:
                raise
        decided.keep()

    async def _is_stored(self, decided: Try) -> bool:
        """Ask the database itself, as soon as it is back: the outcome is never guessed."""
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


def _another_try_may_mend(error: Exception, *, is_first: bool) -> bool:
    if isinstance(error, DBAPIError):
        return is_first if is_retryable_once(error) else is_retryable(error)
    return isinstance(error, ConnectionLost | CommitLost)


def _as_told(error: Exception) -> Exception:
    if isinstance(error, DBAPIError):
        return translated(error)
    return DatabaseUnavailable() if isinstance(error, ConnectionLost | CommitLost) else error
