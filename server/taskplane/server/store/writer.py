"""The writer: one transaction is decided while the one before it is on its way to the disk.

Transactions become durable in the order in which they were decided. If one fails, what was decided after it is undone,
and both are done over, one after the other. If nobody can say any more what is true, the writer itself has failed.
"""

import asyncio
import itertools
import logging
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import greenlet_spawn

from taskplane.server.core.errors import DatabaseUnavailable
from taskplane.server.store.driver_errors import is_duplicate, is_locked, is_unexpected, may_be_tried_again, translated
from taskplane.server.store.transactions import Begin, Transaction, UnderWay
from taskplane.server.store.writer_connection import SILENT_SECONDS, connection_lock, end_connection

log = logging.getLogger(__name__)

# How long a transaction is tried again.
_RETRY_SECONDS = 5.0
# How long a lost COMMIT is looked for: longer than a database is away.
_RESOLVE_SECONDS = 24 * 3600.0
# How long the end waits for what is under way, when a database is away that may not come back.
_CLOSE_SECONDS = 10.0

T = TypeVar("T")
X = TypeVar("X", bound=Transaction)


class _Lost(Exception):
    """The connection is lost, in the middle of a transaction."""


class _CommitLost(Exception):
    """The connection broke before COMMIT was answered: the transaction may be there or not."""


class WriterFailed(BaseException):
    """Memory and the database may not say the same any more: only a new start, which reads the database, mends that.

    It is no Exception, so that nobody takes it for a failure of one transaction, which another try may mend.
    """


@contextmanager
def _sure_to_work() -> Iterator[None]:
    """Let the writer fail with what is done in the context."""
    try:
        yield
    except Exception as error:
        raise WriterFailed from error


class _Try:
    """One try of a transaction. Its methods run in greenlets, which give way while they wait for the database."""

    def __init__(self) -> None:
        self.result: Any = None
        self._connection_lock = ""
        self._connection: Connection | None = None
        self._transaction: Transaction | None = None

    def decide(self, engine: Engine, job: UnderWay[Any], last: UnderWay[Any] | None, *, is_again: bool) -> None:
        """Begin, lock, read and decide."""
        self._connection = connection = engine.connect()
        self._connection_lock = connection_lock(connection)
        connection.begin()
        self._transaction = job.start(Begin(connection, last, is_again))
        self.result = job.decide(self._transaction)
        job.touched = self._transaction.touched

    def commit(self) -> None:
        """Send what was decided, with COMMIT. Raises _CommitLost if nobody knows whether that has worked."""
        if self._connection is None or self._transaction is None:
            raise AssertionError("committed before it was decided")
        try:
            self._transaction.commit()
        except DBAPIError as error:
            if error.connection_invalidated:
                raise _CommitLost from error
            raise
        with _sure_to_work():
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
        if self._connection_lock:
            end_connection(connection, self._connection_lock)
        return self._transaction is not None and self._transaction.is_stored(connection)

    def keep(self) -> None:
        """Tell the transaction that it is durable."""
        if self._transaction:
            with _sure_to_work():
                self._transaction.keep()

    def undo(self) -> None:
        """Tell the transaction that it has failed."""
        if self._transaction:
            with _sure_to_work():
                self._transaction.undo()


