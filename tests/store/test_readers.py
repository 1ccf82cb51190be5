"""Pools of readers: a scan ends with its time or its caller, and delays neither single rows nor the server."""

import asyncio
import threading
from collections.abc import Callable, Sequence

import pytest
from sqlalchemy import Connection, text
from support.builders import a_task
from support.stored import insert

from taskplane.server.core.errors import ReadTooLong, TooManyReads
from taskplane.server.store import database as database_module
from taskplane.server.store.database import Database
from taskplane.server.store.store import Store

PATIENCE_SECONDS = 30.0
# Counts for minutes.
_SQLITE = (
    "WITH RECURSIVE counter(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter WHERE n < 10000000000) "
    "SELECT count(*) FROM counter"
)
_MYSQL = "SELECT count(*) FROM information_schema.columns a, information_schema.columns b, information_schema.columns c"


class Endless:
    """A very long scan, with events for its begin and end."""

    def __init__(self, database: Database) -> None:
        self._statement = _SQLITE if database.engine.dialect.name == "sqlite" else _MYSQL
        self._loop = asyncio.get_running_loop()
        self.begun, self.ended = asyncio.Event(), asyncio.Event()

    def __call__(self, connection: Connection) -> None:
        self._loop.call_soon_threadsafe(self.begun.set)
        try:
            connection.execute(text(self._statement))
        finally:
            self._loop.call_soon_threadsafe(self.ended.set)


async def occupy(database: Database) -> Sequence["asyncio.Future[None]"]:
    """Yield endless scans in all threads of the pool for scans."""
    scans = [Endless(database) for _ in range(database_module._SCAN_THREADS)]
    tasks = [asyncio.ensure_future(database.scan(scan)) for scan in scans]
    for scan in scans:
        await asyncio.wait_for(scan.begun.wait(), PATIENCE_SECONDS)
    return tasks


async def end(tasks: Sequence["asyncio.Future[None]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_scan_ends_at_its_time_limit_and_frees_its_thread(database: Database) -> None:
    scan = Endless(database)
    with pytest.raises(ReadTooLong, match="narrow the filter"):
        await database.scan(scan, 0.2)
    await asyncio.wait_for(scan.ended.wait(), PATIENCE_SECONDS)


async def test_a_scan_ends_when_its_caller_goes(database: Database) -> None:
    scan = Endless(database)
    calling = asyncio.ensure_future(database.scan(scan))
    await asyncio.wait_for(scan.begun.wait(), PATIENCE_SECONDS)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    await asyncio.wait_for(scan.ended.wait(), PATIENCE_SECONDS)
    assert await database.scan(lambda connection: connection.execute(text("SELECT 1")).scalar()) == 1


async def test_a_scan_ends_when_its_caller_goes_between_two_statements(database: Database) -> None:
    scan, between, has_gone = Endless(database), asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work(connection: Connection) -> None:
        connection.execute(text("SELECT 1"))
        loop.call_soon_threadsafe(between.set)
        has_gone.wait(PATIENCE_SECONDS)
        scan(connection)

    calling = asyncio.ensure_future(database.scan(work))
    await asyncio.wait_for(between.wait(), PATIENCE_SECONDS)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    stopper = database._scans._stopper
    await asyncio.wrap_future(stopper.submit(has_gone.set))  # behind the first stop
    await asyncio.wait_for(scan.ended.wait(), PATIENCE_SECONDS)


async def test_the_database_ends_a_scan_that_is_not_stopped(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    if database.engine.dialect.name == "sqlite":
        return  # SQLite runs in this process and is always stopped
    monkeypatch.setattr("taskplane.server.store.readers._Reading.stop", lambda _: None)
    scan = Endless(database)
    with pytest.raises(ReadTooLong):
        await database.scan(scan, 0.2)
    await asyncio.wait_for(scan.ended.wait(), PATIENCE_SECONDS)


async def test_scans_delay_neither_single_rows_nor_the_server(store: Store, database: Database) -> None:
    await insert(store, a_task(id=1))
    scans = await occupy(database)
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await store.get_task(1) == a_task(id=1)
        assert await store.expired_tasks(a_task().created_at, 10) == []
        await store.save_heartbeats([])
    assert not any(scan.done() for scan in scans)
    await end(scans)


async def test_a_scan_without_a_thread_in_time_is_refused(database: Database) -> None:
    scans = await occupy(database)
    with pytest.raises(TooManyReads) as refused:
        await database.scan(lambda _: None, 0.05)
    assert refused.value.retry_delay_seconds
    await end(scans)


async def test_too_many_waiting_calls_are_refused_at_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database._scans, "_most_waiting", 2)
    scans = await occupy(database)
    waiting = [asyncio.ensure_future(database.scan(lambda _: 7)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyReads):
        await database.scan(lambda _: None)
    await end(scans)
    assert await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE_SECONDS) == [7, 7]


async def test_a_cancelled_waiting_call_leaves_no_work_behind(database: Database) -> None:
    scans = await occupy(database)
    ran: list[Callable[..., object]] = []
    waiting = asyncio.ensure_future(database.scan(lambda _: ran.append(threading.current_thread)))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await end(scans)
    await database.scan(lambda _: None)
    assert not ran
