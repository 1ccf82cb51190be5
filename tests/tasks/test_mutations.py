"""Mutations other than verbs and reports: creation, dispatches, losses, limits and the purge."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from support.actions import REPORTS, do
from support.builders import (
    ALICE,
    NOW,
    OTHER_UNIT_ID,
    TASK_TYPE,
    UNIT_ID,
    a_checkpoint,
    a_spec,
    an_offer,
    assert_is_path,
    attempt_ref_of,
)
from support.stored import in_transaction
from support.writer import CountingStore, DispatchingStates, HeldCommit

from taskplane.server.core import verbs
from taskplane.server.core.command import VerdictAction
from taskplane.server.core.effect import Effect
from taskplane.server.core.errors import InvalidFields, StaleRevision, TaskNotFinal
from taskplane.server.core.limits import Expiry
from taskplane.server.core.task import Checkpoint, Limits, Progress, Task, TaskStatus, Verb
from taskplane.server.core.tuning import Tuning
from taskplane.server.core.unit import AttemptState, HeldAttempt
from taskplane.server.core.verbs import CallContext
from taskplane.server.store.deletions import Deletion
from taskplane.server.tasks.group_commit import GroupCommit
from taskplane.server.tasks.maintenance import Maintenance
from taskplane.server.tasks.mutations import ChangeTask
from taskplane.server.tasks.progress_cache import ProgressCache
from taskplane.server.tasks.unit_of_work import CHECKPOINTS_KEPT, CommittedEvent, UnitOfWork

PENDING, RUNNING, _, FAILED, _, CANCELLED = TaskStatus


async def running(states: DispatchingStates, count: int = 1, **spec: object) -> list[Task]:
    """Create tasks and dispatch them to the unit."""
    await states.create([a_spec(start=True, **spec)] * count, ALICE)
    return [each.task for each in await states.dispatch([an_offer(UNIT_ID, capacity=count)])]


async def caller(states: DispatchingStates, task: Task, verb: Verb) -> Task:
    return await states.change(task.id, lambda each, now: do(verb, each, now))


async def hear(states: DispatchingStates, task: Task, report: str, times: int = 1) -> Task:
    """Apply a report of the task's unit."""
    for _ in range(times):
        task = await states.change(task.id, lambda each, now: REPORTS[report](each, attempt_ref_of(each), now))
    return task


async def test_a_created_task_has_a_history_from_the_first_moment(
    states: DispatchingStates, store: CountingStore
) -> None:
    (task,) = await states.create([a_spec(priority=7, labels={"a": "b"})], CallContext("alice", "a reason"))
    (created,) = await store.list_transitions(task.id, after_revision=0, limit=10)
    assert (created.from_status, created.to_status, created.revision) == (None, PENDING, task.revision)
    assert (created.changed_by, created.reason) == ("alice", "a reason")
    assert await store.get_task(task.id) == task
    assert (task.priority, task.labels, task.queued_at) == (7, {"a": "b"}, None)


async def test_a_task_that_is_to_start_is_queued_at_once(states: DispatchingStates) -> None:
    (task,) = await states.create([a_spec(start=True)], ALICE)
    assert (task.status, task.queued_at, task.queued_by) == (PENDING, task.created_at, "alice")


async def test_tasks_are_claimed_by_priority_as_far_as_there_are_slots(states: DispatchingStates) -> None:
    specs = [a_spec(task_name=f"priority {priority}", priority=priority, start=True) for priority in (1, 3, 2)]
    await states.create(specs, ALICE)
    dispatches = await states.dispatch([an_offer(capacity=2)])
    assert [each.task.task_name for each in dispatches] == ["priority 3", "priority 2"]
    assert [each.task.task_name for each in await states.dispatch([an_offer(capacity=9)])] == ["priority 1"]
    assert await states.dispatch([an_offer(capacity=9)]) == []


async def test_a_scan_passes_tasks_that_fit_no_unit(states: DispatchingStates, store: CountingStore) -> None:
    await states.create([a_spec(priority=9, start=True, unit_labels={"gpu": "yes"})] * 30, ALICE)
    (waiting,) = await running(states)
    await hear(states, waiting, "paused")
    await caller(states, waiting, Verb.RESUME)
    assert [each.task.id for each in await states.dispatch([an_offer()])] == [waiting.id]


