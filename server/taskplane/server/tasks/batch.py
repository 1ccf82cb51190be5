"""One transaction of the state manager, and the proposals that share it.

A batch locks the tasks of its proposals, lets each decide on the tasks as the ones before it have left them, gives free
slots to those that want to run, and writes everything at the end with a few statements.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from heapq import merge
from typing import Protocol, TypeVar

from taskplane.server.core.backlog import BACK, Queued, Turn, turn_of
from taskplane.server.core.change import Change
from taskplane.server.core.dispatch import Dispatch, dispatched, without_checkpoint
from taskplane.server.core.errors import TaskNotFound
from taskplane.server.core.ledger import LedgerEntry, entries
from taskplane.server.core.placement import Assignment, Slots, is_due
from taskplane.server.core.task import Checkpoint, Task, TaskStatus, Transition
from taskplane.server.store.writing import WriteTransaction
from taskplane.server.tasks.live import LiveAttempts

# Checkpoints that are kept of a task.
CHECKPOINTS_KEPT = 5
# How much of the backlog is looked at at once, and in one transaction at the most.
LARGEST_PAGE = 500
MOST_LOOKED_AT = 5_000

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Committed:
    """One durable change of one task, as it is told to listeners in the order of revisions."""

    task: Task
    transition: Transition | None = None
    note: str = ""
    # The unit has no say in it and must be told to drop its attempt.
    taken_from_unit: bool = False
    deleted: bool = False
    # It was given to a unit, which must be told.
    dispatch: Dispatch | None = None


class Proposal(Protocol[T_co]):
    """Something that wants to change tasks."""

    def task_ids(self) -> Iterable[int]:
        """Return the tasks that must be locked before."""

    def decide(self, batch: "Batch") -> T_co:
        """Put changes to the batch and return the answer, or raise a TaskplaneError before any was put."""


class Batch:
    """The tasks of one transaction as they will be."""

    def __init__(self, transaction: WriteTransaction, live: LiveAttempts, slots: Slots, now: datetime) -> None:
        self.now = now
        self.committed: list[Committed] = []
        # The tasks that got a slot in this transaction, by the revision that they had before.
        self.dispatched: dict[int, Task] = {}
        self._transaction = transaction
        self._live = live
        self._slots = slots
        self._tasks: dict[int, Task] = {}
        self._created: set[int] = set()
        self._changed: set[int] = set()
        self._deleted: set[int] = set()
        self._checkpoints: list[tuple[int, Checkpoint]] = []
        self._commands: list[LedgerEntry] = []

    def lock(self, task_ids: Iterable[int]) -> None:
        """Lock tasks by id, unless they are; those that do not exist are passed over."""
        found = self._transaction.lock_tasks(task_id for task_id in task_ids if task_id not in self._tasks)
        self._tasks.update((task_id, self._live.overlay(task)) for task_id, task in found.items())

    def lock_running_on(self, unit_id: str) -> list[Task]:
        """Lock and return the RUNNING and PAUSED tasks last dispatched to a unit."""
        return self._as_they_will_be(self._transaction.lock_running_on(unit_id))

    def lock_finished(self, before: datetime, limit: int) -> list[Task]:
        """Lock and return final tasks that were completed before a time."""
        return [task for task in self._as_they_will_be(self._transaction.lock_finished(before, limit)) if task.is_final]

    def find(self, task_id: int) -> Task | None:
        """Return a locked task, or None if it does not exist."""
        return None if task_id in self._deleted else self._tasks.get(task_id)

    def task(self, task_id: int) -> Task:
        """Return a locked task. Raises TaskNotFound."""
        task = self.find(task_id)
        if task is None:
            raise TaskNotFound(task_id)
        return task

    def new_ids(self, count: int) -> range:
        """Return ids for new tasks."""
        return self._transaction.next_task_ids(count)

    def new_revisions(self, count: int) -> range:
        """Return revisions for new tasks."""
        return self._transaction.next_revisions(count)

    def create(self, tasks: Sequence[Task], transitions: Sequence[Transition]) -> list[Task]:
        """Add new tasks, each with the transition that made it, under new ids and revisions. Returns the tasks."""
        self._tasks.update((task.id, task) for task in tasks)
        self._created.update(task.id for task in tasks)
        self.committed += map(Committed, tasks, transitions)
        return list(tasks)

    def put(self, change: Change) -> Task:
        """Take a change on. Returns the task with its new revision; without steps it stays as it is."""
        self._commands += entries(self._tasks[change.task.id], change, self.now)
        for step, revision in zip(change.steps, self._transaction.next_revisions(len(change.steps)), strict=True):
            task = step.task.but(revision=revision)
            transition = step.transition and step.transition.numbered(revision)
            self._tasks[task.id] = task
            self.committed.append(Committed(task, transition, step.note, step.taken_from_unit))
        if change.steps:
            self._changed.add(change.task.id)
        if change.checkpoint:
            self._checkpoints.append((change.task.id, change.checkpoint))
        return self._tasks[change.task.id]

    def checkpoint(self, task_id: int, number: int) -> Checkpoint | None:
        """Return one checkpoint of a task, if it is kept."""
        return self._transaction.checkpoint(task_id, number)

    def note_purge(self, revision: int) -> None:
        """Remember that history up to a revision may have gaps."""
        self._transaction.note_purge(revision)

    def delete(self, task: Task) -> None:
        """Delete a locked task with all that belongs to it."""
        (revision,) = self._transaction.next_revisions(1)
        self._deleted.add(task.id)
        self.committed.append(Committed(task.but(revision=revision), deleted=True))

    def with_checkpoints(self, dispatches: Iterable[Dispatch]) -> list[Dispatch]:
        """Complete dispatches with the data that their units need to go on from.

        One whose checkpoint is gone is left out: its unit will not accept it, and the next dispatch says why.
        """
        dispatches = list(dispatches)
        data = self._newest_checkpoints(each.task for each in dispatches)
        there = [each for each in dispatches if each.task.checkpoint is None or each.task.id in data]
        return [replace(each, checkpoint=data.get(each.task.id)) for each in there]

    def fill_slots(self) -> None:
        """Give the free slots to what is due, highest priority first: to tasks of this transaction, and to the backlog.

        The slots of tasks that stop running are free at once: who gets one is told after that is durable.
        """
        taken: list[Assignment] = []
        freed: dict[int, str] = {}
        # Not a lambda: that would hold the batch, which holds the transaction, so none is freed before a collection.
        self._transaction.undoing.append(partial(self._slots.undo, taken, freed))
        for task_id in self._changed:
            if self._tasks[task_id].status is not TaskStatus.RUNNING and (unit_id := self._slots.vacate(task_id)):
                freed[task_id] = unit_id
        mine = sorted((task for task_id in self._tasks if (task := self._due(task_id))), key=turn_of)
        for task in merge(mine, self._backlog(self._slots.begin_look()), key=turn_of):
            if assignment := self._slots.take(task):
                taken.append(assignment)
            else:
                self._slots.backlog.put(Queued.of(task))
        self._dispatch(taken)
        for task_id in self._created | self._changed:
            if task := self._due(task_id):
                self._slots.backlog.put(Queued.of(task))
            else:
                self._slots.backlog.discard(task_id)

    def _backlog(self, task_types: Collection[str]) -> Iterator[Task]:
        """Return what else waits for these types and may have room, in order, as long as there are slots.

        The table is read once at the most: what lies further behind is looked at by the next transaction.
        """
        backlog, after, left, may_read = self._slots.backlog, None, MOST_LOOKED_AT, True
        while count := min(self._slots.free(task_types), LARGEST_PAGE, left):
            queued, end = backlog.page(task_types, after, count, self._slots.may_have_room)
            yield from self._still_due(queued)
            after, left = queued[-1] if queued else after, left - len(queued)
            if len(queued) == count or not self._slots.free(task_types):
                continue
            if end == BACK:
                return
            if not may_read:
                break
            self._read_on(task_types, end)
            may_read = False
        if self._slots.free(task_types):
            self._slots.go_on(task_types)

    def _still_due(self, queued: Sequence[Queued]) -> Iterator[Task]:
        others = [each.task_id for each in queued if each.task_id not in self._tasks]
        self.lock(others)
        for task_id in others:
            if task := self._due(task_id):
                yield task
            else:
                self._slots.backlog.discard(task_id)

    def _read_on(self, task_types: Collection[str], after: Turn) -> None:
        age = self._slots.backlog.age
        found = self._transaction.lock_queued(task_types, self.now, LARGEST_PAGE, after)
        self._slots.backlog.learn(task_types, after, found, is_whole=len(found) < LARGEST_PAGE, age=age)

    def write(self) -> None:
        """Write everything."""
        kept = [task_id for task_id in self._created | self._changed if task_id not in self._deleted]
        created = [self._tasks[task_id] for task_id in kept if task_id in self._created]
        changed = [self._tasks[task_id] for task_id in kept if task_id not in self._created]
        checkpoints = [each for each in self._checkpoints if each[0] not in self._deleted]
        transitions = [each.transition for each in self.committed if each.transition]
        self._transaction.insert_tasks(created)
        self._transaction.update_tasks(changed)
        self._transaction.insert_transitions([each for each in transitions if each.task_id not in self._deleted])
        if checkpoints:
            self._transaction.insert_checkpoints(checkpoints)
            # The first ones, whose numbers are that small, cannot be too many.
            many = {task_id for task_id, each in checkpoints if each.number > CHECKPOINTS_KEPT}
            self._transaction.prune_checkpoints(many, CHECKPOINTS_KEPT)
        self._transaction.save_commands([each for each in self._commands if each.task_id not in self._deleted])
        self._transaction.delete_tasks(self._deleted)

    def _due(self, task_id: int) -> Task | None:
        task = self.find(task_id)
        return task if task and is_due(task, self.now) else None

    def _dispatch(self, assignments: Sequence[Assignment]) -> None:
        checkpoints = self._newest_checkpoints(each.task for each in assignments)
        for assignment in assignments:
            if assignment.task.checkpoint and assignment.task.id not in checkpoints:
                self._slots.vacate(assignment.task.id)
                self.put(without_checkpoint(assignment.task, self.now))
                continue
            task = self.put(dispatched(assignment, self.now))
            dispatch = Dispatch(task, checkpoints.get(task.id), assignment.held_attempt)
            self.committed[-1] = replace(self.committed[-1], dispatch=dispatch)
            self.dispatched[assignment.task.revision] = task

    def _newest_checkpoints(self, tasks: Iterable[Task]) -> dict[int, Checkpoint]:
        wanted = {task.id: task.checkpoint.number for task in tasks if task.checkpoint}
        if not wanted:
            return {}
        new = {task_id: each for task_id, each in self._checkpoints if wanted.get(task_id) == each.number}
        return new | self._transaction.checkpoints({key: wanted[key] for key in wanted.keys() - new.keys()})

    def _as_they_will_be(self, found: Sequence[Task]) -> list[Task]:
        for task in found:
            if task.id not in self._tasks:
                self._tasks[task.id] = self._live.overlay(task)
        return [current for each in found if (current := self.find(each.id))]
