"""The dispatcher: gives free slots to queued tasks at the end of every transaction, highest priority first.

The tasks come from the transaction and from the queue. A *scan* is one pass over the queue for the types with free
slots; a long scan continues in the next transaction.
"""

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial
from heapq import merge

from taskplane.server.core.assignments import Assignment
from taskplane.server.core.clock import utc_now
from taskplane.server.core.command import without_checkpoint
from taskplane.server.core.placement import Placement, Slots, is_due
from taskplane.server.core.task import Task, TaskStatus
from taskplane.server.core.task_queue import BACK, QueuedTask, QueueKey, queue_key_of
from taskplane.server.store.transaction import WriteTransaction
from taskplane.server.tasks.unit_of_work import UnitOfWork

log = logging.getLogger(__name__)

# Queued tasks in one page, and in one transaction. More would delay the commit.
PAGE_TASKS = 500
MAX_SCANNED_TASKS = 5_000


class Dispatcher:
    """Assigns slots in one transaction. If the transaction fails, all slots are restored."""

    def __init__(self, work: UnitOfWork, transaction: WriteTransaction, slots: Slots) -> None:
        self._work = work
        self._transaction = transaction
        self._slots = slots

    def fill_slots(self) -> None:
        """Assign the free slots to due tasks of this transaction and of the queue.

        Slots of tasks that stop running are free at once: their next dispatch is sent only after the commit.
        """
        taken: list[Placement] = []
        freed: list[Assignment] = []
        self._correct()
        # A lambda would hold the unit of work, and so the transaction, until a garbage collection.
        self._transaction.on_rollback.append(partial(self._slots.undo, taken, freed))
        self._free(freed)
        self._take(taken)
        self._dispatch(taken)
        self._update_queue()

    def _correct(self) -> None:
        """Correct the assignments of the units whose tasks were read: the table is right.

        All earlier decisions are durable then, so a difference is a defect.
        """
        for unit_id, running in self._work.running_on.items():
            for difference in self._slots.assignments.correct(unit_id, running):
                log.warning("corrected the slots of unit %s: %s", unit_id, difference)

    def _free(self, freed: list[Assignment]) -> None:
        for task_id in self._work.changed:
            if self._work.tasks[task_id].status is not TaskStatus.RUNNING:
                assignment = self._slots.assignments.free(task_id)
                if assignment:
                    freed.append(assignment)

    def _take(self, taken: list[Placement]) -> None:
        mine = sorted(self._due(self._work.tasks), key=queue_key_of)
        for task in merge(mine, self._queued_tasks(self._slots.scan.start()), key=queue_key_of):
            if placement := self._slots.take(task):
                taken.append(placement)
            else:
                self._slots.scan.task_queue.put(QueuedTask.of(task))

    def _dispatch(self, placements: Sequence[Placement]) -> None:
        checkpoints = self._work.newest_checkpoints(each.task for each in placements)
        for placement in placements:
            if placement.task.next_checkpoint_number and placement.task.id not in checkpoints:
                self._slots.release([placement])
                self._work.apply(without_checkpoint(placement.task, self._work.now))
            else:
                self._work.dispatch(placement, checkpoints.get(placement.task.id))

    def _update_queue(self) -> None:
        ids = self._work.created | self._work.changed
        due = self._due(ids)
        for task in due:
            self._slots.scan.task_queue.put(QueuedTask.of(task))
        for task_id in ids.difference(task.id for task in due):
            self._slots.scan.task_queue.discard(task_id)

    def _queued_tasks(self, task_types: Collection[str]) -> Iterator[Task]:
        """Yield the other queued tasks of these types that may fit, in order, while slots are free.

        The table is read at most once: the next transaction examines the rest.
        """
        task_queue, after, left, may_read = self._slots.scan.task_queue, None, MAX_SCANNED_TASKS, True
        while count := min(self._slots.free(task_types), PAGE_TASKS, left):
            queued, end = task_queue.page(task_types, after, count, self._slots.kind_fits_now)
            yield from self._still_due(queued)
            after, left = queued[-1] if queued else after, left - len(queued)
            if len(queued) == count or not self._slots.free(task_types):
                continue
            if end == BACK:
                return
            if not may_read:
                break
            self._read_more(task_types, end)
            may_read = False
        if self._slots.free(task_types):
            self._slots.scan.continue_later(task_types)

    def _still_due(self, queued: Sequence[QueuedTask]) -> Iterator[Task]:
        others = [each.task_id for each in queued if each.task_id not in self._work.tasks]
        self._work.load(others)
        due = self._due(others)
        for task_id in set(others).difference(task.id for task in due):
            self._slots.scan.task_queue.discard(task_id)
        yield from due

    def _read_more(self, task_types: Collection[str], after: QueueKey) -> None:
        age = self._slots.scan.task_queue.age
        found = self._transaction.lock_queued(task_types, self._work.now, PAGE_TASKS, after)
        self._slots.scan.task_queue.learn(task_types, after, found, is_whole=len(found) < PAGE_TASKS, age=age)

    def _due(self, task_ids: Iterable[int]) -> list[Task]:
        """Return the tasks that wait only for a slot.

        Measured by the present time instead of the transaction's: a delay may have ended since the start, and a task is
        offered only once after its delay.
        """
        now = utc_now()
        return [task for task_id in task_ids if (task := self._work.find(task_id)) and is_due(task, now)]
