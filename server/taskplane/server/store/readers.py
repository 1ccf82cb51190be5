"""Pools of reading threads. Each thread has a connection; the number of calls that wait for a thread is bounded.

A read ends at its time limit, or when its caller goes: the database stops the statement, and the thread becomes free.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Lock
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from taskplane.server.core.clock import monotonic
from taskplane.server.core.errors import DatabaseUnavailable, ReadTooLong, TooManyReads
from taskplane.server.store.dialects import dialect_of
from taskplane.server.store.dialects.dialect import UNTIL
from taskplane.server.store.driver_errors import translated
from taskplane.server.store.outages import Outage, Source

log = logging.getLogger(__name__)

T = TypeVar("T")

# A stopped read that has not ended after this time is stopped again.
_STOP_AGAIN_SECONDS = 0.05


class ReadPool:
    """The reading threads for one kind of call. Use a pool on the event loop only, and close it."""

    def __init__(
        self, engine: Engine, outage: Outage, name: str, threads: int, most_waiting: int | None = None
    ) -> None:
        """Create the threads. Without `most_waiting`, any number of calls may wait."""
        self._engine = engine
        self._outage = outage
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=f"database-{name}")
        # Another thread stops reads: their own is blocked, and the event loop must not block.
        self._stopper = ThreadPoolExecutor(1, thread_name_prefix=f"database-{name}-stopper")
        self._free = asyncio.Semaphore(threads)
        self._waiting = 0
        self._most_waiting = most_waiting

    async def run(self, work: Callable[[Connection], T], seconds: float | None = None) -> T:
        """Run `work` in a thread, in a transaction that is rolled back.

        Raises DatabaseUnavailable; TooManyReads if too many calls wait, or no thread became free in time; and
        ReadTooLong if the database does not finish within `seconds`.
        """
        until = None if seconds is None else monotonic() + seconds
        has_thread = False
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                await self._thread()
                has_thread = True
                return await self._read(_Reading(self._engine, self._outage, work, until))
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise (ReadTooLong() if has_thread else TooManyReads()) from error

    async def close(self) -> None:
        """Wait for running reads, then end all threads."""
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self._stopper.shutdown)

    async def _thread(self) -> None:
        """Wait for a free thread, and take it."""
        if self._free.locked() and self._most_waiting is not None and self._waiting >= self._most_waiting:
            raise TooManyReads
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1

    async def _read(self, reading: "_Reading[T]") -> T:
        reads = asyncio.get_running_loop().run_in_executor(self._threads, reading.run)
        # The thread becomes free when the database has stopped, not when the caller goes.
        reads.add_done_callback(self._finished)
        try:
            return await asyncio.shield(reads)
        except asyncio.CancelledError:
            if not reads.done():
                self._stopper.submit(self._stop, reading)
            raise

    def _stop(self, reading: "_Reading[Any]") -> None:
        """Stop a read, repeatedly: a stop between two statements has no effect."""
        reading.stop()
        if not reading.ended.wait(_STOP_AGAIN_SECONDS):
            self._stopper.submit(self._stop, reading)

    def _finished(self, reads: "asyncio.Future[Any]") -> None:
        self._free.release()
        if not reads.cancelled():
            # Marks the error as retrieved, in case the caller has gone.
            reads.exception()


class _Reading(Generic[T]):
    """One read, which another thread may stop."""

    def __init__(self, engine: Engine, outage: Outage, work: Callable[[Connection], T], until: float | None) -> None:
        self._engine = engine
        self._outage = outage
        self._work = work
        self._until = until
        # Held while the connection is stopped, so that no later read is using the connection by then.
        self._lock = Lock()
        self._connection: Connection | None = None
        self._is_stopped = False
        self.ended = Event()

    def run(self) -> T:
        try:
            with _translating(self._outage), self._engine.connect() as connection, self._stoppable(connection):
                return self._work(connection.execution_options(**{UNTIL: self._until}))
        finally:
            self.ended.set()

    def stop(self) -> None:
        with self._lock:
            self._is_stopped = True
            if self._connection is not None:
                dialect_of(self._connection).interrupt(self._engine, self._connection)

    @contextmanager
    def _stoppable(self, connection: Connection) -> Iterator[None]:
        with self._lock:
            if self._is_stopped:
                raise ReadTooLong
            self._connection = connection
        try:
            yield
        finally:
            with self._lock:
                self._connection = None
                if self._is_stopped:
                    # A late stop would end another read's statement.
                    connection.invalidate()


@contextmanager
def _translating(outage: Outage) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        translation = translated(error)
        if isinstance(translation, DatabaseUnavailable):
            outage.failed(Source.READ, error)
        raise translation from error
    outage.succeeded(Source.READ)