async def test_what_is_created_while_a_slot_is_free_is_dispatched_in_the_same_transaction(
    states: DispatchingStates, store: CountingStore, published: list[CommittedEvent]
) -> None:
    states.slots.offer(an_offer(capacity=2))
    before = store.transactions
    first, second, third = await states.create([a_spec(start=True)] * 3, ALICE)
    assert store.transactions == before + 1
    assert [each.status for each in (first, second, third)] == [RUNNING, RUNNING, PENDING]
    assert await store.get_task(first.id) == first
    created, dispatched = await store.list_transitions(first.id, after_revision=0, limit=10)
    assert (created.to_status, dispatched.to_status, dispatched.revision) == (PENDING, RUNNING, first.revision)
    assert [each.dispatch.task for each in published if each.dispatch] == [first, second]


async def test_no_task_overtakes_a_queued_task_of_higher_priority(states: DispatchingStates) -> None:
    (waiting,) = await states.create([a_spec(start=True, priority=9)], ALICE)
    states.slots.offer(an_offer(capacity=2))
    low, high = await states.create([a_spec(start=True), a_spec(start=True, priority=10)], ALICE)
    assert (low.status, high.status) == (PENDING, RUNNING)
    assert (await caller(states, waiting, Verb.START)).status is RUNNING


