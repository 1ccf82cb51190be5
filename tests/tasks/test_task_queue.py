"""Queued tasks get free slots in the transaction that frees them, without a read of the table."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import pytest
from support.actions import AT_ONCE, REPORTS, do
from support.builders import ALICE, PATIENCE_SECONDS, TASK_TYPE, a_spec, an_offer, attempt_ref_of
from support.stored import in_transaction
from support.writer import CountingStore, DispatchingStates, HeldCommit

from taskplane.server.core import task_queue
from taskplane.server.core.effect import Effect
from taskplane.server.core.placement import Slots
from taskplane.server.core.task import Task, TaskStatus, Verb
from taskplane.server.core.task_queue import QueuedTask, QueueKey, TaskQueue
from taskplane.server.store.database import Database
from taskplane.server.store.reading import TaskFilter
from taskplane.server.store.store import Store
from taskplane.server.store.transaction import WriteTransaction
from taskplane.server.tasks import dispatcher, group_commit
from taskplane.server.tasks.group_commit import GroupCommit
from taskplane.server.tasks.mutations import ChangeTask, CreateTasks
from taskplane.server.tasks.progress_cache import ProgressCache
from taskplane.server.tasks.unit_of_work import CommittedEvent, UnitOfWork

PENDING, RUNNING, SUCCESS, FAILED, PAUSED, CANCELLED = TaskStatus


@pytest.fixture
def url(database_url: str) -> str:
    return database_url


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the rows in each read of the queue."""
    asked: list[int] = []
    lock_queued = WriteTransaction.lock_queued

    def noting(
        transaction: WriteTransaction, types: Sequence[str], now: datetime, limit: int, after: QueueKey
    ) -> object:
        asked.append(limit)
        return lock_queued(transaction, types, now, limit, after)

    monkeypatch.setattr(WriteTransaction, "lock_queued", noting)
    return asked


def reported(what: str, task: Task) -> ChangeTask:
    def change(each: Task, now: datetime) -> Effect:
        return REPORTS[what](each, attempt_ref_of(each), now)

    return ChangeTask(task.id, change)


async def status_of(store: Store, *tasks: Task) -> list[TaskStatus | None]:
    return [found.status if found else None for found in [await store.get_task(task.id) for task in tasks]]


async def started(states: DispatchingStates, count: int) -> list[Task]:
    """Tasks to start, with one slot for all of them."""
    states.slots.offer(an_offer(capacity=1))
    return await states.create([a_spec(start=True)] * count, ALICE)


@pytest.mark.parametrize("report", ["succeeded", "failed for good", "paused", "cancelled", "failed"])
async def test_a_task_that_stops_running_makes_room_in_its_own_transaction(
    states: DispatchingStates, commits: GroupCommit, store: CountingStore, report: str
) -> None:
    first, second = await started(states, 2)
    assert (first.status, second.status) == (RUNNING, PENDING)
    before = store.transactions
    await commits.submit(reported(report, first))
    assert store.transactions == before + 1
    assert await status_of(store, second) == [RUNNING]
    assert states.slots.free([TASK_TYPE]) == 0


