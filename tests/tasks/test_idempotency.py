"""Idempotency keys: a repeated call has one effect, and its key serves no other call."""

import asyncio
from datetime import datetime

import pytest
from support.actions import do
from support.builders import ALICE, a_spec
from support.writer import CountingStore, HeldCommit

from taskplane.server.core.effect import Effect
from taskplane.server.core.errors import (
    DatabaseUnavailable,
    IllegalTransition,
    RequestIdReused,
    TaskNotFound,
    TaskplaneError,
)
from taskplane.server.core.task import Task, TaskStatus, Verb
from taskplane.server.idempotency.keys import IdempotencyKey, Replay, ResponseStored
from taskplane.server.tasks.group_commit import GroupCommit
from taskplane.server.tasks.mutations import ChangeTask, CreateTasks, DeleteTask
from taskplane.server.tasks.state_manager import TaskStateManager
from taskplane.server.tasks.unit_of_work import CommittedEvent

CREATE = IdempotencyKey("request-1", "CreateTask", "a" * 64)
CANCEL = IdempotencyKey("request-2", "CancelTask", "b" * 64)


def cancel(task: Task) -> ChangeTask:
    return ChangeTask(task.id, lambda each, now: do(Verb.CANCEL, each, now))


@pytest.fixture
async def task(states: TaskStateManager) -> Task:
    """Create a task with an idempotency key."""
    (task,) = await states.create([a_spec()], ALICE, CREATE)
    return task


async def test_a_repeated_create_creates_nothing(
    states: TaskStateManager, published: list[CommittedEvent], task: Task
) -> None:
    published.clear()
    assert await states.create([a_spec()], ALICE, CREATE) == [task]
    assert published == []


async def test_a_repeat_changes_nothing_also_after_later_verbs(
    states: TaskStateManager, commits: GroupCommit, task: Task
) -> None:
    await commits.submit(cancel(task), CANCEL)
    restarted = await states.change(task.id, lambda each, now: do(Verb.RESTART, each, now))
    replayed = await commits.submit(cancel(task), CANCEL)
    assert replayed == Replay([restarted])


async def test_a_repeat_gets_the_first_response(states: TaskStateManager, store: CountingStore, task: Task) -> None:
    await store.save_responses({CREATE.request_id: b"as it was"})
    with pytest.raises(ResponseStored) as stored:
        await states.create([a_spec()], ALICE, CREATE)
    assert stored.value.response == b"as it was"


async def test_a_repeat_in_the_same_transaction_is_a_repeat(commits: GroupCommit, store: CountingStore) -> None:
    async with HeldCommit(commits):
        answers = [commits.submit(CreateTasks([a_spec()], ALICE), CREATE) for _ in range(10)]
    first, *others = await asyncio.gather(*answers)
    assert isinstance(first, list)
    assert others == [Replay(first)] * 9
    assert store.transactions == 2


@pytest.mark.parametrize(
    "other", [IdempotencyKey("request-1", "DeleteTask", "a" * 64), IdempotencyKey("request-1", "CreateTask", "c" * 64)]
)
async def test_a_key_serves_one_call(
    states: TaskStateManager, commits: GroupCommit, task: Task, other: IdempotencyKey
) -> None:
    with pytest.raises(RequestIdReused):
        await states.create([a_spec()], ALICE, other)
    async with HeldCommit(commits):
        first = commits.submit(cancel(task), CANCEL)
        reused = commits.submit(cancel(task), IdempotencyKey(CANCEL.request_id, "StartTask", "b" * 64))
    outcomes = await asyncio.gather(first, reused, return_exceptions=True)
    assert isinstance(outcomes[0], Task)
    assert isinstance(outcomes[1], RequestIdReused)


async def test_the_key_of_a_refused_call_can_be_used_again(states: TaskStateManager, task: Task) -> None:
    with pytest.raises(IllegalTransition):
        await states.change(task.id, lambda each, now: do(Verb.PAUSE, each, now), CANCEL)
    changed = await states.change(task.id, lambda each, now: do(Verb.CANCEL, each, now), CANCEL)
    assert changed.status is TaskStatus.CANCELLED


