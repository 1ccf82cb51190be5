"""Overlapping transactions have the same result as transactions one after the other."""

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
    """Begin a transaction and delay its COMMIT until the end of the context; `then` may act on the transaction.

    The caller must call `published`.
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
    """Inserts a task, and records each decision and rollback."""

    def __init__(self, notes: list[str], task_id: int) -> None:
        self._notes = notes
        self._task_id = task_id
        self.has_decided = asyncio.Event()

    def __call__(self, transaction: WriteTransaction) -> None:
        self._notes.append(f"{self._task_id} decided")
        transaction.on_rollback.append(lambda: self._notes.append(f"{self._task_id} rolled back"))
        transaction.insert_tasks([a_task(id=self._task_id)])
        self.has_decided.set()


async def is_set(happened: asyncio.Event) -> None:
    await asyncio.wait_for(happened.wait(), PATIENCE_SECONDS)


async def settle() -> None:
    """Give other asyncio tasks time to run."""
    await asyncio.sleep(0.05)


async def test_the_second_is_decided_early_and_durable_later(store: Store) -> None:
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


async def test_if_the_first_fails_both_are_rolled_back_and_retried_in_order(store: Store, engine: Engine) -> None:
    notes: list[str] = []
    second = Noting(notes, 2)
    async with on_its_way(store, Noting(notes, 1), partial(kill, engine)) as first:
        later = store.begin(second)
        await is_set(second.has_decided)
    first.published()
    await later.durable()
    assert notes == ["1 decided", "2 decided", "2 rolled back", "1 rolled back", "1 decided", "2 decided"]
    assert [await store.get_task(task_id) for task_id in (1, 2)] == [a_task(id=1), a_task(id=2)]


async def test_after_a_failure_the_second_is_decided_only_after_the_first_is_published(
    store: Store, engine: Engine
) -> None:
    """Otherwise listeners would count a slot as taken by the first after the second has freed it."""
    notes: list[str] = []
    second = Noting(notes, 2)
    async with on_its_way(store, Noting(notes, 1), partial(kill, engine)) as first:
        later = store.begin(second)
        await is_set(second.has_decided)
    await settle()
    notes.append("1 published")
    first.published()
    await later.durable()
    assert notes == [
        *("1 decided", "2 decided", "2 rolled back", "1 rolled back"),
        *("1 decided", "1 published", "2 decided"),
    ]


async def test_a_final_failure_of_the_first_does_not_fail_the_second(store: Store) -> None:
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


async def test_a_task_changed_by_the_first_is_read_only_after_publication(store: Store) -> None:
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


async def test_the_queue_is_read_only_after_publication(store: Store) -> None:
    async with on_its_way(store, lambda each: each.insert_tasks([a_task(id=1, queued_at=at(0))])) as first:
        found = store.begin(lambda transaction: transaction.lock_queued([TASK_TYPE], at(3600), 10))
    await settle()
    assert not found.is_done, "it would be passed over"
    first.published()
    assert [each.task_id for each in await found.durable()] == [1]


async def test_other_writes_follow_earlier_decisions(store: Store) -> None:
    """Live progress keeps the revision, so the cache must not keep the first transaction's version."""
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


async def test_ids_never_repeat_when_the_reserving_transaction_fails(
    store: Store, database: Database, engine: Engine
) -> None:
    """The reservation of the block is rolled back, and the second transaction has already taken ids of the block."""
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
