"""The queue: the first queued tasks of each kind, in memory, in the order of dispatch.

The table holds the whole queue. Every transaction updates the part in memory; a failed transaction clears the part.
"""

import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from heapq import merge
from itertools import islice, takewhile
from typing import NamedTuple, Self

from sortedcontainers import SortedList

from taskplane.server.core.task import Task

# The order of queued tasks: highest priority first, then the oldest, then the lowest id.
QueueKey = tuple[int, datetime, int]
# The unit labels that a task requests.
Labels = frozenset[tuple[str, str]]
# The properties of a task that decide which units suit: type and requested labels.
Kind = tuple[str, Labels]
# Sort before and after every queued task.
FRONT: QueueKey = (-sys.maxsize, datetime.min.replace(tzinfo=UTC), 0)
BACK: QueueKey = (sys.maxsize, datetime.max.replace(tzinfo=UTC), 0)
# Above this number of queued tasks of a kind, the rest stays in the table until needed.
MOST_KEPT = 10_000
# Above these numbers, a type's part in memory is dropped. Clients make up labels, so the number of kinds is unbounded.
MOST_OF_A_TYPE = 50_000
MOST_KINDS = 1_000


class QueuedTask(NamedTuple):
    """A queued task: its place and its kind. Compared by place."""

    queue_key: QueueKey
    task_type: str
    labels: Labels

    @classmethod
    def of(cls, task: Task) -> Self:
        """Return the queue entry of a task."""
        return cls(queue_key_of(task), *kind_of(task))

    @property
    def task_id(self) -> int:
        """Return the id of the task."""
        return self.queue_key[-1]

    @property
    def kind(self) -> Kind:
        """Return the kind of the task."""
        return self.task_type, self.labels


def kind_of(task: Task) -> Kind:
    """Return the kind of a task."""
    return task.task_type, frozenset(task.unit_labels.items())


def queue_key(priority: int, queued_at: datetime, task_id: int) -> QueueKey:
    """Return the place of a queued task."""
    return -priority, queued_at, task_id


def queue_key_of(task: Task) -> QueueKey:
    """Return the place of a task, which must be queued."""
    if task.queued_at is None:
        raise AssertionError(f"task {task.id} is not queued")
    return queue_key(task.priority, task.queued_at, task.id)


class Page(NamedTuple):
    """Queued tasks in order: all tasks of the requested kinds up to `end`."""

    queued: list[QueuedTask]
    end: QueueKey


class _Line:
    """The queued tasks of one kind, up to `end`."""

    def __init__(self) -> None:
        self.queued: SortedList[QueuedTask] = SortedList()
        self.end = BACK


class _Type:
    """The queued tasks of one type, by requested labels: from `begin` to `end` and the ends of its kinds."""

    def __init__(self, begin: QueueKey = FRONT) -> None:
        self.begin = begin
        self.end = begin
        self.lines: dict[Labels, _Line] = {}
        self.count = 0

    @property
    def is_whole(self) -> bool:
        return self.begin == FRONT and self.end == BACK

    def may_keep(self, more: int) -> bool:
        return self.count + more <= MOST_OF_A_TYPE and len(self.lines) + more <= MOST_KINDS

    def line_for(self, queued: QueuedTask) -> _Line | None:
        """Return the kind's queue that must hold a task, or None if the task's place is not in memory."""
        if not self.begin < queued.queue_key <= self.end:
            return None
        line = self.lines.get(queued.labels)
        if line is None:
            line = self.lines[queued.labels] = _Line()
        return line if queued.queue_key <= line.end else None

    def read(self, after: QueueKey, end: QueueKey) -> None:
        """Extend the known part: all tasks between `after` and `end` were read."""
        self.end = max(self.end, end)
        for line in self.lines.values():
            if line.end >= after:
                line.end = max(line.end, end)

    def remove(self, queued: QueuedTask) -> None:
        line = self.lines[queued.labels]
        line.queued.remove(queued)
        self.count -= 1
        if not line.queued and line.end == BACK:
            del self.lines[queued.labels]


