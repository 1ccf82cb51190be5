"""Progress of running attempts before it is in the database."""

from dataclasses import replace

import pytest
from support.actions import REPORTS, do
from support.builders import ALICE, NOW, UNIT_ID, a_command, a_spec, a_task, an_offer, at, attempt_ref_of
from support.writer import CountingStore, DispatchingStates

from taskplane.server.core.errors import DatabaseUnavailable
from taskplane.server.core.task import FINAL, Progress, Task, TaskStatus, Verb
from taskplane.server.store.live_rows import LiveRow
from taskplane.server.tasks.progress_cache import ProgressCache

QUARTER, HALF = Progress(0.25, "a quarter", at(1)), Progress(0.5, "half", at(2))
RUNNING = TaskStatus.RUNNING


@pytest.fixture
async def task(states: DispatchingStates) -> Task:
    """Dispatch a task to a unit."""
    await states.create([a_spec(start=True)], ALICE)
    (dispatch,) = await states.dispatch([an_offer(UNIT_ID)])
    return dispatch.task


async def stored(store: CountingStore, task_id: int) -> Task:
    task = await store.get_task(task_id)
    assert task
    return task


def test_the_latest_lies_over_what_is_stored(progress_cache: ProgressCache) -> None:
    task = a_task(RUNNING, accepted_at=None, pending_command=a_command(Verb.PAUSE, "pause"))
    progress_cache.accepted(1, 1, at(1))
    progress_cache.progressed(1, 1, QUARTER)
    progress_cache.progressed(1, 1, HALF)
    progress_cache.command_accepted(1, 1, "pause", at(3))
    accepted = replace(a_command(Verb.PAUSE, "pause"), accepted_at=at(3))
    assert progress_cache.overlay(task) == replace(task, accepted_at=at(1), progress=HALF, pending_command=accepted)


def test_what_is_not_known_stays_as_it_is_stored(progress_cache: ProgressCache) -> None:
    task = a_task(RUNNING, accepted_at=NOW, progress=QUARTER, pending_command=a_command(Verb.PAUSE, "newer"))
    assert progress_cache.overlay(task) == task
    progress_cache.command_accepted(1, 1, "older", at(3))
    assert progress_cache.overlay(task) == task


@pytest.mark.parametrize("attempt", [0, 2])
def test_another_attempt_is_another_matter(progress_cache: ProgressCache, attempt: int) -> None:
    progress_cache.progressed(1, attempt, HALF)
    assert progress_cache.overlay(a_task(RUNNING)) == a_task(RUNNING)
    assert progress_cache.overlay(a_task(RUNNING, id=2)) == a_task(RUNNING, id=2)


def test_a_new_attempt_begins_with_nothing(progress_cache: ProgressCache) -> None:
    progress_cache.accepted(1, 1, at(1))
    progress_cache.progressed(1, 2, HALF)
    task = a_task(RUNNING, attempt=2, accepted_at=None)
    assert progress_cache.overlay(task) == replace(task, progress=HALF)


@pytest.mark.parametrize("status", sorted(FINAL))
def test_a_finished_task_is_as_it_is_stored(progress_cache: ProgressCache, status: TaskStatus) -> None:
    progress_cache.progressed(1, 1, HALF)
    assert progress_cache.overlay(a_task(status)) == a_task(status)


async def test_a_flush_writes_what_is_new(progress_cache: ProgressCache, store: CountingStore, task: Task) -> None:
    progress_cache.accepted(task.id, task.attempt, at(1))
    progress_cache.progressed(task.id, task.attempt, HALF)
    await progress_cache.flush()
    after = await stored(store, task.id)
    assert (after.accepted_at, after.progress, after.revision) == (at(1), HALF, task.revision)


async def test_that_an_attempt_was_accepted_is_written_if_it_is_not_over_soon(
    progress_cache: ProgressCache, store: CountingStore, task: Task
) -> None:
    progress_cache.accepted(task.id, task.attempt, at(1))
    await progress_cache.flush()
    assert (await stored(store, task.id)).accepted_at is None
    await progress_cache.flush()
    assert (await stored(store, task.id)).accepted_at == at(1)


@pytest.mark.parametrize("may_wait", [True, False])
async def test_that_an_attempt_was_accepted_is_written_at_the_end_or_when_it_may_not_wait(
    progress_cache: ProgressCache, store: CountingStore, task: Task, *, may_wait: bool
) -> None:
    progress_cache.accepted(task.id, task.attempt, at(1), may_wait=may_wait)
    await (progress_cache.close() if may_wait else progress_cache.flush())
    assert (await stored(store, task.id)).accepted_at == at(1)


async def test_what_was_flushed_is_not_written_again(
    progress_cache: ProgressCache, store: CountingStore, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[LiveRow] = []

    async def note(rows: list[LiveRow]) -> None:
        written.extend(rows)

    monkeypatch.setattr(store, "save_live", note)
    progress_cache.progressed(task.id, task.attempt, HALF)
    await progress_cache.flush()
    await progress_cache.flush()
    assert [row.progress for row in written] == [HALF]


async def test_what_could_not_be_written_is_written_with_the_next_flush(
    progress_cache: ProgressCache, store: CountingStore, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(rows: list[LiveRow]) -> None:
        progress_cache.progressed(task.id, task.attempt, HALF)  # newer progress arrives during the write
        raise DatabaseUnavailable

    progress_cache.progressed(task.id, task.attempt, QUARTER)
    with monkeypatch.context() as outage:
        outage.setattr(store, "save_live", fail)
        with pytest.raises(DatabaseUnavailable):
            await progress_cache.flush()
    await progress_cache.flush()
    assert (await stored(store, task.id)).progress == HALF


async def test_the_next_change_of_a_task_takes_the_news_along(
    progress_cache: ProgressCache, states: DispatchingStates, store: CountingStore, task: Task
) -> None:
    progress_cache.accepted(task.id, task.attempt, at(1))
    progress_cache.progressed(task.id, task.attempt, HALF)
    pausing = await states.change(task.id, lambda each, now: do(Verb.PAUSE, each, now))
    assert (pausing.accepted_at, pausing.progress) == (at(1), HALF)
    assert (await stored(store, task.id)).progress == HALF


async def test_after_the_end_of_an_attempt_its_news_is_forgotten(
    progress_cache: ProgressCache, states: DispatchingStates, store: CountingStore, task: Task
) -> None:
    progress_cache.progressed(task.id, task.attempt, HALF)
    failed = REPORTS["failed for good"]
    ended = await states.change(task.id, lambda each, now: failed(each, attempt_ref_of(each), now))
    assert ended.progress == HALF, "how far it came stays visible"
    restarted = await states.change(task.id, lambda each, now: do(Verb.RESTART, each, now))
    assert progress_cache.overlay(restarted).progress is None
    await progress_cache.flush()
    assert (await stored(store, task.id)).progress is None
