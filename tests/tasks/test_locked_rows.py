"""A row locked by another client, for example an operator, delays only its own task."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import create_engine, text
from support.builders import ALICE, a_spec, an_offer
from support.databases import SERVERS
from support.writer import CountingStore, DispatchingStates, HeldCommit

from taskplane.server.core.effect import Effect
from taskplane.server.core.errors import DatabaseRefused
from taskplane.server.core.task import Task, TaskStatus
from taskplane.server.tasks.group_commit import GroupCommit
from taskplane.server.tasks.mutations import ChangeTask, CreateTasks

# SQLite locks the whole database.
pytestmark = pytest.mark.parametrize("database_url", SERVERS, indirect=True)


@pytest.fixture
def url(database_url: str) -> str:
    return database_url


@contextmanager
def locked(url: str, task: Task) -> Iterator[None]:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("SELECT id FROM tasks WHERE id = :id FOR UPDATE"), {"id": task.id})
        yield
    engine.dispose()


def set_priority(task: Task, priority: int) -> ChangeTask:
    return ChangeTask(task.id, lambda task, now: Effect(task).edit(now=now, priority=priority))


async def test_what_comes_with_a_change_of_a_locked_task_is_done_without_it(
    commits: GroupCommit, store: CountingStore, url: str
) -> None:
    mine, theirs = await commits.submit(CreateTasks([a_spec()] * 2, ALICE))
    with locked(url, theirs):
        async with HeldCommit(commits):
            refused, changed = [commits.submit(set_priority(each, 7)) for each in (theirs, mine)]
            created = commits.submit(CreateTasks([a_spec()], ALICE))
        assert (await changed).priority == 7
        assert await created
        with pytest.raises(DatabaseRefused):
            await refused
    assert (await commits.submit(set_priority(theirs, 8))).priority == 8, "it is not locked any more"


async def test_a_queued_task_that_is_locked_is_passed_over_by_those_behind_it(
    states: DispatchingStates, commits: GroupCommit, store: CountingStore, url: str
) -> None:
    theirs, mine = await states.create([a_spec(start=True)] * 2, ALICE)
    with locked(url, theirs):
        states.slots.offer(an_offer(capacity=1))
        await states.fill_slots()
        stored = [await store.get_task(task.id) for task in (theirs, mine)]
        assert [task.status for task in stored if task] == [TaskStatus.PENDING, TaskStatus.RUNNING]
