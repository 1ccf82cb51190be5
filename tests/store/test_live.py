"""Live progress, written in bulk and late: fills known columns, and never overwrites newer values."""

from dataclasses import replace
from typing import Any

import pytest
from support.builders import a_command, a_task, at
from support.stored import insert

from taskplane.server.core.task import Progress, Task, TaskStatus, Verb
from taskplane.server.store.live_rows import LiveRow
from taskplane.server.store.store import Store

RUNNING = TaskStatus.RUNNING
OLD = Progress(0.25, "a quarter", at(10))
NEW = Progress(0.5, "half, 🦆 and \\ and '", at(20))


def news(task_id: int = 1, attempt: int = 1, **known: Any) -> LiveRow:
    nothing: dict[str, Any] = {
        "progress": None,
        "accepted_at": None,
        "command_id": "",
        "command_accepted_at": None,
    }
    return LiveRow(task_id, attempt, **nothing | known)


async def after(store: Store, task: Task, *rows: LiveRow) -> Task | None:
    """Return a task after the update, without the time of the change."""
    await insert(store, task)
    await store.save_live(rows)
    stored = await store.get_task(task.id)
    assert stored
    return replace(stored, updated_at=task.updated_at)


async def test_progress_is_stored(store: Store) -> None:
    task = a_task(RUNNING)
    assert await after(store, task, news(progress=NEW)) == replace(task, progress=NEW)


async def test_missing_values_keep_their_columns(store: Store) -> None:
    task = a_task(RUNNING, progress=OLD, accepted_at=at(1), pending_command=a_command(Verb.PAUSE, accepted_at=at(2)))
    assert await after(store, task, news()) == task


async def test_the_acceptance_of_a_start_is_stored(store: Store) -> None:
    task = a_task(RUNNING, accepted_at=None, progress=OLD)
    assert await after(store, task, news(accepted_at=at(3))) == replace(task, accepted_at=at(3))


async def test_the_acceptance_of_a_command_is_stored_with_the_same_command_only(store: Store) -> None:
    pending = a_command(Verb.PAUSE, "this one")
    task = a_task(RUNNING, pending_command=pending)
    row = news(command_id="another", command_accepted_at=at(3))
    assert await after(store, task, row) == task
    await store.save_live([news(command_id="this one", command_accepted_at=at(3))])
    stored = await store.get_task(1)
    assert stored
    assert stored.pending_command == replace(pending, accepted_at=at(3))


@pytest.mark.parametrize("attempt", [1, 3])
async def test_another_attempt_changes_nothing(store: Store, attempt: int) -> None:
    task = a_task(RUNNING, attempt=2)
    assert await after(store, task, news(attempt=attempt, progress=NEW, accepted_at=at(3))) == task


@pytest.mark.parametrize("stored", [NEW, Progress(1.0, "done", at(21))])
async def test_older_progress_never_replaces_newer(store: Store, stored: Progress) -> None:
    """A pause with later progress was committed first."""
    for task_id, status in enumerate((RUNNING, TaskStatus.PAUSED), 1):
        task = a_task(status, id=task_id, progress=stored)
        assert await after(store, task, news(task_id, progress=OLD)) == task


@pytest.mark.parametrize("status", [TaskStatus.PENDING, TaskStatus.SUCCESS, TaskStatus.FAILED, TaskStatus.CANCELLED])
async def test_an_ended_attempt_is_not_updated(store: Store, status: TaskStatus) -> None:
    """A restart clears progress; a late update must not restore old progress."""
    task = a_task(status, attempt=1)
    assert await after(store, task, news(progress=NEW, accepted_at=at(3))) == task


async def test_many_rows_are_written_at_once(store: Store) -> None:
    await insert(store, *(a_task(RUNNING, id=number) for number in range(1, 101)))
    await store.save_live([news(number, progress=_progress(number)) for number in range(1, 101)])
    for number in (1, 50, 100):
        stored = await store.get_task(number)
        assert stored
        assert stored.progress == _progress(number)


def _progress(number: int) -> Progress:
    return Progress(number / 100, f"row {number}", at(number))


async def test_a_deleted_task_is_ignored(store: Store) -> None:
    task = a_task(RUNNING)
    assert await after(store, task, news(99, progress=NEW), news(progress=NEW)) == replace(task, progress=NEW)
