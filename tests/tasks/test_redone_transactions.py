"""Transactions that fail at random and are retried: slots in memory equal the table in the end.

Runs on every kind of database, with the server's listeners, and with overlapping transactions.
"""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from datetime import datetime
from functools import partial

import pymysql
import pytest
from sqlalchemy.exc import DBAPIError
from support.actions import REPORTS, Report, do
from support.builders import ALICE, TASK_TYPE, a_spec, an_offer, attempt_ref_of
from support.writer import CountingStore, DispatchingStates

from taskplane.server.core.effect import Effect
from taskplane.server.core.errors import TaskplaneError
from taskplane.server.core.fence import AttemptRef
from taskplane.server.core.placement import Slots
from taskplane.server.core.task import Task, TaskStatus, Verb
from taskplane.server.execution_units.registry import Registry
from taskplane.server.store.pending_transaction import CommitOutcomeUnknown
from taskplane.server.store.transaction import WriteTransaction
from taskplane.server.tasks import group_commit
from taskplane.server.tasks.group_commit import GroupCommit
from taskplane.server.tasks.unit_of_work import CommittedEvent

UNITS = {"unit-a": 2, "unit-b": 3, "unit-c": 4}
TASKS = 24
CLIENTS = 12
DEEDS_EACH = 15


@pytest.fixture
def url(database_url: str) -> str:
    return database_url


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def slots(registry: Registry) -> Slots:
    return registry.slots


class Faults:
    """Fails transactions: by a deadlock before they are sent, by a lost response to COMMIT, or in between."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311  (faults that can be repeated)
        self._commit = WriteTransaction.commit
        self.count: Counter[str] = Counter()

    def commit(self, transaction: WriteTransaction) -> None:
        match self._random.random():
            case chance if chance < 0.1:
                self.count["deadlock"] += 1
                raise DBAPIError.instance(None, None, pymysql.OperationalError(1213, "Deadlock found"), pymysql.Error)
            case chance if chance < 0.2:
                self.count["lost before"] += 1
                raise CommitOutcomeUnknown
            case chance if chance < 0.3:
                self.count["lost after"] += 1
                self._commit(transaction)
                raise CommitOutcomeUnknown
            case _:
                self._commit(transaction)


@pytest.fixture(params=range(3))
def faults(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Faults:
    monkeypatch.setattr(group_commit, "MIN_OVERLAP_TASKS", 1)
    monkeypatch.setattr(group_commit, "MAX_TASKS", 2)  # many transactions
    faults = Faults(request.param)
    monkeypatch.setattr(WriteTransaction, "commit", lambda transaction: faults.commit(transaction))  # noqa: PLW0108  (not a method of faults)
    return faults


async def client(seed: int, states: DispatchingStates, store: CountingStore) -> None:
    """Act on random tasks like clients and units, and ignore refusals."""
    chosen = random.Random(seed)  # noqa: S311  (a walk that can be repeated)
    for _ in range(DEEDS_EACH):
        task = await store.get_task(chosen.randint(1, TASKS))
        assert task
        with suppress(TaskplaneError):
            if task.status is TaskStatus.RUNNING:
                report = REPORTS[chosen.choice(["succeeded", "failed", "paused", "cancelled", "lost", "released"])]
                await states.change(task.id, partial(_reported, report, attempt_ref_of(task)))
            else:
                verb = chosen.choice([Verb.START, Verb.RESUME, Verb.RESTART, Verb.CANCEL])
                await states.change(task.id, partial(do, verb))


def _reported(report: Report, sender: AttemptRef, task: Task, now: datetime) -> Effect:
    return report(task, sender, now)


async def test_slots_are_those_of_the_table(  # noqa: PLR0913, PLR0917  (what the server is made of)
    states: DispatchingStates,
    commits: GroupCommit,
    store: CountingStore,
    registry: Registry,
    published: list[CommittedEvent],
    faults: Faults,
) -> None:
    commits.listeners.append(registry.on_commit)
    for unit_id, capacity in UNITS.items():
        registry.slots.offer(an_offer(unit_id, capacity=capacity))
    specs = [a_spec(task_type=TASK_TYPE, start=True) for _ in range(TASKS)]
    await states.create(specs, ALICE)
    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            group.create_task(client(number, states, store))
    await states.fill_slots()
    running = await store.running_tasks()
    in_use = Counter(task.execution_unit_id for task in running)
    assert {unit_id: registry.slots.load(unit_id) for unit_id in UNITS} == {each: in_use[each] for each in UNITS}
    assert registry.slots.problems() == []
    assert_heard_in_order(published, {task.id: task for task in running})
    assert len(faults.count) == 3, "each fault came"


def assert_heard_in_order(published: list[CommittedEvent], running: dict[int, Task]) -> None:
    """Check that listeners received each revision once, in order, and last the state of the table."""
    revisions = [each.task.revision for each in published]
    assert revisions == sorted(set(revisions))
    last = {each.task.id: each.task for each in published}
    assert {task_id for task_id, task in last.items() if task.status is TaskStatus.RUNNING} == running.keys()