async def test_a_slot_that_a_failed_transaction_freed_is_in_use_still(
    states: DispatchingStates, commits: GroupCommit, store: CountingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await started(states, 2)
    with monkeypatch.context() as broken:
        broken.setattr(UnitOfWork, "write", lambda _: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            await commits.submit(reported("succeeded", first))
    assert states.slots.free([TASK_TYPE]) == 0
    assert await status_of(store, first, second) == [RUNNING, PENDING]
    await commits.submit(reported("succeeded", first))
    assert await status_of(store, first, second) == [SUCCESS, RUNNING]


async def test_the_table_is_asked_once_and_then_what_comes_and_goes_is_known(
    states: DispatchingStates, commits: GroupCommit, store: CountingStore, reads: list[int]
) -> None:
    tasks = await started(states, 4)
    await states.change(tasks[2].id, lambda task, now: do(Verb.CANCEL, task, now))
    tasks += await commits.submit(CreateTasks([a_spec(start=True, priority=9)], ALICE))
    for task in (tasks[0], tasks[4], tasks[1], tasks[3]):
        assert await status_of(store, task) == [RUNNING]
        await commits.submit(reported("succeeded", task))
    assert await status_of(store, *tasks) == [SUCCESS, SUCCESS, CANCELLED, SUCCESS, SUCCESS]
    assert len(reads) == 1


async def test_tasks_behind_the_read_ones_are_read_when_they_are_next(
    states: DispatchingStates,
    commits: GroupCommit,
    store: CountingStore,
    reads: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatcher, "PAGE_TASKS", 2)
    tasks = await states.create([a_spec(start=True)] * 5, ALICE)
    states.slots.offer(an_offer(capacity=1))
    await states.fill_slots()
    for task in tasks:
        assert await status_of(store, task) == [RUNNING]
        await commits.submit(reported("succeeded", task))
    assert len(reads) == 3


async def test_what_another_server_has_taken_is_passed_over(
    states: DispatchingStates, commits: GroupCommit, store: CountingStore, url: str
) -> None:
    first, taken, third = await started(states, 3)
    database = Database(url)

    def take(transaction: WriteTransaction) -> None:
        (task,) = transaction.load_tasks([taken.id]).values()
        (revision,) = transaction.next_revisions(1)
        transaction.update_tasks([task.but(status=CANCELLED, queued_at=None, revision=revision)])

    await in_transaction(Store(database), take)
    await database.close()
    await commits.submit(reported("succeeded", first))
    assert await status_of(store, first, taken, third) == [SUCCESS, CANCELLED, RUNNING]


@asynccontextmanager
async def another_server(url: str) -> AsyncIterator[tuple[DispatchingStates, GroupCommit, list[CommittedEvent]]]:
    """Run the writer of a second server over the same database; yield it with the events of its listeners."""
    database, slots = Database(url), Slots()
    store = CountingStore(database)
    commits, published = GroupCommit(store, ProgressCache(store), slots), list[CommittedEvent]()
    commits.listeners.append(published.extend)
    running = asyncio.create_task(commits.run())
    yield DispatchingStates(commits, AT_ONCE, slots), commits, published
    commits.stop()
    await running
    await database.close()


async def test_two_servers_on_one_queue_start_each_task_once(
    states: DispatchingStates, commits: GroupCommit, store: CountingStore, published: list[CommittedEvent], url: str
) -> None:
    async def work(states: DispatchingStates, commits: GroupCommit, published: list[CommittedEvent]) -> None:
        while await store.count_tasks(TaskFilter(statuses=(SUCCESS,))) < len(tasks):
            states.slots.scan.reset()
            await states.fill_slots()
            while started := [each.dispatch.task for each in published if each.dispatch]:
                published.clear()
                await asyncio.gather(*(commits.submit(reported("succeeded", task)) for task in started))

    async with another_server(url) as other:
        tasks = await states.create([a_spec(start=True)] * 30, ALICE)
        tasks += await other[0].create([a_spec(start=True)] * 30, ALICE)
        for unit_id, server in (("unit-1", states), ("unit-2", other[0])):
            server.slots.offer(an_offer(unit_id, capacity=3))
            await server.fill_slots()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(work(states, commits, published), work(*other))
    histories = [await store.list_transitions(task.id, after_revision=0, limit=10) for task in tasks]
    # Each server has a block of revisions, so revisions of two servers show no order.
    assert {tuple(sorted(each.to_status for each in history)) for history in histories} == {(PENDING, RUNNING, SUCCESS)}
    starts = [each.reason for history in histories for each in history if each.to_status is RUNNING]
    assert {reason.rpartition(" ")[2] for reason in starts} == {"unit-1", "unit-2"}


async def test_what_fits_no_unit_does_not_keep_others_from_their_slot(
    states: DispatchingStates, commits: GroupCommit, store: CountingStore, reads: list[int]
) -> None:
    first, second = await started(states, 2)
    misfits = await states.create([a_spec(start=True, priority=9, unit_labels={"gpu": "yes"})] * 20, ALICE)
    await commits.submit(reported("succeeded", first))
    assert await status_of(store, second, misfits[0]) == [RUNNING, PENDING]
    states.slots.offer(an_offer("gpu", labels={"gpu": "yes"}))
    await states.fill_slots()
    assert await status_of(store, misfits[0], misfits[1]) == [RUNNING, PENDING]
    assert len(reads) == 1


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages and memory filled by a few tasks."""
    monkeypatch.setattr(dispatcher, "PAGE_TASKS", 5)
    monkeypatch.setattr(task_queue, "MAX_QUEUED_OF_TYPE", 20)
    monkeypatch.setattr(task_queue, "MAX_KINDS_OF_TYPE", 15)


async def look_to_the_end(states: DispatchingStates) -> None:
    """Scan as long as the dispatcher would."""
    while states.slots.scan.types():
        await states.fill_slots()


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("is_of_one_kind", [True, False])
async def test_nothing_starves_behind_more_misfits_than_are_kept(
    states: DispatchingStates, store: CountingStore, *, is_of_one_kind: bool
) -> None:
    labels = [{"gpu": "yes" if is_of_one_kind else str(number)} for number in range(40)]
    misfits = await states.create([a_spec(start=True, priority=9, unit_labels=each) for each in labels], ALICE)
    fitting = await states.create([a_spec(start=True)] * 7, ALICE)
    states.slots.offer(an_offer(capacity=7))
    await look_to_the_end(states)
    assert await status_of(store, *fitting) == [RUNNING] * 7
    states.slots.offer(an_offer("gpu", capacity=50, labels=labels[-1]))
    await look_to_the_end(states)
    assert await status_of(store, misfits[-1]) == [RUNNING]


async def test_what_fits_no_unit_is_read_once_however_often_a_slot_opens(
    states: DispatchingStates, commits: GroupCommit, reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "PAGE_TASKS", 5)
    states.slots.scan.task_queue = TaskQueue(most=3)
    await states.create([a_spec(start=True, priority=9, unit_labels={"gpu": "yes"})] * 12, ALICE)
    for _ in range(3):
        for task in await started(states, 2):
            await commits.submit(reported("succeeded", task))
            await look_to_the_end(states)
        assert states.slots.free([TASK_TYPE]) == 1
        assert len(reads) == 3


async def test_a_transaction_scans_a_bounded_number_and_the_next_one_continues(
    states: DispatchingStates, store: CountingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "MAX_SCANNED_TASKS", 2)
    tasks = await states.create([a_spec(start=True)] * 3, ALICE)
    states.slots.offer(an_offer(capacity=5))
    await states.fill_slots()
    assert await status_of(store, *tasks) == [RUNNING, RUNNING, PENDING]
    assert states.slots.scan.types() == {TASK_TYPE}
    await states.fill_slots()
    assert await status_of(store, *tasks) == [RUNNING] * 3
    assert states.slots.scan.types() == set()


async def test_a_transaction_that_overlaps_gives_slots_to_what_the_one_before_has_queued(
    states: DispatchingStates, commits: GroupCommit, store: CountingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "MIN_OVERLAP_TASKS", 1)
    monkeypatch.setattr(group_commit, "MAX_TASKS", 1)
    (first,) = await started(states, 1)
    async with HeldCommit(commits):
        created = commits.submit(CreateTasks([a_spec(start=True)], ALICE))
        ended = commits.submit(reported("succeeded", first))
    (second,), _ = await asyncio.gather(created, ended)
    assert second.status is PENDING
    assert await status_of(store, first, second) == [SUCCESS, RUNNING]


async def test_a_delay_that_ends_while_a_transaction_is_decided_is_over(
    states: DispatchingStates, commits: GroupCommit, store: CountingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await started(states, 2)
    await commits.submit(reported("failed", first))
    failed = await store.get_task(first.id)
    assert failed
    assert failed.not_before
    assert await status_of(store, first, second) == [PENDING, RUNNING]
    moment = timedelta(milliseconds=1)
    monkeypatch.setattr(group_commit, "utc_now", lambda: failed.not_before - moment)
    monkeypatch.setattr(dispatcher, "utc_now", lambda: failed.not_before + moment)
    # As the dispatch loop does at the end of a delay, without a free slot.
    states.slots.scan.task_queue.put_if_new(QueuedTask.of(failed))
    await commits.submit(reported("succeeded", second))
    assert await status_of(store, first, second) == [RUNNING, SUCCESS]
