"""Failures between server and database: passing ones are retried, effects happen once, others are reported."""

import asyncio
import logging
import math
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.util import await_only
from support.builders import NOW, PATIENCE_SECONDS, a_task
from support.databases import SERVERS
from support.stored import before_commit, in_transaction, insert, kill

from taskplane.server.core.errors import Code, DatabaseUnavailable
from taskplane.server.store.database import Database
from taskplane.server.store.keyed_calls import KeyedCall
from taskplane.server.store.reading import TaskFilter
from taskplane.server.store.store import Store
from taskplane.server.store.transaction import WriteTransaction

# SQLite has neither sessions nor row locks.
on_servers = pytest.mark.parametrize("database", SERVERS, indirect=True)

NOBODY_LISTENS = "mysql+pymysql://root@127.0.0.1:1/taskplane"


async def test_a_missing_database_is_unavailable() -> None:
    database = Database(NOBODY_LISTENS)
    store = Store(database)
    for call in (store.get_task(1), insert(store, a_task()), store.save_units([])):
        with pytest.raises(DatabaseUnavailable) as away:
            await call
        assert away.value.code is Code.UNAVAILABLE
        assert away.value.retry_delay_seconds
    await database.close()


async def test_a_file_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'no such folder' / 'taskplane.db'}")
    with pytest.raises(DatabaseUnavailable):
        await Store(database).get_task(1)
    await database.close()


async def test_bugs_are_not_mistaken_for_an_outage(database: Database) -> None:
    with pytest.raises(Exception, match="no_such_table") as mistake:
        await database.read(lambda connection: connection.execute(text("SELECT * FROM no_such_table")))
    assert not isinstance(mistake.value, DatabaseUnavailable)


@on_servers
async def test_a_refused_user_is_an_outage(database: Database) -> None:
    stranger = database.engine.url.set(username="nobody", password="wrong", query={})
    database = Database(stranger.render_as_string(hide_password=False))
    store = Store(database)
    for call in (store.get_task(1), insert(store, a_task()), store.save_units([])):
        with pytest.raises(DatabaseUnavailable):
            await call
    await database.close()


@pytest.fixture
async def of_user(database: Database) -> AsyncIterator[Database]:
    """Yield the database, used by another user with all rights."""
    user = f"user_{secrets.token_hex(4)}"
    url = database.engine.url.set(username=user, password="secret", query={})
    with database.engine.connect() as connection:
        connection.execute(text(f"CREATE USER {user} IDENTIFIED BY 'secret'"))
        connection.execute(text(f"GRANT ALL ON {url.database}.* TO {user}"))
        of_user = Database(url.render_as_string(hide_password=False))
        yield of_user
        await of_user.close()
        connection.execute(text(f"DROP USER {user}"))


@on_servers
async def test_a_restored_right_counts_at_once(database: Database, of_user: Database) -> None:
    """A session keeps its initial rights, so sessions that were denied a right must be replaced."""
    store = Store(of_user)
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: store.get_task(1),
        lambda: insert(store, a_task(id=2)),
        of_user.renew_lease,
    ]
    for right, refused in (("SELECT", calls[:1]), ("INSERT, UPDATE", calls[1:])):
        rights = f"{right} ON {of_user.engine.url.database}.*"
        with database.engine.connect() as connection:
            connection.execute(text(f"REVOKE {rights} FROM {of_user.engine.url.username}"))
            _end_sessions(connection, str(of_user.engine.url.username))
            for call in refused:
                with pytest.raises(DatabaseUnavailable):
                    await call()
            assert of_user.outage
            connection.execute(text(f"GRANT {rights} TO {of_user.engine.url.username}"))
        await asyncio.gather(*(call() for call in refused))


@on_servers
async def test_a_session_begun_during_denials_is_used_once(database: Database) -> None:
    database.reading.denied_at = math.inf
    sessions = [await database.read(lambda each: each.execute(text("SELECT CONNECTION_ID()")).scalar()) for _ in "123"]
    assert len(set(sessions)) == len(sessions)


def _end_sessions(connection: Connection, user: str) -> None:
    sessions = text("SELECT id FROM information_schema.processlist WHERE user = :user")
    for session in connection.execute(sessions, {"user": user}).scalars().all():
        connection.execute(text(f"KILL {session}"))


@on_servers
async def test_a_statement_interrupted_by_an_operator_is_an_outage(
    store: Store, database: Database, engine: Engine
) -> None:
    def sleep(connection: Connection) -> None:
        connection.execute(text("SELECT task_name FROM tasks WHERE SLEEP(30)"))

    await insert(store, a_task(id=1))
    reading = asyncio.ensure_future(database.read(sleep))
    with engine.connect() as killer:
        find = text("SELECT id FROM information_schema.processlist WHERE info LIKE 'SELECT task_name%SLEEP%'")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (number := killer.execute(find).scalar()):  # noqa: ASYNC110  (no event)
                await asyncio.sleep(0.01)
        killer.execute(text(f"KILL QUERY {number}"))
    with pytest.raises(DatabaseUnavailable):
        await reading


async def test_readers_do_not_wait_for_the_writer(store: Store) -> None:
    await insert(store, a_task(id=1))
    has_written, may_end = asyncio.Event(), asyncio.Event()

    def hold(transaction: WriteTransaction) -> None:
        transaction.insert_tasks([a_task(id=2)])
        transaction._buffer.send()
        has_written.set()
        await_only(asyncio.wait_for(may_end.wait(), PATIENCE_SECONDS))

    writing = asyncio.ensure_future(in_transaction(store, hold))
    await asyncio.wait_for(has_written.wait(), PATIENCE_SECONDS)
    assert await store.get_task(1) == a_task(id=1)
    assert await store.get_task(2) is None, "what is not committed is not seen"
    may_end.set()
    await writing
    assert await store.get_task(2) == a_task(id=2)