async def test_the_key_of_a_call_that_was_rolled_back_can_be_used_again(
    states: TaskStateManager, commits: GroupCommit, store: CountingStore
) -> None:
    store.next_error = DatabaseUnavailable()
    with pytest.raises(DatabaseUnavailable):
        await states.create([a_spec()], ALICE, CREATE)
    assert isinstance(await commits.submit(CreateTasks([a_spec()], ALICE), CREATE), list)


async def test_a_repeated_delete_is_done_already(states: TaskStateManager, commits: GroupCommit, task: Task) -> None:
    await commits.submit(cancel(task))
    deletion = IdempotencyKey("request-3", "DeleteTask", "d" * 64)
    await states.delete(task.id, ALICE, deletion)
    await states.delete(task.id, ALICE, deletion)
    assert await commits.submit(DeleteTask(task.id, ALICE), deletion) == Replay([], deleted_ids=(task.id,))
    with pytest.raises(TaskNotFound):
        await states.delete(task.id, ALICE)


async def test_a_repeated_verb_on_a_task_that_is_gone_is_not_found(states: TaskStateManager, task: Task) -> None:
    await states.change(task.id, lambda each, now: do(Verb.CANCEL, each, now), CANCEL)
    await states.delete(task.id, ALICE)
    with pytest.raises(TaskNotFound):
        await states.change(task.id, lambda each, now: do(Verb.CANCEL, each, now), CANCEL)


async def test_a_repeated_create_of_a_task_that_is_gone_is_not_found(
    states: TaskStateManager, commits: GroupCommit
) -> None:
    specs = [a_spec(), a_spec()]
    kept, gone = await states.create(specs, ALICE, CREATE)
    await commits.submit(cancel(gone))
    await states.delete(gone.id, ALICE)
    with pytest.raises(TaskNotFound, match=str(gone.id)):
        await states.create(specs, ALICE, CREATE)
    replayed = await commits.submit(CreateTasks(specs, ALICE), CREATE)
    assert replayed == Replay([kept], deleted_ids=(gone.id,))


async def test_a_bulk_create_is_replayed_in_its_order(states: TaskStateManager) -> None:
    specs = [a_spec(task_name=f"number {number}") for number in range(20)]
    created = await states.create(specs, ALICE, CREATE)
    assert await states.create(specs, ALICE, CREATE) == created
    assert [task.task_name for task in created] == [spec.task_name for spec in specs]


async def test_a_repeated_bulk_call_gets_the_first_result_of_each_task(states: TaskStateManager) -> None:
    """Also after later changes of every task, and the deletion of one."""
    going, refused, gone = await states.create([a_spec() for _ in range(3)], ALICE)
    bulk = IdempotencyKey("request-9", "BatchControlTasks", "e" * 64)
    await states.change(refused.id, lambda each, now: do(Verb.CANCEL, each, now))

    def pause(task: Task, now: datetime) -> Effect:
        return do(Verb.RESTART if task.id == refused.id else Verb.PAUSE, task, now)

    changes = dict.fromkeys((going.id, refused.id, gone.id, 999), pause)
    first = await states.control(changes, bulk)
    assert [type(each) for each in first.values()] == [IllegalTransition, type(None), IllegalTransition, TaskNotFound]
    for task_id in (going.id, refused.id, gone.id):
        await states.change(task_id, lambda each, now: do(Verb.CANCEL, each, now))
    await states.delete(gone.id, ALICE)
    again = await states.control(changes, bulk)
    assert {task_id: _words(each) for task_id, each in again.items()} == {
        task_id: _words(each) for task_id, each in first.items()
    }


async def test_a_repeated_bulk_deletion_succeeds(states: TaskStateManager, task: Task) -> None:
    bulk = IdempotencyKey("request-9", "BatchControlTasks", "e" * 64)
    await states.change(task.id, lambda each, now: do(Verb.CANCEL, each, now))
    for _ in range(2):
        assert await states.control({task.id: lambda _task, _now: None}, bulk) == {task.id: None}


def _words(error: TaskplaneError | None) -> tuple[str, str, str] | None:
    return (error.code, error.reason, error.message) if error else None
