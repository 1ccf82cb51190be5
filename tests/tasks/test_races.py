"""Many clients, units and the dispatcher on the same tasks at once: one wins, the rest is refused, history is a path.

Runs on every kind of database, with the server's writer.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import product

import pytest
from support.actions import REPORTS, do
from support.builders import ALICE, OTHER_UNIT_ID, TASK_TYPE, UNIT_ID, a_spec, an_offer, assert_is_path, attempt_ref_of
from support.writer import CountingStore, DispatchingStates, HeldCommit

from taskplane.server.core.effect import Effect
from taskplane.server.core.errors import IllegalTransition, StaleAttempt
from taskplane.server.core.placement import Offer
from taskplane.server.core.task import FINAL, Task, TaskStatus, Transition, Verb
from taskplane.server.tasks import group_commit
from taskplane.server.tasks.group_commit import GroupCommit
from taskplane.server.tasks.mutations import ChangeTask

PENDING, RUNNING, SUCCESS, FAILED, PAUSED, CANCELLED = TaskStatus
CLIENTS = 20

Deed = Callable[[Task, datetime], Effect]


@pytest.fixture
def url(database_url: str) -> str:
    return database_url


@pytest.fixture(autouse=True)
def _transactions_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Overlap transactions of any size."""
    monkeypatch.setattr(group_commit, "MIN_OVERLAP_TASKS", 1)


@dataclass
class Arena:
    """A task for simultaneous calls, and the outcome."""

    states: DispatchingStates
    store: CountingStore
    commits: GroupCommit
    task: Task

    async def all_at_once(self, *changes: Deed) -> list[Task | BaseException]:
        """Submit all calls during a commit, so that they share one transaction."""
        async with HeldCommit(self.commits):
            calls = [self.commits.submit(ChangeTask(self.task.id, change)) for change in changes]
        return await asyncio.gather(*calls, return_exceptions=True)

    async def history(self) -> list[Transition]:
        history = await self.store.list_transitions(self.task.id, after_revision=0, limit=1000)
        assert_is_path(history)
        return history

    async def now(self) -> Task:
        task = await self.store.get_task(self.task.id)
        assert task
        return task


# The report that leads a RUNNING task to a status.
REPORT_OF = {SUCCESS: "succeeded", FAILED: "failed for good", PAUSED: "paused"}


@dataclass
class Arenas:
    """Creates tasks in a requested status."""

    states: DispatchingStates
    store: CountingStore
    commits: GroupCommit

    async def task_in(self, status: TaskStatus) -> Arena:
        (task,) = await self.states.create([a_spec(start=status is not PENDING)], ALICE)
        if status is CANCELLED:
            task = await self.states.change(task.id, verb(Verb.CANCEL))
        elif status is not PENDING:
            (dispatch,) = await self.states.dispatch([an_offer()])
            task = dispatch.task
        if status in REPORT_OF:
            task = await self.states.change(task.id, report(REPORT_OF[status]))
        assert task.status is status
        return Arena(self.states, self.store, self.commits, task)


def verb(verb: Verb) -> Deed:
    return lambda task, now: do(verb, task, now)


def report(name: str) -> Deed:
    return lambda task, now: REPORTS[name](task, attempt_ref_of(task), now)


@pytest.fixture
def arenas(states: DispatchingStates, store: CountingStore, commits: GroupCommit) -> Arenas:
    return Arenas(states, store, commits)


def winners(before: Task, answers: Sequence[Task | BaseException]) -> list[int]:
    """Return the calls that changed the task: each has its own revision."""
    found, revision = [], before.revision
    for number, answer in enumerate(answers):
        if isinstance(answer, Task):
            assert answer.revision >= revision
            if answer.revision > revision:
                found.append(number)
            revision = answer.revision
        else:
            assert isinstance(answer, IllegalTransition), answer
    return found


LEGAL = [
    (PENDING, Verb.START),
    (PENDING, Verb.CANCEL),
    (RUNNING, Verb.PAUSE),
    (RUNNING, Verb.CANCEL),
    (PAUSED, Verb.RESUME),
    (PAUSED, Verb.CANCEL),
    (FAILED, Verb.RESTART),
    (CANCELLED, Verb.RESTART),
]