class TaskQueue:
    """The due tasks by kind, as far as they were read from the table."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._types: dict[str, _Type] = {}
        self._by_id: dict[int, QueuedTask] = {}
        # All types seen so far, and the types with possibly queued tasks.
        self._all_types: set[str] = set()
        self._may_wait: set[str] = set()
        # Changes when the queue is cleared, and when a pending read may miss a task.
        self.age = 0

    def page(
        self, task_types: Collection[str], after: QueuedTask | None, count: int, is_asked_for: Callable[[Kind], bool]
    ) -> Page:
        """Return the next `count` tasks of these types and requested kinds, or as many as are in memory.

        After a shorter page, the tasks behind the page's end must be read, unless the end is BACK.
        """
        lines, end = self._asked_for(task_types, is_asked_for)
        known = takewhile(lambda each: each.queue_key <= end, merge(*(_behind(line.queued, after) for line in lines)))
        queued = list(islice(known, count))
        return Page(queued, end if len(queued) < count else queued[-1].queue_key)

    def _asked_for(
        self, task_types: Collection[str], is_asked_for: Callable[[Kind], bool]
    ) -> tuple[list[_Line], QueueKey]:
        """Return the queues of these types and kinds, and the place up to which all of them are known."""
        lines: list[_Line] = []
        ends: list[QueueKey] = []
        for task_type in task_types:
            known = self._types.get(task_type, _Type())
            ends.append(known.end)
            lines += (line for labels, line in known.lines.items() if is_asked_for((task_type, labels)))
        return lines, min([*ends, *(line.end for line in lines)], default=BACK)

    def learn(
        self, task_types: Collection[str], after: QueueKey, found: Sequence[QueuedTask], *, is_whole: bool, age: int
    ) -> None:
        """Add tasks that were read behind the end of a page, unless the queue was cleared since `age`.

        A type without room drops its earlier tasks and keeps the tasks read now.
        """
        if age != self.age:
            return
        self._all_types.update(task_types)
        for task_type in task_types:
            known = self._types.get(task_type)
            if known is None or not known.may_keep(len(found)):
                self._forget(task_type)
                known = self._types[task_type] = _Type(begin=after)
            known.read(after, BACK if is_whole else found[-1].queue_key)
        for queued in found:
            self.put(queued)

    def begin_scan(self, task_types: Collection[str]) -> None:
        """Prepare a scan from the front: types that dropped tasks are read again."""
        for task_type in task_types:
            if (known := self._types.get(task_type)) and known.begin != FRONT:
                self._forget(task_type)

    def add_types(self, task_types: Iterable[str]) -> None:
        """Add types that may have queued tasks in the table."""
        self._all_types.update(task_types)
        self._may_wait.update(task_types)

    def all_types(self) -> Collection[str]:
        """Return all types seen so far."""
        return self._all_types

    def types_that_may_wait(self) -> list[str]:
        """Return the types with queued tasks, or with an unknown queue."""
        nothing_waits = [each for each in self._may_wait if self._is_known_to_be_empty(each)]
        self._may_wait.difference_update(nothing_waits)
        return list(self._may_wait)

    def put_if_new(self, queued: QueuedTask) -> None:
        """Add a task whose delay is over, unless newer data is in memory.

        If the task's place is not in memory, a pending read may miss the task, so the read is invalidated.
        """
        if queued.task_id not in self._by_id:
            self.put(queued)
            if queued.task_id not in self._by_id:
                self.age += 1

    def put(self, queued: QueuedTask) -> None:
        """Add a queued task, or move the task to its new place."""
        self.discard(queued.task_id)
        if queued.task_type not in self._may_wait:
            self.add_types([queued.task_type])
        known = self._types.get(queued.task_type)
        line = known and known.line_for(queued)
        if not known or not line:
            return
        line.queued.add(queued)
        self._by_id[queued.task_id] = queued
        known.count += 1
        if len(line.queued) > self._most:
            self.discard(line.queued[-1].task_id)
            line.end = line.queued[-1].queue_key
        if not known.may_keep(0):
            self._forget(queued.task_type)

    def discard(self, task_id: int) -> None:
        """Remove a task that is no longer queued."""
        if queued := self._by_id.pop(task_id, None):
            self._types[queued.task_type].remove(queued)

    def labels(self, task_type: str) -> Iterable[Labels] | None:
        """Return the label sets that queued tasks of a type request; None if unknown."""
        known = self._types.get(task_type)
        return known.lines if known and known.is_whole else None

    def forget(self) -> None:
        """Clear the queue in memory."""
        self._types.clear()
        self._by_id.clear()
        self._may_wait.update(self._all_types)
        self.age += 1

    def _is_known_to_be_empty(self, task_type: str) -> bool:
        known = self._types.get(task_type)
        return known is not None and known.is_whole and not known.lines

    def _forget(self, task_type: str) -> None:
        self._may_wait.add(task_type)
        if known := self._types.pop(task_type, None):
            for line in known.lines.values():
                for queued in line.queued:
                    del self._by_id[queued.task_id]


def _behind(line: "SortedList[QueuedTask]", after: QueuedTask | None) -> Iterable[QueuedTask]:
    return line if after is None else line.irange(after, inclusive=(False, False))