class Writer:
    """Runs transactions in the order in which they are begun, until it fails. `read` is Database.read."""

    def __init__(self, engine: AsyncEngine, read: Callable[[Callable[[Connection], bool]], Awaitable[bool]]) -> None:
        self._engine = engine.sync_engine
        self._read = read
        # SQLite has one lock for all.
        self._overlaps = engine.dialect.name != "sqlite"
        # Whose turn it is to decide. Who waits for it gets it in the order in which they came.
        self._turn = asyncio.Lock()
        self._last: UnderWay[Any] | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._has_failed = asyncio.Event()

    def begin(self, start: Callable[[Begin], X], decide: Callable[[X], T]) -> UnderWay[T]:
        """Begin a transaction, decided as soon as the one before is. It goes on even if nobody waits for it."""
        job = UnderWay(start, decide)
        self._spawn(self._run(job), job)
        return job

    def begin_alone(self, start: Callable[[Begin], X], decide: Callable[[X], T]) -> UnderWay[T]:
        """Begin a transaction that overlaps with no other, and changes nothing that others may have in mind."""
        job = UnderWay(start, decide)
        self._spawn(self._run_alone(job), job)
        return job

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

    def _spawn(self, running: Coroutine[Any, Any, None], job: UnderWay[Any]) -> None:
        task = asyncio.create_task(self._supervise(running, job))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _supervise(self, running: Coroutine[Any, Any, None], job: UnderWay[Any]) -> None:
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

    async def _run(self, job: UnderWay[Any]) -> None:
        async with self._turn:
            last, self._last = self._last, job
            ahead = await self._decided_ahead(job, last) if self._overlaps else None
            if ahead is None:
                await self._redo_if_undone(last)
                await self._run_to_the_end(job)
            job.decided.set()
        if ahead:
            await self._send(job, ahead)

    async def _run_alone(self, job: UnderWay[Any]) -> None:
        async with self._turn:
            await self._redo_if_undone(self._last)
            await self._run_to_the_end(job)

    async def _decided_ahead(self, job: UnderWay[Any], last: UnderWay[Any] | None) -> _Try | None:
        """Decide while the last one is on its way, and wait for that. None if it is to be done over, after it."""
        try:
            ahead = await self._decide(job, last)
        except Exception as error:  # noqa: BLE001  (it is raised again, unless it came from the overlap)
            log.debug("to be done over: %r", error)
            return None
        if last and not await last.next_may_stand:
            await _roll_back(ahead)
            ahead.undo()
            return None
        return ahead

    async def _send(self, job: UnderWay[Any], ahead: _Try) -> None:
        """Commit, and if that fails, do it over, unless the next one, which was undone for that, has seen to it."""
        try:
            await self._commit(ahead)
        except Exception as error:  # noqa: BLE001  (it is raised again if another try cannot mend it)
            log.debug("to be done over: %r", error)
            job.undo_failed = ahead.undo
            job.next_may_stand.set_result(False)
            async with self._turn:
                await self._redo_if_undone(job)
        else:
            job.next_may_stand.set_result(True)
            job.succeed(ahead.result)

    async def _redo_if_undone(self, job: UnderWay[Any] | None) -> None:
        """Wait for a transaction, and do it over if it has failed. What was decided after it must be undone before."""
        if job is None or await job.next_may_stand or job.undo_failed is None:
            return
        job.undo_failed()
        job.undo_failed = None
        if not job.is_over:
            await self._run_to_the_end(job, is_again=True)

    async def _run_to_the_end(self, job: UnderWay[Any], *, is_again: bool = False) -> None:
        """Decide and commit until it is durable, or until there is no sense in another try."""
        give_up_at = time.monotonic() + _RETRY_SECONDS
        for tries in itertools.count(1):
            try:
                result = await self._try_once(job, is_again=is_again)
            except Exception as error:  # noqa: BLE001  (who waits hears of it)
                may_mend = _another_try_may_mend(error, is_first=not is_again)
                if not may_mend or time.monotonic() > give_up_at:
                    job.fail(_as_told(error))
                    break
            else:
                job.succeed(result)
                break
            is_again = True
            # Two writers that met once should not meet again in step.
            await asyncio.sleep(random.uniform(0, min(0.5, 0.01 * 2**tries)))  # noqa: S311  (keeps no secret)
        if not job.next_may_stand.done():
            job.next_may_stand.set_result(True)

    async def _try_once(self, job: UnderWay[Any], *, is_again: bool) -> Any:
        decided = await self._decide(job, is_again=is_again)
        try:
            await self._commit(decided)
        except Exception:
            decided.undo()
            raise
        return decided.result

    async def _decide(self, job: UnderWay[Any], last: UnderWay[Any] | None = None, *, is_again: bool = False) -> _Try:
        self._check()
        decided = _Try()
        try:
            await _in_time(lambda: decided.decide(self._engine, job, last, is_again=is_again))
        except BaseException:
            await _roll_back(decided)
            decided.undo()
            raise
        return decided

    async def _commit(self, decided: _Try) -> None:
        """Make it durable. After an error it is not; if the outcome stays unknown, the writer has failed."""
        try:
            self._check()
            await _in_time(decided.commit)
        except BaseException as error:
            await _roll_back(decided)
            if not isinstance(error, _Lost | _CommitLost):
                raise
            log.warning("the connection broke before COMMIT was answered; looking whether the transaction is there")
            with _sure_to_work():
                is_stored = await self._is_stored(decided)
            if not is_stored:
                raise
        decided.keep()

    async def _is_stored(self, decided: _Try) -> bool:
        """Ask the database itself, as soon as it is back: the outcome is never guessed."""
        give_up_at = time.monotonic() + _RESOLVE_SECONDS
        while True:
            try:
                return await self._read(decided.is_stored)
            except DatabaseUnavailable:
                if time.monotonic() > give_up_at:
                    log.critical("the outcome of a transaction stays unknown: the database does not come back")
                    raise
                log.warning("the database is away")
                await asyncio.sleep(0.5)


def _another_try_may_mend(error: Exception, *, is_first: bool) -> bool:
    if isinstance(error, DBAPIError):
        once = is_duplicate(error) or is_unexpected(error) or is_locked(error)
        return is_first if once else may_be_tried_again(error)
    return isinstance(error, _Lost | _CommitLost)


def _as_told(error: Exception) -> Exception:
    if isinstance(error, DBAPIError):
        return translated(error)
    return DatabaseUnavailable() if isinstance(error, _Lost | _CommitLost) else error


async def _roll_back(tried: _Try) -> None:
    with _sure_to_work():
        try:
            await _in_time(tried.roll_back)
        except _Lost as error:
            log.info("a transaction is left to the database: %r", error)


async def _in_time(work: Callable[[], None]) -> None:
    """Run what waits for the database in a greenlet. A database that is silent for long is taken as lost."""
    try:
        async with asyncio.timeout(SILENT_SECONDS):
            await greenlet_spawn(work)
    except TimeoutError as error:
        raise _Lost from error
