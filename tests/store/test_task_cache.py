"""Recently written tasks are not read again, unless another server has changed them."""

import pytest
from sqlalchemy import Engine, text
from support.builders import a_checkpoint, a_task, at
from support.databases import SERVERS
from support.stored import in_transaction, insert, update

from taskplane.server.core.task import Progress, Task, TaskStatus
from taskplane.server.store.database import Database
from taskplane.server.store.live_rows import LiveRow
from taskplane.server.store.store import Store
from taskplane.server.store.task_cache import MOST_CONFIG_CHARACTERS, TaskCache
from taskplane.server.store.transaction import WriteTransaction

RUNNING = TaskStatus.RUNNING

on_servers = pytest.mark.parametrize("database", SERVERS, indirect=True)


async def locked(store: Store, *task_ids: int) -> list[Task]:
    return [*(await in_transaction(store, lambda transaction: transaction.load_tasks(task_ids))).values()]


async def test_a_just_written_task_is_not_read(store: Store, statements: list[str]) -> None:
    tasks = [a_task(id=number) for number in (1, 2)]
    await insert(store, *tasks)
    statements.clear()
    assert await locked(store, 1, 2) == tasks
    assert not any("task_name" in each for each in statements)


@on_servers
async def test_a_cached_task_is_changed_in_one_round_trip(store: Store, statements: list[str]) -> None:
    await insert(store, a_task(id=1, revision=1))
    statements.clear()
    await update(store, a_task(id=1, revision=2, priority=9))
    (message,) = statements
    assert "UPDATE tasks" in message


async def test_a_decision_on_a_stale_task_is_retried(store: Store, engine: Engine) -> None:
    await insert(store, *(a_task(id=number, revision=number) for number in (1, 2)))
    with engine.begin() as other:
        other.execute(text("UPDATE tasks SET priority = 5, revision = 6, updated_at = updated_at WHERE id = 1"))
    seen: list[int] = []

    def add_one(transaction: WriteTransaction) -> None:
        tasks = transaction.load_tasks([1, 2])
        seen.append(tasks[1].priority)
        transaction.update_tasks(
            [task.but(priority=task.priority + 1, revision=task.revision + 7) for task in tasks.values()]
        )

    await in_transaction(store, add_one)
    assert seen[-1] == 5
    assert [task and task.priority for task in (await store.get_task(1), await store.get_task(2))] == [6, 1]


async def test_decisions_before_a_task_is_read_again_are_checked_too(store: Store, engine: Engine) -> None:
    await insert(store, a_task(RUNNING, id=1, revision=1, execution_unit_id="unit-1"))
    with engine.begin() as other:
        other.execute(text("UPDATE tasks SET priority = 5, revision = 6, updated_at = updated_at"))

    def add_one(transaction: WriteTransaction) -> None:
        task = transaction.load_tasks([1])[1]
        transaction.lock_running_on("unit-1")
        transaction.update_tasks([task.but(priority=task.priority + 1, revision=task.revision + 7)])

    await in_transaction(store, add_one)
    stored = await store.get_task(1)
    assert stored
    assert stored.priority == 6


async def test_a_task_changed_by_another_server_is_not_deleted(store: Store, engine: Engine) -> None:
    await insert(store, a_task(id=1, revision=1))
    with engine.begin() as other:
        other.execute(text("UPDATE tasks SET priority = 5, revision = 6, updated_at = updated_at"))

    def delete_unless_urgent(transaction: WriteTransaction) -> None:
        transaction.delete_tasks([task.id for task in transaction.load_tasks([1]).values() if task.priority < 5])

    await in_transaction(store, delete_unless_urgent)
    assert await store.get_task(1)


async def test_uncached_tasks_are_read_together_with_cached_ones(store: Store, database: Database) -> None:
    await insert(store, a_task(id=1))
    await insert(Store(database), a_task(id=2))
    assert await locked(store, 1, 2, 3) == [a_task(id=1), a_task(id=2)]


