"""After an unknown outcome or a bug, the writer fails: all waiters get an error, and nothing is written."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection
from sqlalchemy.util import await_only
from support.builders import PATIENCE_SECONDS, a_task
from support.stored import before_commit, insert

from taskplane.server.core.errors import DatabaseUnavailable
from taskplane.server.store import writer
from taskplane.server.store.database import Database
from taskplane.server.store.pending_transaction import CommitOutcomeUnknown, PendingTransaction, WriterFailed
from taskplane.server.store.store import Store
from taskplane.server.store.transaction import WriteTransaction


def fail(*_: object) -> None:
    raise ZeroDivisionError("a bug")


async def ends_unavailable(under_way: PendingTransaction[Any]) -> None:
    """Assert that a transaction ends as unavailable, and that it blocks nothing."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(DatabaseUnavailable):
            await under_way.durable()
        under_way.published()
        await under_way.decided.wait()
        await under_way.successor_is_valid


async def has_failed(database: Database, store: Store) -> BaseException | None:
    """Assert that the writer has failed and writes nothing more. Return the cause."""
    with pytest.raises(WriterFailed) as failed:
        await asyncio.wait_for(database.wait_for_failure(), PATIENCE_SECONDS)
    with pytest.raises(DatabaseUnavailable):
        await insert(store, a_task(id=99))
    assert await store.get_task(99) is None, "reads go on"
    cause = failed.value.__cause__
    return cause and cause.__cause__


async def test_an_unknown_outcome_is_not_mistaken_for_a_failure(
    database: Database, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to an executed COMMIT is lost, and then the database stays away."""
    undone: list[int] = []

    def work(transaction: WriteTransaction) -> None:
        transaction.on_rollback.append(lambda: undone.append(1))
        transaction.insert_tasks([a_task(id=1)])

    def lose(transaction: WriteTransaction) -> None:
        transaction.commit()
        raise CommitOutcomeUnknown

    async def away(_: Callable[[Connection], bool]) -> bool:
        raise DatabaseUnavailable

    monkeypatch.setattr(writer, "_RESOLVE_SECONDS", 0)
    monkeypatch.setattr(database._writer, "_read", away)
    with before_commit(lose):
        await ends_unavailable(store.begin(work))
    assert undone == []
    assert isinstance(await has_failed(database, store), DatabaseUnavailable)
    assert await store.get_task(1) == a_task(id=1)


def break_after_rollback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WriteTransaction, "after_rollback", fail)
    monkeypatch.setattr(WriteTransaction, "commit", fail)


def break_after_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WriteTransaction, "after_commit", fail)


def break_close(monkeypatch: pytest.MonkeyPatch) -> None:
    close = Connection.close

    def close_and_fail(connection: Connection) -> None:
        close(connection)
        raise ZeroDivisionError

    monkeypatch.setattr(Connection, "close", close_and_fail)


@pytest.mark.parametrize("break_it", [break_after_rollback, break_after_commit, break_close])
async def test_a_bug_of_the_writer_blocks_no_caller(
    database: Database,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    break_it: Callable[[pytest.MonkeyPatch], None],
) -> None:
    has_begun, may_go_on = asyncio.Event(), asyncio.Event()

    def hold(transaction: WriteTransaction) -> None:
        has_begun.set()
        await_only(asyncio.wait_for(may_go_on.wait(), PATIENCE_SECONDS))
        transaction.insert_tasks([a_task(id=1)])

    first = store.begin(hold)
    await asyncio.wait_for(has_begun.wait(), PATIENCE_SECONDS)
    others = [store.begin(partial(WriteTransaction.insert_tasks, tasks=[a_task(id=number)])) for number in (2, 3)]
    with monkeypatch.context() as broken:
        break_it(broken)
        may_go_on.set()
        await asyncio.gather(*map(ends_unavailable, [first, *others]))
    assert isinstance(await has_failed(database, store), ZeroDivisionError)
    assert [await store.get_task(task_id) for task_id in (2, 3)] == [None, None]