async def test_slots_that_were_taken_in_a_transaction_that_failed_are_free_again(
    states: DispatchingStates, monkeypatch: pytest.MonkeyPatch
) -> None:
    await states.create([a_spec(start=True)], ALICE)
    with monkeypatch.context() as broken:
        broken.setattr(UnitOfWork, "write", lambda _: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            await states.dispatch([an_offer()])
    states.slots.offer(an_offer())
    assert states.slots.free([TASK_TYPE]) == 1
    assert len(await states.dispatch([an_offer()])) == 1


async def test_a_task_that_its_unit_gives_back_moves_in_the_same_transaction(
    states: DispatchingStates, store: CountingStore
) -> None:
    (task,) = await running(states)
    states.slots.assignments.started(task)
    states.slots.offer(an_offer(OTHER_UNIT_ID))
    moved = await hear(states, task, "released")
    assert (moved.status, moved.execution_unit_id, moved.attempt) == (RUNNING, OTHER_UNIT_ID, 2)
    assert_is_path(await store.list_transitions(task.id, after_revision=0, limit=10))


async def test_a_task_that_is_started_and_cancelled_in_one_transaction_is_not_dispatched(
    states: DispatchingStates, commits: GroupCommit, published: list[CommittedEvent]
) -> None:
    (task,) = await states.create([a_spec()], ALICE)
    states.slots.offer(an_offer())
    async with HeldCommit(commits):
        both = [commits.submit(ChangeTask(task.id, partial(do, verb))) for verb in (Verb.START, Verb.CANCEL)]
    assert (await both[1]).status is CANCELLED
    assert not any(each.dispatch for each in published)


async def test_a_dispatch_carries_the_checkpoint_to_continue_from(states: DispatchingStates) -> None:
    (task,) = await running(states)
    await hear(states, task, "checkpointed", times=2)
    await states.lose(UNIT_ID, {task.id: task.attempt}, "unit lost")
    (dispatch,) = await states.dispatch([an_offer(OTHER_UNIT_ID)])
    assert dispatch.checkpoint == a_checkpoint(2)
    assert (dispatch.task.attempt, dispatch.task.retry_count) == (2, 1)


async def test_a_task_without_its_checkpoint_leaves_the_queue_with_a_reason(
    states: DispatchingStates, store: CountingStore
) -> None:
    (task,) = await running(states, priority=9)
    await hear(states, task, "checkpointed", times=2)
    await caller(states, task, Verb.CANCEL)
    await hear(states, task, "cancelled")
    await states.change_from_checkpoint(task.id, 1, restart_from)
    await in_transaction(store, lambda transaction: transaction.prune_checkpoints({task.id}, 1))
    assert await states.dispatch([an_offer()]) == []
    after = await store.get_task(task.id)
    assert after
    assert (after.status, after.queued_at) == (PENDING, None)
    assert "no longer stored" in (after.error_message or "")
    states.slots.offer(an_offer())
    (other,) = await states.create([a_spec(start=True)], ALICE)
    assert other.status is RUNNING, "the slot is free again"


async def test_the_last_checkpoints_are_kept_and_one_can_be_chosen(
    states: DispatchingStates, store: CountingStore
) -> None:
    (task,) = await running(states)
    await hear(states, task, "checkpointed", times=CHECKPOINTS_KEPT + 2)
    kept = [each.number for each in await store.list_checkpoints(task.id)]
    assert kept == list(range(CHECKPOINTS_KEPT + 2, 2, -1))
    await hear(states, task, "failed for good")
    with pytest.raises(InvalidFields):
        await states.change_from_checkpoint(task.id, 2, restart_from)
    await states.change_from_checkpoint(task.id, 4, restart_from)
    (dispatch,) = await states.dispatch([an_offer()])
    assert dispatch.checkpoint == a_checkpoint(4)


def restart_from(task: Task, now: datetime, checkpoint: Checkpoint) -> Effect:
    return verbs.restart(task, ALICE, now, checkpoint=checkpoint)


async def test_a_lost_unit_gives_its_tasks_back_in_one_transaction(
    states: DispatchingStates, store: CountingStore, published: list[CommittedEvent]
) -> None:
    tasks = await running(states, 3)
    await hear(states, tasks[2], "succeeded")
    transactions = store.transactions
    published.clear()
    attempts = {task.id: task.attempt for task in tasks} | {99: 1}
    await states.lose(UNIT_ID, attempts, "unit lost")
    assert store.transactions == transactions + 1
    for task in tasks[:2]:
        history = await store.list_transitions(task.id, after_revision=0, limit=10)
        assert_is_path(history)
        assert [each.to_status for each in history[-2:]] == [FAILED, PENDING]
    assert {each.task.id for each in published} == {tasks[0].id, tasks[1].id}, "ended attempts are left alone"


async def test_an_attempt_that_is_another_units_is_not_lost_with_this_one(states: DispatchingStates) -> None:
    (task,) = await running(states)
    await states.lose(OTHER_UNIT_ID, {task.id: task.attempt}, "unit lost")
    await states.lose(UNIT_ID, {task.id: task.attempt + 1}, "unit lost")
    assert (await caller(states, task, Verb.START)).status is RUNNING


async def test_a_connecting_unit_is_settled_in_one_transaction(states: DispatchingStates, store: CountingStore) -> None:
    unsent, held, ended = await running(states, 3)
    await hear(states, ended, "succeeded")
    transactions = store.transactions
    inventory = [HeldAttempt(each.id, each.attempt, AttemptState.RUNNING) for each in (held, ended)]
    settled = await states.reconcile(UNIT_ID, inventory, is_new_process=False)
    assert store.transactions == transactions + 1
    assert [(each.task_id, each.action) for each in settled.verdicts] == [
        (held.id, VerdictAction.KEEP),
        (ended.id, VerdictAction.DROP),
    ]
    assert [each.task.id for each in settled.dispatches] == [unsent.id]
    assert {each.id for each in settled.running} == {unsent.id, held.id}


async def test_a_start_whose_checkpoint_is_gone_is_not_repeated(
    states: DispatchingStates, store: CountingStore
) -> None:
    """A start from scratch would silently lose work."""
    (task,) = await running(states)
    await hear(states, task, "checkpointed", times=2)
    await caller(states, task, Verb.CANCEL)
    await hear(states, task, "cancelled")
    await states.change_from_checkpoint(task.id, 1, restart_from)
    assert len(await states.dispatch([an_offer()])) == 1
    await in_transaction(store, lambda transaction: transaction.prune_checkpoints({task.id}, 1))
    settled = await states.reconcile(UNIT_ID, [], is_new_process=False)
    assert settled.dispatches == []


async def test_limits_that_have_expired_are_applied(states: DispatchingStates, store: CountingStore) -> None:
    over, still_time = await states.create(
        [a_spec(limits=Limits(deadline=NOW)), a_spec(limits=Limits(deadline=datetime.max.replace(tzinfo=UTC)))], ALICE
    )
    assert await store.expired_tasks(NOW, limit=10) == [over.id]
    await states.expire([over.id, 10**9])
    assert await store.expired_tasks(NOW, limit=10) == []
    expired = await store.get_task(over.id)
    assert expired
    assert expired.status is CANCELLED
    history = await store.list_transitions(over.id, after_revision=0, limit=10)
    assert history[-1].reason == Expiry.DEADLINE
    assert await store.get_task(still_time.id) == still_time


@pytest.mark.parametrize("is_stored", [False, True])
async def test_the_table_stores_the_expiry_that_progress_postponed(
    states: DispatchingStates, store: CountingStore, progress_cache: ProgressCache, *, is_stored: bool
) -> None:
    (task,) = await running(states, limits=Limits(stall_timeout=timedelta(hours=1)))
    late = task.updated_at + timedelta(hours=1)
    progress_cache.progressed(task.id, task.attempt, Progress(0.5, "half way", reported_at=late))
    if is_stored:
        await progress_cache.flush()
    assert await store.expired_tasks(late, limit=10) == [task.id]
    await states.expire([task.id])
    assert await store.expired_tasks(late, limit=10) == []
    after = await store.get_task(task.id)
    assert after
    assert after.status is RUNNING


async def test_old_finished_tasks_are_purged_and_the_gap_is_remembered(
    states: DispatchingStates, store: CountingStore, published: list[CommittedEvent]
) -> None:
    done, cancelled, progress_cache = await running(states, 3)
    done = await hear(states, done, "succeeded")
    await hear(states, cancelled, "cancelled")
    assert await states.purge(NOW, limit=10) == 0, "none is as old as that"
    published.clear()
    assert await states.purge(datetime.now(UTC) + timedelta(days=1), limit=10) == 2
    assert [await store.get_task(each.id) for each in (done, cancelled)] == [None, None]
    assert await store.get_task(progress_cache.id) == progress_cache
    assert {each.task.id for each in published if each.deleted} == {done.id, cancelled.id}
    assert await store.purged_revision() >= done.revision
    assert await store.deletions_since(0, task_ids=(), limit=10) == [], "the gap stands for them"


async def test_a_deletion_is_kept_under_its_revision(
    states: DispatchingStates, store: CountingStore, published: list[CommittedEvent]
) -> None:
    tasks = [await hear(states, task, "cancelled") for task in await running(states, 2)]
    await asyncio.gather(*(states.delete(task.id, ALICE) for task in tasks))
    deleted = [Deletion(each.task.revision, each.task.id, each.task.task_type) for each in published if each.deleted]
    assert {each.task_id for each in deleted} == {task.id for task in tasks}
    assert await store.deletions_since(0, task_ids=(), limit=10) == deleted
    assert await store.purged_revision() == 0


async def test_tombstones_are_forgotten_with_age(states: DispatchingStates, store: CountingStore) -> None:
    (task,) = await running(states)
    await hear(states, task, "cancelled")
    await states.delete(task.id, ALICE)
    await Maintenance(states, store, retention=None).purge()
    (deletion,) = await store.deletions_since(0, task_ids=(), limit=10)
    await Maintenance(states, store, retention=None, tuning=Tuning(deletions_kept=timedelta(0))).purge()
    assert await store.deletions_since(0, task_ids=(), limit=10) == []
    assert await store.purged_revision() == deletion.revision


async def test_only_finished_tasks_are_deleted_and_only_as_the_caller_knows_them(
    states: DispatchingStates, store: CountingStore
) -> None:
    (task,) = await running(states)
    with pytest.raises(TaskNotFinal):
        await states.delete(task.id, ALICE)
    cancelled = await hear(states, task, "cancelled")
    with pytest.raises(StaleRevision):
        await states.delete(task.id, CallContext(expected_revision=task.revision))
    await states.delete(task.id, CallContext(expected_revision=cancelled.revision))
    assert await store.get_task(task.id) is None
    assert await store.list_transitions(task.id, after_revision=0, limit=10) == []
