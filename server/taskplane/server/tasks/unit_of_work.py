"""One transaction of the state manager, and the proposals that share it.

A batch loads the tasks of its proposals, lets each decide on the tasks as the ones before it have left them, and writes
everything at the end with a few statements.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol, TypeVar

from taskplane.server.core.command import Dispatch, dispatched
from taskplane.server.core.command_log import CommandLogEntry, entries
from taskplane.server.core.effect import Effect
from taskplane.server.core.errors import TaskNotFound
from taskplane.server.core.placement import Placement
from taskplane.server.core.task import Checkpoint, Task, TaskStatus, Transition
from taskplane.server.store.deletions import Deletion
from taskplane.server.store.transaction import WriteTransaction
from taskplane.server.tasks.progress_cache import ProgressCache

# Checkpoints that are kept of a task.
CHECKPOINTS_KEPT = 5

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class CommittedEvent:
    """One durable change of one task, as it is told to listeners in the order of revisions."""

    task: Task
    transition: Transition | None = None
    note: str = ""
    # The unit has no say in it and must be told to drop its attempt.
    taken_from_unit: bool = False
    deleted: bool = False
    # It was given to a unit, which must be told.
    dispatch: Dispatch | None = None


class Mutation(Protocol[T_co]):
    """Something that wants to change tasks."""

    def task_ids(self) -> Iterable[int]:
        """Return the tasks that must be loaded before."""

    def decide(self, work: "UnitOfWork") -> T_co:
        """Put changes to the batch and return the answer, or raise a TaskplaneError before any was put."""


class UnitOfWork:
    """The tasks of one transaction as they will be."""

    def __init__(self, transaction: WriteTransaction, progress_cache: ProgressCache, now: datetime) -> None:
        self.now = now
        # As the proposals so far have left them, by id; and which of them are new, or not as they were.
        self.tasks: dict[int, Task] = {}
        self.created: set[int] = set()
        self.changed: set[int] = set()
        self.committed: list[CommittedEvent] = []
        # The tasks that got a slot in this transaction, by the revision that they had before: answers of that revision
        # show them so, and earlier ones do not.
        self.dispatched: dict[int, Task] = {}
        # The RUNNING tasks of units that were asked for, as the table has them.
        self.running_on: dict[str, list[Task]] = {}
        self._transaction = transaction
        self._progress_cache = progress_cache
        self._deleted: set[int] = set()
        self._deletions: list[Deletion] = []
        self._checkpoints: list[tuple[int, Checkpoint]] = []
        self._commands: list[CommandLogEntry] = []

    def load(self, task_ids: Iterable[int]) -> None:
        """Load tasks by id, unless they are, so that they stay as they are until the commit, or that fails.

        Those that do not exist are passed over.
        """
        found = self._transaction.load_tasks(task_id for task_id in task_ids if task_id not in self.tasks)
        self.tasks.update((task_id, self._progress_cache.overlay(task)) for task_id, task in found.items())

    def lock_running_on(self, unit_id: str) -> list[Task]:
        """Lock and return the RUNNING and PAUSED tasks last dispatched to a unit."""
        found = self._transaction.lock_running_on(unit_id)
        self.running_on[unit_id] = [task for task in found if task.status is TaskStatus.RUNNING]
        return self._as_they_will_be(found)

    def lock_finished(self, before: datetime, limit: int) -> list[Task]:
        """Lock and return final tasks that were completed before a time."""
        return [task for task in self._as_they_will_be(self._transaction.lock_finished(before, limit)) if task.is_final]

    def find(self, task_id: int) -> Task | None:
        """Return a loaded task, or None if it does not exist."""
        return None if task_id in self._deleted else self.tasks.get(task_id)

    def task(self, task_id: int) -> Task:
        """Return a loaded task. Raises TaskNotFound."""
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
        self.tasks.update((task.id, task) for task in tasks)
        self.created.update(task.id for task in tasks)
        self.committed += map(CommittedEvent, tasks, transitions)
        return list(tasks)

    def put(self, change: Effect) -> Task:
        """Add a change. Returns the task with its new revision; without steps it stays as it is."""
        self._commands += entries(self.tasks[change.task.id], change, self.now)
        for step, revision in zip(change.steps, self._transaction.next_revisions(len(change.steps)), strict=True):
            task = step.task.but(revision=revision)
            transition = step.transition and step.transition.numbered(revision)
            self.tasks[task.id] = task
            self.committed.append(CommittedEvent(task, transition, step.note, step.taken_from_unit))
        if change.steps:
            self.changed.add(change.task.id)
        if change.checkpoint:
            self._checkpoints.append((change.task.id, change.checkpoint))
        return self.tasks[change.task.id]

    def checkpoint(self, task_id: int, number: int) -> Checkpoint | None:
        """Return one checkpoint of a task, if it is kept."""
        return self._transaction.checkpoint(task_id, number)

    def delete(self, task: Task) -> None:
        """Delete a loaded task with all that belongs to it. That it was deleted is kept, for watchers that are away."""
        revision = self._remove(task)
        self._deletions.append(Deletion(revision, task.id, task.task_type))

    def purge(self, tasks: Sequence[Task]) -> None:
        """Delete loaded tasks that are old, and keep only up to which revision history may have gaps now."""
        for task in tasks:
            self._remove(task)
        if tasks:
            self._transaction.note_purge(max(task.revision for task in tasks))

    def _remove(self, task: Task) -> int:
        """Delete a task. Returns the revision of that."""
        (revision,) = self._transaction.next_revisions(1)
        self._deleted.add(task.id)
        self.committed.append(CommittedEvent(task.but(revision=revision), deleted=True))
        return revision

    def with_checkpoints(self, dispatches: Iterable[Dispatch]) -> list[Dispatch]:
        """Complete dispatches with the data that their units need to go on from.

        One whose checkpoint is gone is left out: its unit will not accept it, and the next dispatch says why.
        """
        dispatches = list(dispatches)
        data = self.newest_checkpoints(each.task for each in dispatches)
        there = [each for each in dispatches if each.task.checkpoint is None or each.task.id in data]
        return [replace(each, checkpoint=data.get(each.task.id)) for each in there]

    def dispatch(self, placement: Placement, checkpoint: Checkpoint | None) -> None:
        """Give a task to the unit that has a slot for it."""
        chosen = checkpoint if placement.task.queued_checkpoint_number else None
        task = self.put(dispatched(placement, self.now, chosen))
        self.committed[-1] = replace(self.committed[-1], dispatch=Dispatch(task, checkpoint, placement.held_attempt))
        self.dispatched[placement.task.revision] = task

    def newest_checkpoints(self, tasks: Iterable[Task]) -> dict[int, Checkpoint]:
        """Return the checkpoints that tasks would go on from, with their data, by task id; those that are gone not."""
        wanted = {task.id: number for task in tasks if (number := task.next_checkpoint_number)}
        if not wanted:
            return {}
        new = {task_id: each for task_id, each in self._checkpoints if wanted.get(task_id) == each.number}
        return new | self._transaction.checkpoints({key: wanted[key] for key in wanted.keys() - new.keys()})

    def write(self) -> None:
        """Write everything."""
        kept = [task_id for task_id in self.created | self.changed if task_id not in self._deleted]
        created = [self.tasks[task_id] for task_id in kept if task_id in self.created]
        changed = [self.tasks[task_id] for task_id in kept if task_id not in self.created]
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
        self._transaction.insert_deletions(self._deletions, self.now)

    def _as_they_will_be(self, found: Sequence[Task]) -> list[Task]:
        for task in found:
            if task.id not in self.tasks:
                self.tasks[task.id] = self._progress_cache.overlay(task)
        return [current for each in found if (current := self.find(each.id))]
