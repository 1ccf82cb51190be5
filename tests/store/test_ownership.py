"""Two servers on one database: after the take-over by the newer server, the older one writes nothing."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, make_url, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util import await_only
from support.builders import NOW, PATIENCE_SECONDS, a_task, a_unit
from support.databases import SERVERS, execute
from support.stored import in_transaction, update
from support.stored import insert as insert_tasks

from taskplane.server.core.errors import DatabaseUnavailable
from taskplane.server.core.task import Progress, TaskStatus
from taskplane.server.store.database import Database
from taskplane.server.store.dialects import sqlite
from taskplane.server.store.live_rows import LiveRow
from taskplane.server.store.migrate import migrate
from taskplane.server.store.ownership import TakenOver
from taskplane.server.store.pending_transaction import WriterFailed
from taskplane.server.store.schema import deleted_tasks, metadata, owners, task_requests
from taskplane.server.store.store import Store
from taskplane.server.store.taking_over import CannotTakeOver
from taskplane.server.store.transaction import WriteTransaction

Write = Callable[[Store], Awaitable[object]]

on_servers = pytest.mark.parametrize("database_url", SERVERS, indirect=True)


@pytest.fixture
async def older(database_url: str) -> AsyncIterator[Database]:
    """Yield the database of the older server, which has taken over."""
    database = Database(database_url)
    await asyncio.to_thread(migrate, database.engine)
    await database.take_over("127.0.0.1:1")
    yield database
    await database.close()


@pytest.fixture
async def newer(older: Database, database_url: str) -> AsyncIterator[Database]:
    """Yield the database of the newer server, before the take-over."""
    database = Database(database_url)
    yield database
    await database.close()


def contents(engine: Engine) -> dict[str, list[object]]:
    """Return all rows except the owner's."""
    with engine.connect() as connection:
        return {
            table.name: [tuple(row) for row in connection.execute(select(table))]
            for table in metadata.sorted_tables
            if table is not owners
        }


async def progress(store: Store) -> None:
    await store.save_live([LiveRow(1, 1, Progress(0.5, "half", NOW), None, "", None)])


# All writes of the store.
WRITES: dict[str, Write] = {
    "tasks": lambda store: insert_tasks(store, a_task(id=2)),
    "a change": lambda store: update(store, a_task(TaskStatus.RUNNING, id=1, attempt=1, revision=3)),
    "a deletion": lambda store: in_transaction(store, lambda transaction: transaction.delete_tasks([1])),
    "ids": lambda store: in_transaction(store, lambda transaction: transaction.next_task_ids(5000)),
    "progress": progress,
    "responses": lambda store: store.save_responses({"asked": b"answer"}),
    "units": lambda store: store.save_units([a_unit("unit-2")]),
    "heartbeats": lambda store: store.save_heartbeats([a_unit("unit-1", capacity=7)]),
    "calls forgotten": lambda store: store.forget_calls(NOW.replace(year=2100)),
    "a call forgotten": lambda store: store.forget_call("asked"),
    "deletions forgotten": lambda store: store.forget_deletions(NOW.replace(year=2100)),
    "a unit forgotten": lambda store: store.delete_unit("unit-1"),
    "the lease": lambda store: store.renew_lease(),
}


async def fill(database: Database) -> None:
    store = Store(database)
    await insert_tasks(store, a_task(TaskStatus.RUNNING, id=1, attempt=1, revision=2))
    await store.save_units([a_unit("unit-1")])
    asked = insert(task_requests).values(request_id="asked", method="m", fingerprint="f", task_ids=[1], created_at=NOW)
    deleted = insert(deleted_tasks).values(revision=1, task_id=9, task_type="WORK", deleted_at=NOW)
    await database.write(lambda connection: [connection.execute(each) for each in (asked, deleted)])


async def is_taken_over(database: Database) -> None:
    """Assert that the server notices the take-over, at the latest by the renewal of its lease."""
    with suppress(DatabaseUnavailable):  # the first may only notice a lost connection
        await database.renew_lease()
    with suppress(DatabaseUnavailable):
        await database.renew_lease()
    with pytest.raises(WriterFailed) as failed:
        await asyncio.wait_for(database.wait_for_failure(), PATIENCE_SECONDS)
    assert isinstance(failed.value.__cause__, TakenOver)


@pytest.mark.parametrize("name", WRITES)
async def test_an_older_server_no_longer_writes(older: Database, newer: Database, name: str) -> None:
    await fill(older)
    store = Store(older)
    await newer.take_over("127.0.0.1:2")
    before = contents(newer.engine)
    with pytest.raises(DatabaseUnavailable):
        await WRITES[name](store)
    assert contents(newer.engine) == before
    await is_taken_over(older)


@pytest.mark.parametrize("name", WRITES)
async def test_the_owner_writes(older: Database, name: str) -> None:
    await fill(older)
    await WRITES[name](Store(older))


