"""Ids and revisions are unique and grow, over failures, restarts and several servers."""

from itertools import pairwise

import pytest
from support.builders import a_task
from support.stored import in_transaction, insert

from taskplane.server.store.database import Database
from taskplane.server.store.store import Store
from taskplane.server.store.transaction import WriteTransaction


class Undone(Exception):
    """The transaction must be rolled back."""


async def take(store: Store, *counts: int) -> list[int]:
    """Take a number of task ids in one transaction."""
    return await in_transaction(
        store, lambda transaction: [each for count in counts for each in transaction.next_task_ids(count)]
    )


def grows(ids: list[int]) -> bool:
    return all(before < after for before, after in pairwise(ids))


async def test_ids_begin_at_one_and_are_consecutive(store: Store, database: Database) -> None:
    first = await take(store, 1, 2)
    assert first[1:] == [first[0] + 1, first[0] + 2]
    if database.engine.dialect.name == "sqlite":  # the databases of servers are shared
        assert first == [1, 2, 3]


@pytest.mark.parametrize("count", [1, 700, 1000, 1001, 2500])
async def test_ids_never_repeat_for_any_number_at_once(store: Store, count: int) -> None:
    ids = [each for _ in range(4) for each in await take(store, count)]
    assert len(ids) == 4 * count
    assert grows(ids)


@pytest.mark.parametrize("lost", [1, 600, 1001])
async def test_ids_never_repeat_after_a_transaction_that_failed(store: Store, lost: int) -> None:
    """The reservation of the block is rolled back too, so the rest of the block must not be used."""
    ids: list[int] = []
    for _ in range(3):
        with pytest.raises(Undone):
            await in_transaction(store, lambda transaction: _take_and_fail(transaction, lost))
        for _ in range(4):
            ids += await take(store, 400)
    assert grows(ids)


def _take_and_fail(transaction: WriteTransaction, count: int) -> None:
    transaction.next_task_ids(count)
    raise Undone


async def test_two_servers_never_assign_the_same_id(store: Store, database: Database) -> None:
    servers = [store, Store(database), Store(database)]
    ids = [each for _ in range(5) for server in servers for each in await take(server, 400)]
    assert len(set(ids)) == len(ids) == 5 * 3 * 400


async def test_a_server_that_stops_in_order_returns_unused_ids(store: Store, database: Database) -> None:
    first = await in_transaction(
        store, lambda transaction: (transaction.next_task_ids(3), transaction.next_revisions(5))
    )
    await store.return_unused_ids()
    assert await store.latest_revision() == first[1][-1]
    following = Store(database)
    ids, revisions = await in_transaction(
        following, lambda transaction: (transaction.next_task_ids(1), transaction.next_revisions(1))
    )
    assert ids[0] == first[0][-1] + 1
    assert revisions[0] == first[1][-1] + 1


async def test_returned_ids_are_not_assigned_here_again(store: Store, database: Database) -> None:
    ids = await take(store, 3)
    await store.return_unused_ids()
    for server in (Store(database), store, Store(database)):
        ids += await take(server, 400)
        await store.return_unused_ids()
    assert grows(ids)


async def test_a_block_with_successors_is_not_returned(store: Store, database: Database) -> None:
    ids = await take(store, 3) + await take(Store(database), 3)
    await store.return_unused_ids()
    assert grows(ids + await take(store, 3))


async def test_ids_and_revisions_are_counted_separately(store: Store) -> None:
    def work(transaction: WriteTransaction) -> tuple[range, range]:
        return transaction.next_task_ids(3), transaction.next_revisions(5)

    (ids, revisions), (more_ids, more_revisions) = await in_transaction(store, work), await in_transaction(store, work)
    assert more_ids[0] == ids[-1] + 1
    assert more_revisions[0] == revisions[-1] + 1


async def test_no_assigned_revision_is_above_the_latest(store: Store) -> None:
    given = await in_transaction(store, lambda transaction: transaction.next_revisions(5))
    latest = await store.latest_revision()
    assert latest >= given[-1]
    await insert(store, a_task(revision=given[0]))
    await in_transaction(store, lambda transaction: transaction.delete_tasks([1]))
    assert await store.latest_revision() == latest