async def test_a_task_changed_by_another_server_is_read(store: Store, engine: Engine) -> None:
    await insert(store, a_task(id=1, revision=5))
    with engine.begin() as other:
        other.execute(text("UPDATE tasks SET priority = 9, revision = 6, updated_at = updated_at"))
    assert await locked(store, 1) == [a_task(id=1, revision=6, priority=9)]


async def test_a_task_deleted_by_another_server_is_missing(store: Store, engine: Engine) -> None:
    await insert(store, a_task(id=1))
    with engine.begin() as other:
        other.execute(text("DELETE FROM tasks"))
    assert await locked(store, 1) == []


async def test_live_progress_is_not_missed(store: Store) -> None:
    task, progress = a_task(RUNNING, attempt=1), Progress(0.5, "half", at(9))
    await insert(store, task)
    await store.save_live([LiveRow(task.id, 1, progress, None, "", None)])
    (found,) = await locked(store, task.id)
    assert found.progress == progress


async def test_a_failed_transaction_leaves_nothing_in_the_cache(store: Store) -> None:
    await insert(store, a_task(id=1))

    def work(transaction: WriteTransaction) -> None:
        transaction.load_tasks([1])
        transaction.update_tasks([a_task(id=1, priority=9)])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await in_transaction(store, work)
    assert await locked(store, 1) == [a_task(id=1)]


async def test_only_the_columns_that_differ_are_written(store: Store, statements: list[str]) -> None:
    before, other = a_task(id=1), a_task(id=2)
    await insert(store, before, other)
    statements.clear()
    await update(store, before.but(priority=3, revision=7), other.but(error_message="no", revision=8))
    updates = [part for each in statements for part in each.split(";\n") if part.startswith("UPDATE")]
    assert len(updates) == 2, "one for those in which the same columns change"
    columns = [each.partition(" SET ")[2] for each in updates]
    assert "priority" in columns[0]
    assert "error_message" not in columns[0]
    assert "task_type" not in "".join(columns)
    assert await store.get_task(1) == before.but(priority=3, revision=7)


def test_the_cache_is_bounded_and_holds_no_final_task() -> None:
    task_cache = TaskCache(most=2)
    first, second, third = (a_task(id=number, revision=number) for number in (1, 2, 3))
    task_cache.put([first, second])
    task_cache.put([first, third])
    assert [task.id for task in (first, second, third) if task_cache.get(task.id)] == [1, 3]
    task_cache.put([a_task(TaskStatus.SUCCESS, id=1, revision=4)])
    assert task_cache.get(1) is None
    task_cache.evict([3, 8])
    assert task_cache.get(3) is None


@pytest.mark.parametrize(
    ("config", "is_kept"),
    [
        ({"inputPath": "/data/users.csv", "rules": ["email", 1, None]}, True),
        ({"text": "x" * MOST_CONFIG_CHARACTERS}, False),
        ({"x" * MOST_CONFIG_CHARACTERS: 1}, False),
        ({"numbers": list(range(MOST_CONFIG_CHARACTERS))}, False),
        ({"deep": [{"er": ["x" * 1000] * 5}]}, False),
    ],
)
def test_a_task_with_a_large_config_is_not_cached(config: dict[str, object], *, is_kept: bool) -> None:
    task_cache = TaskCache()
    task_cache.put([a_task(id=1, config=config)])
    assert (task_cache.get(1) is not None) is is_kept
    task_cache.put([a_task(id=1, config=config).but(revision=2)])
    assert (task_cache.get(1) is not None) is is_kept


def test_the_data_of_a_checkpoint_is_not_cached() -> None:
    task_cache = TaskCache()
    task_cache.put([a_task(id=1, checkpoint=a_checkpoint(1, data={"row": 1}))])
    task = task_cache.get(1)
    assert task
    assert task.checkpoint
    assert task.checkpoint.data is None
