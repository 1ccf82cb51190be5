"""Group commit: shared transactions, shared failures, and effects of cancelled calls."""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from support.actions import do
from support.builders import ALICE, PATIENCE_SECONDS, a_spec, assert_is_path
from support.stored import before_commit
from support.writer import CountingStore, HeldCommit

from taskplane.server.core.effect import Effect
from taskplane.server.core.errors import DatabaseUnavailable, IllegalTransition, ServerStopping, TaskNotFound
from taskplane.server.core.placement import Slots
from taskplane.server.core.task import Task, TaskStatus, Verb
from taskplane.server.store.transaction import WriteTransaction
from taskplane.server.tasks import group_commit
from taskplane.server.tasks.group_commit import GroupCommit
from taskplane.server.tasks.mutations import ChangeTask, CreateTasks
from taskplane.server.tasks.progress_cache import ProgressCache
from taskplane.server.tasks.state_manager import TaskStateManager
from taskplane.server.tasks.unit_of_work import CommittedEvent, Mutation, UnitOfWork

CREATE = CreateTasks([a_spec()], ALICE)


@dataclass(frozen=True)
class Mistake:
    """A mutation that raises an unexpected error."""

    def task_ids(self) -> Iterable[int]:
        return ()

    def decide(self, batch: UnitOfWork) -> None:
        raise ZeroDivisionError("a mistake of ours")


def verb(verb: Verb, task_id: int) -> ChangeTask:
    return ChangeTask(task_id, lambda task, now: do(verb, task, now))


def set_priority(task_id: int, priority: Any) -> ChangeTask:
    def change(task: Task, now: datetime) -> Effect:
        return Effect(task).edit(now=now, priority=priority)

    return ChangeTask(task_id, change)


@pytest.fixture
async def ids(states: TaskStateManager) -> list[int]:
    """Three PENDING tasks."""
    return [task.id for task in await states.create([a_spec()] * 3, ALICE)]


async def stored(store: CountingStore, task_id: int) -> Task:
    task = await store.get_task(task_id)
    assert task
    return task


async def test_a_single_mutation_is_committed_at_once(commits: GroupCommit, store: CountingStore) -> None:
    (task,) = await commits.submit(CREATE)
    assert store.transactions == 1
    assert await stored(store, task.id) == task


async def test_what_gathers_during_a_commit_shares_the_next(commits: GroupCommit, store: CountingStore) -> None:
    async with HeldCommit(commits):
        answers = [commits.submit(CREATE) for _ in range(100)]
    created = [task for (task,) in await asyncio.gather(*answers)]
    assert store.transactions == 2
    assert len({task.id for task in created}) == 100


async def test_a_transaction_has_a_limit(
    commits: GroupCommit, store: CountingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "MAX_TASKS", 10)
    async with HeldCommit(commits):
        answers = [commits.submit(CREATE) for _ in range(25)]
    await asyncio.gather(*answers)
    assert store.transactions == 1 + 3


async def test_the_error_of_one_mutation_concerns_no_other(
    commits: GroupCommit, store: CountingStore, ids: list[int]
) -> None:
    transactions = store.transactions
    async with HeldCommit(commits):
        mutations = [verb(Verb.START, ids[0]), verb(Verb.PAUSE, ids[1]), verb(Verb.START, 99), verb(Verb.START, ids[2])]
        answers = [commits.submit(mutation) for mutation in mutations]
    first, refused, missing, last = await asyncio.gather(*answers, return_exceptions=True)
    assert isinstance(refused, IllegalTransition)
    assert isinstance(missing, TaskNotFound)
    assert store.transactions == transactions + 2, "the others need not be tried again"
    assert [await stored(store, ids[0]), await stored(store, ids[2])] == [first, last]
    assert (await stored(store, ids[1])).queued_at is None


@pytest.mark.parametrize("is_value", [True, False], ids=["a value the database refuses", "a mistake of ours"])
async def test_one_that_spoils_the_transaction_fails_alone(
    commits: GroupCommit,
    store: CountingStore,
    ids: list[int],
    caplog: pytest.LogCaptureFixture,
    *,
    is_value: bool,
) -> None:
    caplog.set_level(logging.CRITICAL)
    spoiler: Mutation[Any] = set_priority(ids[1], 2**70) if is_value else Mistake()
    mutations = [set_priority(ids[0], 1), spoiler, set_priority(ids[0], 2), set_priority(ids[2], 3)]
    async with HeldCommit(commits):
        answers = [commits.submit(mutation) for mutation in mutations]
    one, error, two, three = await asyncio.gather(*answers, return_exceptions=True)
    assert isinstance(error, ZeroDivisionError | OverflowError)
    assert [getattr(answer, "priority", answer) for answer in (one, two, three)] == [1, 2, 3]
    assert [(await stored(store, task_id)).priority for task_id in ids] == [2, 0, 3]


async def test_an_outage_fails_all_waiting_calls_and_the_next_commit_succeeds(
    commits: GroupCommit, store: CountingStore, ids: list[int]
) -> None:
    async with HeldCommit(commits):
        store.next_error = DatabaseUnavailable()
        answers = [commits.submit(set_priority(task_id, 1)) for task_id in ids]
    failures = await asyncio.gather(*answers, return_exceptions=True)
    assert [type(failure) for failure in failures] == [DatabaseUnavailable] * 3
    assert (await commits.submit(set_priority(ids[0], 2))).priority == 2


