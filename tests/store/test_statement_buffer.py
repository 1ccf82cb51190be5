"""Buffered writes are executed together, in order, or not at all."""

from collections.abc import Sequence

import pytest
from support.builders import a_task
from support.databases import SERVERS
from support.stored import in_transaction, insert

from taskplane.server.store.dialects.mysql_statements import MOST_CHARACTERS
from taskplane.server.store.driver_errors import AlreadyStored
from taskplane.server.store.store import Store
from taskplane.server.store.transaction import WriteTransaction

on_servers = pytest.mark.parametrize("database", SERVERS, indirect=True)


@on_servers
async def test_the_writes_of_a_transaction_are_one_message(store: Store, statements: Sequence[str]) -> None:
    def work(transaction: WriteTransaction) -> None:
        transaction.insert_tasks([a_task(id=1)])
        transaction.insert_tasks([a_task(id=2), a_task(id=3)])

    await in_transaction(store, work)
    (message,) = (each for each in statements if "INSERT" in each)
    assert message.count("INSERT INTO tasks") == 2
    assert [task_id for task_id in range(5) if await store.get_task(task_id)] == [1, 2, 3]


async def test_a_failing_statement_rolls_back_the_statements_before(store: Store) -> None:
    await insert(store, a_task(id=2))

    def work(transaction: WriteTransaction) -> None:
        transaction.insert_tasks([a_task(id=1)])
        transaction.insert_tasks([a_task(id=2)])
        transaction.insert_tasks([a_task(id=3)])

    with pytest.raises(AlreadyStored):
        await in_transaction(store, work)
    assert [task_id for task_id in range(5) if await store.get_task(task_id)] == [2]


@on_servers
async def test_long_writes_are_split_into_several_messages(store: Store, statements: Sequence[str]) -> None:
    tasks = [a_task(id=number, config={"text": f"{number}" + "x" * (MOST_CHARACTERS // 2)}) for number in range(1, 6)]
    await insert(store, *tasks)
    assert max(map(len, statements)) < 2 * MOST_CHARACTERS
    for task in tasks:
        assert await store.get_task(task.id) == task
