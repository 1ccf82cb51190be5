"""What is known of running attempts before the database knows it."""

from dataclasses import replace

import pytest
from builders import ALICE, NOW, UNIT_ID, a_command, a_spec, a_task, an_offer, at, speaker_of
from deeds import REPORTS, do
from writer import ClaimingStates, CountingStore

from taskplane.server.core.errors import DatabaseUnavailable
from taskplane.server.core.task import FINAL, Progress, Task, TaskStatus, Verb
from taskplane.server.store.live_rows import LiveRow
from taskplane.server.tasks.live import LiveAttempts

QUARTER, HALF = Progress(0.25, "a quarter", at(1)), Progress(0.5, "half", at(2))
RUNNING = TaskStatus.RUNNING


@pytest.fixture
async def task(states: ClaimingStates) -> Task:
    """A task that a unit has just been given."""
    await states.create([a_spec(start=True)], ALICE)
    (dispatch,) = await states.claim([an_offer(UNIT_ID)])
    return dispatch.task


async def stored(store: CountingStore, task_id: int) -> Task:
    task = await store.get_task(task_id)
    assert task
    return task


def test_the_latest_lies_over_what_is_stored(live: LiveAttempts) -> None:
    task = a_task(RUNNING, accepted_at=None, pending_command=a_command(Verb.PAUSE, "pause"))
    live.accepted(1, 1, at(1))
    live.progressed(1, 1, QUARTER)
    live.progressed(1, 1, HALF)
    live.command_accepted(1, 1, "pause", at(3))
    accepted = replace(a_command(Verb.PAUSE, "pause"), accepted_at=at(3))
    assert live.overlay(task) == replace(task, accepted_at=at(1), progress=HALF, pending_command=accepted)


def test_what_is_not_known_stays_as_it_is_stored(live: LiveAttempts) -> None:
    task = a_task(RUNNING, accepted_at=NOW, progress=QUARTER, pending_command=a_command(Verb.PAUSE, "newer"))
    assert live.overlay(task) == task
    live.command_accepted(1, 1, "older", at(3))
    assert live.overlay(task) == task


@pytest.mark.parametrize("attempt", [0, 2])
def test_another_attempt_is_another_matter(live: LiveAttempts, attempt: int) -> None:
    live.progressed(1, attempt, HALF)
    assert live.overlay(a_task(RUNNING)) == a_task(RUNNING)
    assert live.overlay(a_task(RUNNING, id=2)) == a_task(RUNNING, id=2)


def test_a_new_attempt_begins_with_nothing(live: LiveAttempts) -> None:
    live.accepted(1, 1, at(1))
    live.progressed(1, 2, HALF)
    task = a_task(RUNNING, attempt=2, accepted_at=None)
    assert live.overlay(task) == replace(task, progress=HALF)


@pytest.mark.parametrize("status", sorted(FINAL))
def test_a_finished_task_is_as_it_is_stored(live: LiveAttempts, status: TaskStatus) -> None:
    live.progressed(1, 1, HALF)
    assert live.overlay(a_task(status)) == a_task(status)


async def test_a_flush_writes_what_is_new(live: LiveAttempts, store: CountingStore, task: Task) -> None:
    live.accepted(task.id, task.attempt, at(1))
    live.progressed(task.id, task.attempt, HALF)
    await live.flush()
    after = await stored(store, task.id)
    assert (after.accepted_at, after.progress, after.revision) == (at(1), HALF, task.revision)


async def test_that_an_attempt_was_accepted_is_written_if_it_is_not_over_soon(
    live: LiveAttempts, store: CountingStore, task: Task
) -> None:
    live.accepted(task.id, task.attempt, at(1))
    await live.flush()
    assert (await stored(store, task.id)).accepted_at is None
    await live.flush()
    assert (await stored(store, task.id)).accepted_at == at(1)


@pytest.mark.parametrize("may_wait", [True, False])
async def test_that_an_attempt_was_accepted_is_written_at_the_end_or_when_it_may_not_wait(
    live: LiveAttempts, store: CountingStore, task: Task, *, may_wait: bool
) -> None:
    live.accepted(task.id, task.attempt, at(1), may_wait=may_wait)
    await (live.close() if may_wait else live.flush())
    assert (await stored(store, task.id)).accepted_at == at(1)


async def test_what_was_flushed_is_not_written_again(
    live: LiveAttempts, store: CountingStore, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[LiveRow] = []

    async def note(rows: list[LiveRow]) -> None:
        written.extend(rows)

    monkeypatch.setattr(store, "save_live", note)
    live.progressed(task.id, task.attempt, HALF)
    await live.flush()
    await live.flush()
    assert [row.progress for row in written] == [HALF]


async def test_what_could_not_be_written_is_written_with_the_next_flush(
    live: LiveAttempts, store: CountingStore, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(rows: list[LiveRow]) -> None:
        live.progressed(task.id, task.attempt, HALF)  # newer news comes meanwhile
        raise DatabaseUnavailable

    live.progressed(task.id, task.attempt, QUARTER)
    with monkeypatch.context() as outage:
        outage.setattr(store, "save_live", fail)
        with pytest.raises(DatabaseUnavailable):
            await live.flush()
    await live.flush()
    assert (await stored(store, task.id)).progress == HALF


async def test_the_next_change_of_a_task_takes_the_news_along(
    live: LiveAttempts, states: ClaimingStates, store: CountingStore, task: Task
) -> None:
    live.accepted(task.id, task.attempt, at(1))
    live.progressed(task.id, task.attempt, HALF)
    pausing = await states.change(task.id, lambda each, now: do(Verb.PAUSE, each, now))
    assert (pausing.accepted_at, pausing.progress) == (at(1), HALF)
    assert (await stored(store, task.id)).progress == HALF


async def test_after_the_end_of_an_attempt_its_news_is_forgotten(
    live: LiveAttempts, states: ClaimingStates, store: CountingStore, task: Task
) -> None:
    live.progressed(task.id, task.attempt, HALF)
    failed = REPORTS["failed for good"]
    ended = await states.change(task.id, lambda each, now: failed(each, speaker_of(each), now))
    assert ended.progress == HALF, "how far it came stays visible"
    restarted = await states.change(task.id, lambda each, now: do(Verb.RESTART, each, now))
    assert live.overlay(restarted).progress is None
    await live.flush()
    assert (await stored(store, task.id)).progress is None
