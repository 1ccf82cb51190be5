"""The unit of work: one transaction of the state manager, shared by many mutations.

A unit of work loads the tasks of its mutations. Each mutation decides on the tasks as left by the earlier mutations. A
few statements at the end write everything.
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

# The number of checkpoints kept for each task.
CHECKPOINTS_KEPT = 5

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class CommittedEvent:
    """One durable change of one task, published to listeners in the order of revisions."""

    task: Task
    transition: Transition | None = None
    note: str = ""
    # The attempt is no longer current, and its unit must drop it.
    taken_from_unit: bool = False
    deleted: bool = False
    # The dispatch to send to the unit.
    dispatch: Dispatch | None = None


class Mutation(Protocol[T_co]):
    """A change of tasks to be decided within a transaction."""

    def task_ids(self) -> Iterable[int]:
        """Return the ids of the tasks to load before the decision."""

    def decide(self, work: "UnitOfWork") -> T_co:
        """Add effects and return the result, or raise a TaskplaneError before the first effect."""


class UnitOfWork:
    """The tasks of one transaction after its mutations so far."""

    def __init__(self, transaction: WriteTransaction, progress_cache: ProgressCache, now: datetime) -> None:
        self.now = now
        # By id; and the ids of new and changed tasks among them.
        self.tasks: dict[int, Task] = {}
        self.created: set[int] = set()
        self.changed: set[int] = set()
        self.events: list[CommittedEvent] = []
        # The tasks that got a slot in this transaction, by their revision before: only results of that revision show
        # the dispatch.
        self.dispatched: dict[int, Task] = {}
        # The RUNNING tasks of units as the table has them, for the units read so far.
        self.running_on: dict[str, list[Task]] = {}
        self._transaction = transaction
        self._progress_cache = progress_cache
        self._deleted: set[int] = set()
        self._deletions: list[Deletion] = []
        self._checkpoints: list[tuple[int, Checkpoint]] = []
        self._commands: list[CommandLogEntry] = []

    def load(self, task_ids: Iterable[int]) -> None:
        """Load tasks by id, so that they stay unchanged until the commit, or the commit fails.

        Missing and loaded tasks are skipped.
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
        """Add new tasks with new ids and revisions, each with its first transition. Returns the tasks."""
        self.tasks.update((task.id, task) for task in tasks)
        self.created.update(task.id for task in tasks)
        self.events += map(CommittedEvent, tasks, transitions)
        return list(tasks)

    def apply(self, effect: Effect) -> Task:
        """Add an effect. Returns the task with its new revision; without steps the task is unchanged."""
        self._commands += entries(self.tasks[effect.task.id], effect, self.now)
        for step, revision in zip(effect.steps, self._transaction.next_revisions(len(effect.steps)), strict=True):
            task = step.task.but(revision=revision)
            transition = step.transition and step.transition.numbered(revision)
            self.tasks[task.id] = task
            self.events.append(CommittedEvent(task, transition, step.note, step.taken_from_unit))
        if effect.steps:
            self.changed.add(effect.task.id)
        if effect.checkpoint:
            self._checkpoints.append((effect.task.id, effect.checkpoint))
        return self.tasks[effect.task.id]

    def checkpoint(self, task_id: int, number: int) -> Checkpoint | None:
        """Return one checkpoint of a task, if it is kept."""
        return self._transaction.checkpoint(task_id, number)

    def delete(self, task: Task) -> None:
        """Delete a loaded task with its history. A tombstone stays for watches that resume."""
        revision = self._remove(task)
        self._deletions.append(Deletion(revision, task.id, task.task_type))

    def purge(self, tasks: Sequence[Task]) -> None:
        """Purge expired tasks and record the revision below which history may have gaps."""
        for task in tasks:
            self._remove(task)
        if tasks:
            self._transaction.note_purge(max(task.revision for task in tasks))

    def _remove(self, task: Task) -> int:
        """Delete a task and return the revision of the deletion."""
        (revision,) = self._transaction.next_revisions(1)
        self._deleted.add(task.id)
        self.events.append(CommittedEvent(task.but(revision=revision), deleted=True))
        return revision

    def with_checkpoints(self, dispatches: Iterable[Dispatch]) -> list[Dispatch]:
        """Add to dispatches the checkpoint data that their units need.

        A dispatch without its checkpoint is left out: the unit does not accept it, and the next dispatch reports the
        reason.
        """
        dispatches = list(dispatches)
        data = self.newest_checkpoints(each.task for each in dispatches)
        there = [each for each in dispatches if each.task.checkpoint is None or each.task.id in data]
        return [replace(each, checkpoint=data.get(each.task.id)) for each in there]

    def dispatch(self, placement: Placement, checkpoint: Checkpoint | None) -> None:
        """Give a task to the unit that has a slot for it."""
        chosen = checkpoint if placement.task.queued_checkpoint_number else None
        task = self.apply(dispatched(placement, self.now, chosen))
        self.events[-1] = replace(self.events[-1], dispatch=Dispatch(task, checkpoint, placement.held_attempt))
        self.dispatched[placement.task.revision] = task

    def newest_checkpoints(self, tasks: Iterable[Task]) -> dict[int, Checkpoint]:
        """Return the checkpoints, with data, from which tasks would continue, by task id; missing ones are omitted."""
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
        transitions = [each.transition for each in self.events if each.transition]
        self._transaction.insert_tasks(created)
        self._transaction.update_tasks(changed)
        self._transaction.insert_transitions([each for each in transitions if each.task_id not in self._deleted])
        if checkpoints:
            self._transaction.insert_checkpoints(checkpoints)
            # Tasks with lower numbers have at most this number of checkpoints.
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
