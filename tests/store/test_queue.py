"""The queue: order, due tasks, and two servers that scan at the same time."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text
from support.builders import NOW, TASK_TYPE, a_task, at
from support.databases import SERVERS
from support.stored import in_transaction, insert

from taskplane.server.core.delayed_tasks import DelayedTask
from taskplane.server.core.task import Task, TaskStatus
from taskplane.server.core.task_queue import QueuedTask, queue_key_of
from taskplane.server.store.database import Database
from taskplane.server.store.id_blocks import IdBlocks
from taskplane.server.store.pending_transaction import TransactionStart
from taskplane.server.store.store import Store
from taskplane.server.store.task_cache import TaskCache
from taskplane.server.store.transaction import WriteTransaction

# SQLite locks the whole database, so these tests do not apply.
on_servers = pytest.mark.parametrize("database", SERVERS, indirect=True)

PENDING, PAUSED = TaskStatus.PENDING, TaskStatus.PAUSED


def queued(task_id: int, seconds: float = 0, status: TaskStatus = PENDING, **changes: object) -> Task:
    return a_task(status, **{"id": task_id, "queued_at": at(seconds), **changes})


async def scanned(store: Store, limit: int = 100) -> list[int]:
    found = await in_transaction(store, lambda each: each.lock_queued([TASK_TYPE], NOW, limit))
    return [each.task_id for each in found]


async def test_the_highest_priority_comes_first_then_the_oldest(store: Store) -> None:
    await insert(
        store,
        queued(1, 3, priority=0),
        queued(2, 2, priority=0),
        queued(3, 9, priority=7),
        queued(4, 1, PAUSED, priority=0),
        queued(5, 10, PAUSED, priority=7),
        queued(6, 2, priority=0),
    )
    assert await scanned(store) == [3, 5, 4, 2, 6, 1]
    assert await scanned(store, limit=2) == [3, 5]


async def test_delayed_tasks_come_in_the_order_in_which_their_delays_end(store: Store) -> None:
    await insert(
        store,
        queued(1),
        queued(2, not_before=at(30), priority=9),
        queued(3, not_before=at(10), task_type="VIDEO", unit_labels={"gpu": "yes"}),
        queued(4, status=PAUSED, not_before=at(20)),
        queued(5, not_before=at(10)),
        queued(6, not_before=at(-1)),
        a_task(id=7, not_before=at(15)),
    )
    page = await store.delayed_tasks(DelayedTask(NOW, 0), 3)
    assert [(when, each.task_id) for when, each in page] == [(at(10), 3), (at(10), 5), (at(20), 4)]
    assert page[0][1].kind == ("VIDEO", frozenset({("gpu", "yes")}))
    rest = await store.delayed_tasks(DelayedTask(at(10), 4), 9)
    assert [each.task_id for _, each in rest] == [5, 4, 2]


async def test_only_due_queued_tasks_are_returned(store: Store) -> None:
    await insert(
        store,
        a_task(id=1),
        queued(2, task_type="VIDEO"),
        queued(3, not_before=at(0.000001)),
        queued(4, not_before=NOW),
        *(a_task(status, id=number) for number, status in enumerate(TaskStatus, 5)),
    )
    assert await scanned(store) == [4]


async def test_queued_tasks_have_their_key_type_and_labels(store: Store) -> None:
    tasks = [
        queued(1, 5.000001, priority=-3, unit_labels={"größe": '"9"'}),
        queued(2, 7, priority=-4, task_type="VIDEO"),
    ]
    await insert(store, *tasks)
    found = await in_transaction(store, lambda each: each.lock_queued([TASK_TYPE, "VIDEO"], NOW, 10))
    assert found == [QueuedTask.of(task) for task in tasks]


queues = st.lists(
    st.tuples(st.sampled_from([PENDING, PAUSED]), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12
)


@given(queues)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_order_is_the_same_for_every_status(
    store: Store, waiting: Sequence[tuple[TaskStatus, int, int]]
) -> None:
    tasks = [
        queued(number, seconds, status, priority=priority)
        for number, (status, priority, seconds) in enumerate(waiting, 1)
    ]
    in_order = sorted(map(QueuedTask.of, tasks))
    firsts: list[list[QueuedTask]] = []
    others: list[list[QueuedTask]] = []

    def scan(transaction: WriteTransaction) -> None:
        transaction.insert_tasks(tasks)
        transaction._buffer.send()
        firsts[:] = (transaction.lock_queued([TASK_TYPE], NOW, limit) for limit in range(len(tasks) + 2))
        others[:] = (transaction.lock_queued([TASK_TYPE], NOW, 100, each.queue_key) for each in in_order)
        raise RolledBack  # each example starts with an empty table

    with pytest.raises(RolledBack):
        await in_transaction(store, scan)
    assert firsts == [in_order[:limit] for limit in range(len(tasks) + 2)]
    assert others == [in_order[number:] for number in range(1, len(tasks) + 1)]


class RolledBack(Exception):
    """The transaction must leave nothing."""


def lock(connection: Connection, *task_ids: int) -> None:
    WriteTransaction(TransactionStart(connection), IdBlocks(), TaskCache()).load_tasks(task_ids)


@on_servers
async def test_a_scan_skips_tasks_locked_by_another_server(store: Store, engine: Engine) -> None:
    await insert(store, *(queued(number, number) for number in range(1, 6)))
    with engine.connect() as other:
        lock(other, 1, 3)
        assert await scanned(store, limit=2) == [2, 4]
    assert await scanned(store, limit=2) == [1, 2]


@on_servers
async def test_a_scan_locks_no_more_than_it_returns(store: Store, engine: Engine) -> None:
    """With a sort, the scan would lock every row it reads, and other servers would find nothing."""
    await insert(store, *(queued(number, number, priority=number % 3) for number in range(1, 201)))
    with engine.connect() as other:
        transaction = WriteTransaction(TransactionStart(other), IdBlocks(), TaskCache())
        mine = transaction.lock_queued([TASK_TYPE], NOW, 5)
        mine += transaction.lock_queued([TASK_TYPE], NOW, 5, queue_key_of(queued(100, 100, priority=1)))
        theirs = await scanned(store, limit=200)
    assert len(theirs) == 190
    assert not {each.task_id for each in mine} & set(theirs)


@on_servers
async def test_tasks_loaded_by_id_are_locked_until_the_end_of_the_transaction(
    store: Store, database: Database, engine: Engine
) -> None:
    await insert(Store(database), queued(1))
    wait = text("SELECT id FROM tasks WHERE id = 1 FOR UPDATE SKIP LOCKED")

    def scan(transaction: WriteTransaction) -> bool:
        locked = transaction.load_tasks([1, 2])
        with engine.connect() as other:
            return set(locked) == {1} and other.execute(wait).first() is None

    assert await in_transaction(store, scan), "no other session gets the row until the transaction ends"
    with engine.connect() as other:
        assert other.execute(wait).first() is not None


async def test_the_tasks_of_a_unit_are_running_or_paused(store: Store) -> None:
    tasks = [a_task(status, id=number, execution_unit_id="mine") for number, status in enumerate(TaskStatus, 1)]
    await insert(store, *tasks, replace(tasks[1], id=20, execution_unit_id="Mine"), a_task(TaskStatus.RUNNING, id=21))
    found = await in_transaction(store, lambda each: each.lock_running_on("mine"))
    assert {task.status for task in found} == {TaskStatus.RUNNING, PAUSED}
    assert {task.execution_unit_id for task in found} == {"mine"}
    assert len(found) == 2