async def test_a_failed_transaction_leaves_nothing_and_the_next_one_succeeds(store: Store) -> None:
    def fail(transaction: WriteTransaction) -> None:
        transaction.insert_tasks([a_task(id=1)])
        raise LookupError("undo all of it")

    with pytest.raises(LookupError, match="undo all of it"):
        await in_transaction(store, fail)
    assert await store.get_task(1) is None
    await insert(store, a_task(id=1))


@on_servers
async def test_a_deadlock_is_retried(store: Store, database: Database, engine: Engine) -> None:
    """Two transactions lock two rows in opposite order. The database rolls back the smaller one: the store's."""
    await insert(Store(database), *(a_task(id=number) for number in range(1, 60)))
    theirs_has_2, ours_has_1 = Event(), Event()
    tries: list[int] = []

    def theirs() -> None:
        with engine.begin() as connection:
            connection.execute(text("UPDATE tasks SET priority = 1 WHERE id BETWEEN 2 AND 59"))
            theirs_has_2.set()
            assert ours_has_1.wait(PATIENCE_SECONDS)
            connection.execute(text("UPDATE tasks SET priority = 1 WHERE id = 1"))

    def ours(transaction: WriteTransaction) -> None:
        tries.append(1)
        transaction.load_tasks([1])
        ours_has_1.set()
        transaction.load_tasks([2])  # waits on the event loop
        transaction.insert_tasks([a_task(id=100)])

    with ThreadPoolExecutor(1) as other:
        rival = other.submit(theirs)
        await asyncio.to_thread(theirs_has_2.wait, PATIENCE_SECONDS)
        await in_transaction(store, ours)
        rival.result(PATIENCE_SECONDS)
    assert len(tries) > 1
    assert await store.get_task(100) == a_task(id=100)
    stored = await store.get_task(1)
    assert stored
    assert stored.priority == 1, "the other one has not lost its work either"


@on_servers
async def test_a_connection_that_breaks_in_a_transaction_costs_nothing(store: Store, engine: Engine) -> None:
    tries: list[int] = []

    def work(transaction: WriteTransaction) -> None:
        tries.append(1)
        transaction.insert_tasks([a_task(id=1)])
        if len(tries) == 1:
            kill(engine, transaction)
        transaction.insert_tasks([a_task(id=2)])

    await in_transaction(store, work)
    assert len(tries) == 2
    assert [await store.get_task(task_id) for task_id in (1, 2)] == [a_task(id=1), a_task(id=2)]


@on_servers
async def test_a_connection_that_broke_while_idle_has_no_effect(store: Store, database: Database) -> None:
    def kill_all_others(connection: Connection) -> None:
        others = connection.execute(
            text("SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()")
        )
        for number in others.scalars().all():
            connection.execute(text(f"KILL CONNECTION {number}"))

    await insert(store, a_task(id=1))
    await database.read(kill_all_others)
    assert await store.get_task(1) == a_task(id=1)
    await insert(store, a_task(id=2))
    assert await store.get_task(2) == a_task(id=2)


@on_servers
@pytest.mark.parametrize("is_durable", [True, False])
async def test_a_connection_that_breaks_in_commit_is_resolved_by_reading_back(
    store: Store, engine: Engine, caplog: pytest.LogCaptureFixture, *, is_durable: bool
) -> None:
    """Nothing is lost and nothing is repeated: a retry would collide with the first row."""

    def break_off(transaction: WriteTransaction) -> None:
        if is_durable:
            transaction.commit()
        kill(engine, transaction)

    caplog.set_level(logging.WARNING)
    with before_commit(break_off):
        await insert(store, a_task(id=1, revision=1))
    assert await store.get_task(1) == a_task(id=1, revision=1)
    assert "broke before COMMIT was answered" in caplog.text


@on_servers
async def test_a_request_id_is_not_forgotten_when_the_connection_breaks(store: Store, engine: Engine) -> None:
    """Not even if the request changed nothing: a later repeat could."""
    call = KeyedCall("request-1", "PauseTask", "a" * 64, (1,))
    with before_commit(partial(kill, engine)):
        await in_transaction(store, lambda transaction: transaction.insert_keyed_calls([call], NOW))
    stored = await in_transaction(store, lambda transaction: transaction.keyed_calls([call.request_id]))
    assert stored == {call.request_id: call}


@on_servers
async def test_the_session_of_a_lost_connection_is_ended_before_the_retry(
    store: Store, database: Database, engine: Engine
) -> None:
    """The database continues a message without its sender: both the message and the retry could commit."""
    held = a_task(id=1_000_000)
    await insert(store, held)
    waiting = text("SELECT id FROM information_schema.processlist WHERE info LIKE 'UPDATE tasks SET%'")
    sessions: list[Any] = []

    def write(transaction: WriteTransaction) -> None:
        sessions.append(transaction._connection.connection.driver_connection)
        (new_id,), (first, second) = transaction.next_task_ids(1), transaction.next_revisions(2)
        transaction.load_tasks([held.id])
        transaction.update_tasks([held.but(revision=first)])
        transaction.insert_tasks([a_task(id=new_id, revision=second)])

    with engine.begin() as theirs:
        theirs.execute(text("SELECT id FROM tasks WHERE id = 1000000 FOR UPDATE"))
        pending = store.begin(write)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await database.read(lambda connection: connection.scalar(waiting)):  # noqa: ASYNC110  (no event)
                await asyncio.sleep(0.01)
        sessions[0]._writer.transport.abort()
        await asyncio.sleep(0.2)  # enough time to look up the outcome and retry
    await pending.durable()
    pending.published()
    assert await store.count_tasks(TaskFilter()) == 2