async def test_one_verb_from_many_clients_is_done_once(arenas: Arenas) -> None:
    for status, each in LEGAL:
        arena = await arenas.task_in(status)
        answers = await arena.all_at_once(*[verb(each)] * CLIENTS)
        assert winners(arena.task, answers) == [0], (
            f"{each} of {status}: the first wins, to the others it holds already"
        )
        assert all(isinstance(answer, Task) for answer in answers)
        await arena.history()


def one_after_the_other(task: Task, *asked: Verb) -> tuple[Task, list[IllegalTransition | None]]:
    """Return the task after the verbs, and the error of each verb, or None."""
    errors: list[IllegalTransition | None] = []
    for each in asked:
        try:
            task = do(each, task, task.updated_at).task
        except IllegalTransition as error:
            errors.append(error)
        else:
            errors.append(None)
    return task, errors


async def test_two_verbs_at_once_leave_the_task_as_one_after_the_other_would(arenas: Arenas) -> None:
    for status, first, second in product(TaskStatus, Verb, Verb):
        arena = await arenas.task_in(status)
        answers = await arena.all_at_once(verb(first), verb(second))
        expected, errors = one_after_the_other(arena.task, first, second)
        refusals = [getattr(answer, "metadata", None) for answer in answers]
        assert refusals == [error and error.metadata for error in errors], f"{first} and {second} of {status}"
        now = await arena.now()
        assert (now.status, now.queued_at is None) == (expected.status, expected.queued_at is None)
        assert (now.pending_command is None) == (expected.pending_command is None)
        await arena.history()


@pytest.mark.parametrize("seed", range(3))
async def test_a_task_ends_once_however_many_want_to_end_it(arenas: Arenas, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311  (shuffles, keeps no secret)
    ends = [report(name) for name in ("succeeded", "failed for good", "cancelled", "lost", "released")]
    for _ in range(10):
        arena = await arenas.task_in(RUNNING)
        rivals = [*ends, *(verb(each) for each in (Verb.PAUSE, Verb.CANCEL))] * 3
        chance.shuffle(rivals)
        answers = await arena.all_at_once(*rivals)
        for answer in answers:
            assert isinstance(answer, Task | IllegalTransition | StaleAttempt), answer
        ended = [each.to_status for each in await arena.history() if each.to_status in FINAL]
        now = await arena.now()
        # A lost attempt is retried, so a task can fail on its way; but it never left its final status.
        assert ended.count(SUCCESS) <= 1
        if SUCCESS in ended or CANCELLED in ended:
            assert now.status is ended[-1]


@dataclass
class Crowd:
    """Clients, units and a dispatcher with random actions."""

    states: DispatchingStates
    ids: Sequence[int]
    chance: random.Random

    async def client(self) -> None:
        for _ in range(15):
            await self._try(verb(self.chance.choice(list(Verb))))

    async def unit(self) -> None:
        for _ in range(25):
            await self._try(report(self.chance.choice(list(REPORTS))))

    async def dispatcher(self, offers: Sequence[Offer]) -> None:
        for _ in range(10):
            for dispatch in await self.states.dispatch(offers):
                assert dispatch.task.status is RUNNING

    async def _try(self, change: Deed) -> None:
        with suppress(IllegalTransition, StaleAttempt):
            await self.states.change(self.chance.choice(self.ids), change)


@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_happens_at_once_every_history_is_a_path(
    states: DispatchingStates, store: CountingStore, seed: int
) -> None:
    tasks = await states.create([a_spec(start=number % 2 == 0, max_retries=1000) for number in range(12)], ALICE)
    chance = random.Random(seed)  # noqa: S311  (chooses, keeps no secret)
    crowd = Crowd(states, [task.id for task in tasks], chance)
    offers = [an_offer(UNIT_ID, capacity=3), an_offer(OTHER_UNIT_ID, capacity=3, task_types=frozenset({TASK_TYPE}))]
    await asyncio.gather(
        *(crowd.client() for _ in range(8)), *(crowd.unit() for _ in range(6)), crowd.dispatcher(offers)
    )
    steps = 0
    for task in tasks:
        history = await store.list_transitions(task.id, after_revision=0, limit=1000)
        assert_is_path(history)
        steps += len(history)
        now = await store.get_task(task.id)
        assert now
        assert now.status is history[-1].to_status
        assert now.attempt == sum(step.to_status is RUNNING for step in history), "each dispatch is an attempt"
    assert steps > 4 * len(tasks), "the crowd has done something"