async def test_a_pending_transaction_commits_before_the_take_over_or_never(older: Database, newer: Database) -> None:
    store, has_decided, may_commit = Store(older), asyncio.Event(), asyncio.Event()
    await insert_tasks(store, a_task(id=1, revision=1))

    def hold(transaction: WriteTransaction) -> None:
        transaction.insert_tasks([a_task(id=2)])
        has_decided.set()
        await_only(asyncio.wait_for(may_commit.wait(), PATIENCE_SECONDS))

    under_way = store.begin(hold)
    await asyncio.wait_for(has_decided.wait(), PATIENCE_SECONDS)
    taking_over = asyncio.create_task(newer.take_over("127.0.0.1:2"))
    if older.engine.dialect.name == "sqlite":  # no other process can break SQLite's lock
        may_commit.set()
        await under_way.durable()
        await taking_over
        assert await Store(newer).get_task(2) is not None
        return
    await taking_over
    may_commit.set()
    with pytest.raises(DatabaseUnavailable):
        await under_way.durable()
    assert await Store(newer).get_task(2) is None
    await is_taken_over(older)


@on_servers
async def test_a_take_over_releases_row_locks_of_a_frozen_server(older: Database, newer: Database) -> None:
    """The older server has locked a task and the owner row, and hangs."""
    await insert_tasks(Store(older), a_task(id=1, revision=1))
    has_locked, may_go_on = asyncio.Event(), asyncio.Event()

    def freeze(transaction: WriteTransaction) -> None:
        transaction.lock_running_on("none")
        transaction.load_tasks([1])
        transaction.insert_tasks([a_task(id=2)])
        transaction._buffer.execute("UPDATE owners SET address = 'frozen'")
        transaction._buffer.send()
        has_locked.set()
        await_only(asyncio.wait_for(may_go_on.wait(), PATIENCE_SECONDS))

    frozen = Store(older).begin(freeze)
    await asyncio.wait_for(has_locked.wait(), PATIENCE_SECONDS)
    await newer.take_over("127.0.0.1:2")
    await update(Store(newer), a_task(id=1, revision=5, priority=9))
    may_go_on.set()
    with pytest.raises(DatabaseUnavailable):
        await frozen.durable()
    assert await Store(newer).get_task(1) == a_task(id=1, revision=5, priority=9)


async def test_a_busy_server_is_taken_over_and_each_task_belongs_to_one_server(
    older: Database, newer: Database
) -> None:
    mine, theirs = Store(older), Store(newer)

    async def work(store: Store) -> list[int]:
        done: list[int] = []
        while True:
            try:
                done.append(await in_transaction(store, insert_one))
            except DatabaseUnavailable:
                return done
            if len(done) >= 30 and store is theirs:
                return done

    def insert_one(transaction: WriteTransaction) -> int:
        (task_id,) = transaction.next_task_ids(1)
        transaction.insert_tasks([a_task(id=task_id, revision=transaction.next_revisions(1)[0])])
        return task_id

    working = asyncio.create_task(work(mine))
    while not await mine.get_task(1):  # noqa: ASYNC110  (no event)
        await asyncio.sleep(0.01)
    await newer.take_over("127.0.0.1:2")
    first_revision = await theirs.latest_revision() + 1
    new = await work(theirs)
    old = await working
    assert old
    assert not set(old) & set(new)
    tasks = [await theirs.get_task(task_id) for task_id in old]
    assert all(task and task.revision < first_revision for task in tasks), "what was acknowledged is below"
    await is_taken_over(older)


async def test_readers_cannot_write(older: Database) -> None:
    with pytest.raises((DBAPIError, DatabaseUnavailable)):
        await older.read(lambda connection: connection.execute(owners.update().values(address="stolen")))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_file_locked_by_another_process_is_reported_with_advice(
    older: Database, newer: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_BUSY_MILLISECONDS", 100)
    frozen = sqlite3.connect(Path(database_url.removeprefix("sqlite:///")), isolation_level=None)
    frozen.execute("BEGIN IMMEDIATE")
    with pytest.raises(CannotTakeOver, match=r"127\.0\.0\.1:1 \(pid \d+ on .*end it, and start again"):
        await newer.take_over("127.0.0.1:2")
    frozen.close()
    await newer.take_over("127.0.0.1:2")


@on_servers
async def test_a_missing_right_to_end_sessions_is_logged(
    older: Database, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    await insert_tasks(Store(older), a_task(id=1))
    server = make_url(database_url)
    name = f"u{server.database[-12:]}" if server.database else ""
    execute(server, f"CREATE USER '{name}'@'%' IDENTIFIED BY 'secret'")
    try:
        execute(server, f"GRANT ALL ON `{server.database}`.* TO '{name}'@'%'")
        stranger = Database(
            server.set(username=name, password="secret", query={}).render_as_string(hide_password=False)
        )
        with caplog.at_level(logging.WARNING):
            await stranger.take_over("127.0.0.1:2")
        await insert_tasks(Store(stranger), a_task(id=2))
        await stranger.close()
    finally:
        execute(server, f"DROP USER '{name}'@'%'")
    assert "the same database user" in caplog.text
    with pytest.raises(DatabaseUnavailable):
        await insert_tasks(Store(older), a_task(id=3))
    await is_taken_over(older)