async def test_mutations_are_decided_in_the_order_of_their_submission(commits: GroupCommit, ids: list[int]) -> None:
    seen: list[int] = []

    def noting(number: int) -> ChangeTask:
        def change(task: Task, now: datetime) -> Effect:
            seen.append(task.priority)
            return Effect(task).edit(now=now, priority=number)

        return ChangeTask(ids[0], change)

    async with HeldCommit(commits):
        answers = [commits.submit(noting(number)) for number in range(1, 51)]
    tasks = await asyncio.gather(*answers)
    assert seen == list(range(50)), "each sees the task as the one before has left it"
    assert [task.priority for task in tasks] == list(range(1, 51))
    revisions = [task.revision for task in tasks]
    assert revisions == sorted(set(revisions))


async def test_several_steps_of_one_task_in_one_transaction_are_all_in_its_history(
    commits: GroupCommit, store: CountingStore, ids: list[int]
) -> None:
    async with HeldCommit(commits):
        answers = [commits.submit(verb(each, ids[0])) for each in (Verb.CANCEL, Verb.RESTART, Verb.CANCEL)]
    await asyncio.gather(*answers)
    history = await store.list_transitions(ids[0], after_revision=0, limit=100)
    assert_is_path(history)
    assert [each.to_status for each in history] == [
        TaskStatus.PENDING,
        TaskStatus.CANCELLED,
        TaskStatus.PENDING,
        TaskStatus.CANCELLED,
    ]
    assert (await stored(store, ids[0])).revision == history[-1].revision


async def test_a_mutation_cancelled_before_its_decision_is_not_decided(
    commits: GroupCommit, store: CountingStore, ids: list[int]
) -> None:
    async with HeldCommit(commits):
        gone, stays = commits.submit(set_priority(ids[0], 7)), commits.submit(set_priority(ids[1], 8))
        gone.cancel()
    await stays
    assert (await stored(store, ids[0])).priority != 7
    async with HeldCommit(commits):
        commits.submit(set_priority(ids[0], 7)).cancel()
    await commits.submit(set_priority(ids[1], 9))
    assert (await stored(store, ids[0])).priority != 7


async def test_callers_who_come_again_and_again_while_nothing_moves_are_not_gathered(
    commits: GroupCommit, store: CountingStore, ids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "MAX_SUBMITTED", 5)
    commits._max_submitted = 5
    async with HeldCommit(commits):
        stay = [commits.submit(set_priority(ids[0], 7)), commits.submit(set_priority(ids[1], 8))]
        for _ in range(100):
            commits.submit(set_priority(ids[0], 9)).cancel()
        assert len(commits._inbox) <= 6
        assert commits._submitted_tasks == len(commits._inbox)
    await asyncio.gather(*stay)
    assert [(await stored(store, each)).priority for each in ids[:2]] == [7, 8]


async def test_who_goes_away_does_not_undo_what_was_decided(
    commits: GroupCommit, store: CountingStore, ids: list[int]
) -> None:
    def go_away(_: WriteTransaction) -> None:
        gone.cancel()

    with before_commit(go_away):
        gone, stays = commits.submit(set_priority(ids[0], 7)), commits.submit(set_priority(ids[1], 8))
        await stays
    assert (await stored(store, ids[0])).priority == 7


async def test_listeners_receive_all_events_in_order_before_any_caller_gets_its_result(
    commits: GroupCommit, published: list[CommittedEvent]
) -> None:
    when_answered: list[int] = []
    async with HeldCommit(commits):
        answers = [commits.submit(CREATE) for _ in range(5)]
        for answer in answers:
            answer.add_done_callback(lambda _: when_answered.append(len(published)))
    await asyncio.gather(*answers)
    assert when_answered == [5] * 5
    revisions = [each.task.revision for each in published]
    assert revisions == sorted(revisions)


async def test_listeners_receive_nothing_of_a_failed_transaction(
    commits: GroupCommit, store: CountingStore, published: list[CommittedEvent], ids: list[int]
) -> None:
    published.clear()
    store.next_error = DatabaseUnavailable()
    with pytest.raises(DatabaseUnavailable):
        await commits.submit(verb(Verb.START, ids[0]))
    with pytest.raises(IllegalTransition):
        await commits.submit(verb(Verb.PAUSE, ids[0]))
    assert published == []


async def test_a_failed_writer_fails_all_waiting_calls_and_stop_does_not_hang(
    store: CountingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = GroupCommit(store, ProgressCache(store), Slots())
    running = asyncio.create_task(commits.run())
    monkeypatch.setattr(UnitOfWork, "write", lambda _: 1 // 0)
    monkeypatch.setattr(Slots, "undo", lambda *_: 1 // 0)
    async with asyncio.timeout(PATIENCE_SECONDS):
        for _ in range(2):
            failures = await asyncio.gather(*(commits.submit(CREATE) for _ in range(3)), return_exceptions=True)
            assert [type(failure) for failure in failures] == [DatabaseUnavailable] * 3
        commits.stop()
        await running


async def test_stop_commits_submitted_mutations_and_refuses_later_ones(store: CountingStore) -> None:
    commits = GroupCommit(store, ProgressCache(store), Slots())
    running = asyncio.create_task(commits.run())
    async with HeldCommit(commits):
        answers = [commits.submit(CREATE) for _ in range(20)]
        commits.stop()
        late = commits.submit(CREATE)
    await running
    created = [task for (task,) in await asyncio.gather(*answers)]
    assert [await stored(store, task.id) for task in created] == created
    with pytest.raises(ServerStopping):
        await late


async def test_stop_of_an_idle_writer_ends_it(store: CountingStore) -> None:
    commits = GroupCommit(store, ProgressCache(store), Slots())
    running = asyncio.create_task(commits.run())
    await commits.submit(CREATE)
    commits.stop()
    await running
