"""Statistics of tasks: current counts, and endings within a window."""

from collections.abc import Sequence

import pytest
from support.builders import a_task, at
from support.stored import in_transaction, insert

from taskplane.server.core.task import Task, TaskStatus, Transition
from taskplane.server.store import statistics
from taskplane.server.store.statistics import Ended, Queue, TaskStatistics
from taskplane.server.store.store import Store

SINCE = at(0)


def ended(number: int, status: TaskStatus = TaskStatus.SUCCESS, *, seconds: float, **changes: object) -> Task:
    """Return a task that ended a number of seconds after SINCE."""
    return a_task(status, id=number, completed_at=at(seconds), **changes)


def moved(task: Task, to: TaskStatus, seconds: float) -> Transition:
    return Transition(task.id, TaskStatus.RUNNING, to, at(seconds), "unit:unit-1", "as it goes", attempt=1)


async def insert_with_history(store: Store, tasks: Sequence[Task], *transitions: Transition) -> None:
    """Store tasks, final ones with their last transition, and more transitions."""
    ends = [
        moved(task, task.status, (task.completed_at - SINCE).total_seconds()) for task in tasks if task.completed_at
    ]
    await insert(store, *tasks)
    rows = [each.numbered(number) for number, each in enumerate((*ends, *transitions), 1)]
    await in_transaction(store, lambda transaction: transaction.insert_transitions(rows))


async def figures(store: Store, task_type: str = "") -> TaskStatistics:
    return await store.task_statistics(SINCE, task_type)


async def test_without_tasks_all_figures_are_zero(store: Store) -> None:
    for task_type in ("", "A"):
        found = await figures(store, task_type)
        assert dict(found.by_status) == dict.fromkeys(TaskStatus, 0)
        assert (found.queue, found.ended, found.failures) == (Queue(0, None), Ended(0, 0, 0.0), 0)


async def test_tasks_are_counted_by_status_in_the_order_of_the_statuses(store: Store) -> None:
    statuses = [status for number, status in enumerate(TaskStatus, 1) for _ in range(number)]
    types = ["A", *["B"] * (len(statuses) - 1)]
    tasks = [
        a_task(status, id=number, task_type=task_type)
        for number, (status, task_type) in enumerate(zip(statuses, types, strict=True), 1)
    ]
    await insert(store, *tasks)
    assert list((await figures(store)).by_status.items()) == [
        (status, number) for number, status in enumerate(TaskStatus, 1)
    ]
    assert list((await figures(store, "B")).by_status.values()) == [0, 2, 3, 4, 5, 6]
    assert list((await figures(store, "b")).by_status.values()) == [0] * 6


async def test_the_count_of_a_status_stops_at_its_cap(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "STATUS_COUNT_CAP", 3)
    await insert(store, *(a_task(id=number) for number in range(1, 6)))
    await insert(store, *(a_task(TaskStatus.RUNNING, id=number) for number in range(6, 9)))
    assert list((await figures(store)).by_status.values()) == [3, 3, 0, 0, 0, 0]


async def test_the_queue_counts_queued_tasks(store: Store) -> None:
    await insert(
        store,
        a_task(id=1),
        a_task(id=2, queued_at=at(3), task_type="A", priority=9),
        a_task(TaskStatus.PAUSED, id=3, queued_at=at(2.5)),
        a_task(TaskStatus.RUNNING, id=4),
    )
    assert (await figures(store)).queue == Queue(2, at(2.5))
    assert (await figures(store, "A")).queue == Queue(1, at(3))


async def test_endings_in_the_window_are_counted_with_their_active_time(store: Store) -> None:
    tasks = [
        ended(1, seconds=-1e-6, active_seconds=100.0),
        ended(2, seconds=0, active_seconds=1.0),
        ended(3, TaskStatus.FAILED, seconds=1, active_seconds=2.5, task_type="A"),
        ended(4, TaskStatus.CANCELLED, seconds=2),
        ended(5, seconds=3, active_seconds=4.0, task_type="A"),
        a_task(TaskStatus.RUNNING, id=6, active_seconds=50.0),
    ]
    await insert_with_history(store, tasks)
    assert (await figures(store)).ended == Ended(4, 2, 7.5)
    assert (await figures(store, "A")).ended == Ended(2, 1, 6.5)
    assert (await figures(store)).failures == 1


async def test_a_task_counts_once_and_only_if_it_is_final(store: Store) -> None:
    twice = ended(1, TaskStatus.CANCELLED, seconds=5, active_seconds=1.0)
    restarted = a_task(id=2)
    before = ended(3, seconds=-5)
    await insert_with_history(
        store,
        [twice, restarted, before],
        moved(twice, TaskStatus.CANCELLED, 5),  # in the same transaction: cancelled, restarted and cancelled again
        moved(twice, TaskStatus.FAILED, 1),
        moved(restarted, TaskStatus.CANCELLED, 1),
        moved(before, TaskStatus.PAUSED, -6),
    )
    assert (await figures(store)).ended == Ended(1, 0, 1.0)


async def test_every_attempt_that_failed_in_the_window_is_a_failure(store: Store) -> None:
    retried, other = a_task(TaskStatus.RUNNING, id=1), a_task(TaskStatus.RUNNING, id=2, task_type="A")
    await insert_with_history(
        store,
        [retried, other],
        *(moved(retried, TaskStatus.FAILED, seconds) for seconds in (-1, 0, 1, 2)),
        moved(other, TaskStatus.FAILED, 1),
        moved(other, TaskStatus.PAUSED, 1),
    )
    assert (await figures(store)).failures == 4
    assert (await figures(store, "A")).failures == 1
