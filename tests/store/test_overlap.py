"""A transaction that is decided while the one before is on its way: the same comes of it as one after the other."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
from sqlalchemy import Engine
from sqlalchemy.util import await_only
from support.builders import PATIENCE_SECONDS, TASK_TYPE, a_task, at
from support.databases import SERVERS
from support.stored import before_commit, in_transaction, insert, kill

from taskplane.server.core.task import Progress, TaskStatus
from taskplane.server.store.database import Database
from taskplane.server.store.driver_errors import AlreadyStored
from taskplane.server.store.live_rows import LiveRow
from taskplane.server.store.pending_transaction import PendingTransaction
from taskplane.server.store.store import Store
from taskplane.server.store.transaction import WriteTransaction

pytestmark = pytest.mark.parametrize("database", SERVERS, indirect=True)

Act = Callable[[WriteTransaction], None]


@asynccontextmanager
async def on_its_way(store: Store, decide: Act, then: Act = lambda _: None) -> AsyncIterator[PendingTransaction[None]]:
    """Begin a transaction and hold it before its COMMIT as long as the context lasts; `then` may act on it.

    Its owner has to say `published`.
    """
    has_come, may_go = asyncio.Event(), asyncio.Event()

    def hold(transaction: WriteTransaction) -> None:
        has_come.set()
        await_only(asyncio.wait_for(may_go.wait(), PATIENCE_SECONDS))
        then(transaction)

    with before_commit(hold):
        first = store.begin(decide)
        await asyncio.wait_for(has_come.wait(), PATIENCE_SECONDS)
        try:
            yield first
        finally:
            may_go.set()
            await first.durable()


class Noting:
    """Inserts a task, and notes whenever that is decided or undone."""

    def __init__(self, notes: list[str], task_id: int) -> None:
        self._notes = notes
        self._task_id = task_id
        self.has_decided = asyncio.Event()

    def __call__(self, transaction: WriteTransaction) -> None:
        self._notes.append(f"{self._task_id} decided")
        transaction.on_rollback.append(lambda: self._notes.append(f"{self._task_id} undone"))
        transaction.insert_tasks([a_task(id=self._task_id)])
        self.has_decided.set()


async def is_set(happened: asyncio.Event) -> None:
    await asyncio.wait_for(happened.wait(), PATIENCE_SECONDS)


async def settle() -> None:
    """Give what could go on the time to do so."""
    await asyncio.sleep(0.05)


async def test_the_next_one_is_decided_meanwhile_and_durable_later(store: Store) -> None:
    notes: list[str] = []
    second = Noting(notes, 2)
    async with on_its_way(store, Noting(notes, 1)) as first:
        later = store.begin(second)
        await is_set(second.has_decided)
        await settle()
        assert not later.decided.is_set(), "it keeps its place until the first is durable"
        assert not first.is_done
        assert await store.get_task(1) is None
    await later.durable()
    assert await store.get_task(2) == a_task(id=2)
    assert notes == ["1 decided", "2 decided"]


async def test_if_the_first_fails_both_are_undone_and_done_over_in_order(store: Store, engine: Engine) -> None:
    notes: list[str] = []
    second = Noting(notes, 2)
    async with on_its_way(store, Noting(notes, 1), partial(kill, engine)) as first:
        later = store.begin(second)
        await is_set(second.has_decided)
    first.published()
    await later.durable()
    assert notes == ["1 decided", "2 decided", "2 undone", "1 undone", "1 decided", "2 decided"]
    assert [await store.get_task(task_id) for task_id in (1, 2)] == [a_task(id=1), a_task(id=2)]


async def test_after_a_failure_the_next_one_is_not_decided_before_all_have_heard_of_the_first(
    store: Store, engine: Engine
) -> None:
    """Listeners would take a slot for the first that the next one has given back already."""
    notes: list[str] = []
    second = Noting(notes, 2)
    async with on_its_way(store, Noting(notes, 1), partial(kill, engine)) as first:
        later = store.begin(second)
        await is_set(second.has_decided)
    await settle()
    notes.append("1 told")
    first.published()
    await later.durable()
    assert notes == [
        *("1 decided", "2 decided", "2 undone", "1 undone"),
        *("1 decided", "1 told", "2 decided"),
    ]


async def test_a_first_that_fails_for_good_does_not_take_the_next_one_along(store: Store) -> None:
    await insert(store, a_task(id=1))
    first = store.begin(lambda transaction: transaction.insert_tasks([a_task(id=1)]))
    await first.decided.wait()
    second = store.begin(lambda transaction: transaction.insert_tasks([a_task(id=2)]))
    with pytest.raises(AlreadyStored):
        await first.durable()
    first.published()
    await second.durable()
    assert await store.get_task(2) == a_task(id=2)


async def test_a_row_that_the_first_adds_is_not_added_twice(store: Store) -> None:
    tries: list[bool] = []

    def again(transaction: WriteTransaction) -> None:
        tries.append(transaction.is_retry)
        transaction.insert_tasks([] if transaction.is_retry else [a_task(id=1)])

    async with on_its_way(store, lambda transaction: transaction.insert_tasks([a_task(id=1)])) as first:
        later = store.begin(again)
    first.published()
    await later.durable()
    assert tries == [False, True]


async def test_a_task_that_the_first_changes_is_not_looked_at_before_all_have_heard(store: Store) -> None:
    before, after = a_task(id=1, revision=1), a_task(id=1, revision=2, priority=9)
    await insert(store, before, a_task(id=2))

    def change(transaction: WriteTransaction) -> None:
        transaction.load_tasks([1])
        transaction.update_tasks([after])

    async with on_its_way(store, change) as first:
        found = store.begin(lambda transaction: transaction.load_tasks([1, 2])[1])
    await settle()
    assert first.is_done
    assert not found.is_done
    first.published()
    assert await found.durable() == after


async def test_the_queue_is_not_looked_at_before_all_have_heard(store: Store) -> None:
    async with on_its_way(store, lambda each: each.insert_tasks([a_task(id=1, queued_at=at(0))])) as first:
        found = store.begin(lambda transaction: transaction.lock_queued([TASK_TYPE], at(3600), 10))
    await settle()
    assert not found.is_done, "it would be passed over"
    first.published()
    assert [each.task_id for each in await found.durable()] == [1]


async def test_other_writes_come_after_what_was_decided_before(store: Store) -> None:
    """News of an attempt changes a row under the same revision: the first must not be kept in memory over it."""
    running, progress = a_task(TaskStatus.RUNNING, id=1, attempt=1, revision=2), Progress(0.5, "half", at(9))
    await insert(store, a_task(id=1, revision=1))

    def start(transaction: WriteTransaction) -> None:
        transaction.load_tasks([1])
        transaction.update_tasks([running])

    async with on_its_way(store, start) as first:
        news = asyncio.ensure_future(store.save_live([LiveRow(1, 1, progress, None, "", None)]))
        await settle()
        assert not news.done()
    await news
    first.published()
    assert (await in_transaction(store, lambda transaction: transaction.load_tasks([1])))[1].progress == progress


async def test_numbers_never_repeat_when_the_transaction_that_fetched_them_fails(
    store: Store, database: Database, engine: Engine
) -> None:
    """The block is rolled back with it, and the one after it has taken from that block already."""
    given: list[int] = []

    def take(transaction: WriteTransaction) -> int:
        (number,) = transaction.next_task_ids(1)
        given.append(number)
        transaction.insert_tasks([a_task(id=number)])
        return number

    async with on_its_way(store, lambda transaction: given.append(take(transaction)), partial(kill, engine)) as first:
        later = store.begin(take)
        await settle()
    first.published()
    last = await later.durable()
    assert last == max(given)
    other = Store(database)
    assert await in_transaction(other, take) > last
