"""What waits for a slot: the first of each kind, in memory, in the order in which slots are given out.

The table has all of it. What was read there is kept up by every transaction, and forgotten when one has failed.
"""

import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from heapq import merge
from itertools import islice, takewhile
from typing import NamedTuple, Self

from sortedcontainers import SortedList

from taskplane.server.core.task import Task

# By what tasks that wait are ordered: highest priority first, then oldest, then lowest id.
QueueKey = tuple[int, datetime, int]
# The unit labels that a task asks for.
Labels = frozenset[tuple[str, str]]
# What of a task decides which units suit it: its type and the labels that it asks for.
Kind = tuple[str, Labels]
# Before all that may wait, and behind it.
FRONT: QueueKey = (-sys.maxsize, datetime.min.replace(tzinfo=UTC), 0)
BACK: QueueKey = (sys.maxsize, datetime.max.replace(tzinfo=UTC), 0)
# So many waiting tasks are kept of a kind; what is behind them is read when it is needed.
MOST_KEPT = 10_000
# So many tasks, and kinds, are kept of a type. Labels are made up by clients, without an end.
MOST_OF_A_TYPE = 50_000
MOST_KINDS = 1_000


class QueuedTask(NamedTuple):
    """A task that waits, as far as it matters for whose turn it is. They compare by that."""

    queue_key: QueueKey
    task_type: str
    labels: Labels

    @classmethod
    def of(cls, task: Task) -> Self:
        """Return what matters of a task that is queued."""
        return cls(queue_key_of(task), *kind_of(task))

    @property
    def task_id(self) -> int:
        """Whose turn it is."""
        return self.queue_key[-1]

    @property
    def kind(self) -> Kind:
        """Which units suit it."""
        return self.task_type, self.labels


def kind_of(task: Task) -> Kind:
    """Return what decides which units suit a task."""
    return task.task_type, frozenset(task.unit_labels.items())


def queue_key(priority: int, queued_at: datetime, task_id: int) -> QueueKey:
    """Return when a queued task gets its slot, before others or after them."""
    return -priority, queued_at, task_id


def queue_key_of(task: Task) -> QueueKey:
    """Return when a task gets its slot; it must be queued."""
    if task.queued_at is None:
        raise AssertionError(f"task {task.id} is not queued")
    return queue_key(task.priority, task.queued_at, task.id)


class Page(NamedTuple):
    """Tasks that wait, in order: all of the kinds in question that lie before the first, between, and up to `end`."""

    queued: list[QueuedTask]
    end: QueueKey


class _Line:
    """What waits of one kind, up to `end`."""

    def __init__(self) -> None:
        self.queued: SortedList[QueuedTask] = SortedList()
        self.end = BACK


class _Type:
    """What waits of one type, by the labels that it asks for: behind `begin`, up to `end` and the ends of its lines."""

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
        """Return the line in which a task is to be kept, or None if it is not."""
        if not self.begin < queued.queue_key <= self.end:
            return None
        line = self.lines.get(queued.labels)
        if line is None:
            line = self.lines[queued.labels] = _Line()
        return line if queued.queue_key <= line.end else None

    def read(self, after: QueueKey, end: QueueKey) -> None:
        """Extend what is known: all between `after` and `end` was read."""
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
    """The tasks that are due, by kind: those types that were read, as far as they were."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._types: dict[str, _Type] = {}
        self._by_id: dict[int, QueuedTask] = {}
        # All types that anything has ever been queued of, and those of which something may wait.
        self._all_types: set[str] = set()
        self._may_wait: set[str] = set()
        # Changes when all is forgotten, and when a read that is under way may lack a task.
        self.age = 0

    def page(
        self, task_types: Collection[str], after: QueuedTask | None, count: int, is_asked_for: Callable[[Kind], bool]
    ) -> Page:
        """Return the next `count` of these types and of kinds that are asked for, or fewer: as many as are known.

        If there are fewer, what is behind the page's end must be read, unless that is BACK.
        """
        lines, end = self._asked_for(task_types, is_asked_for)
        known = takewhile(lambda each: each.queue_key <= end, merge(*(_behind(line.queued, after) for line in lines)))
        queued = list(islice(known, count))
        return Page(queued, end if len(queued) < count else queued[-1].queue_key)

    def _asked_for(
        self, task_types: Collection[str], is_asked_for: Callable[[Kind], bool]
    ) -> tuple[list[_Line], QueueKey]:
        """Return the lines of these types and kinds, and how far all of them are known."""
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
        """Take what was read of these types behind the end of a page, unless all was forgotten since `age`.

        What there is no room for is forgotten: then what follows is known, and what was before it no more.
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
        """Prepare a look from the front: types of which something had to be forgotten are read anew."""
        for task_type in task_types:
            if (known := self._types.get(task_type)) and known.begin != FRONT:
                self._forget(task_type)

    def add_types(self, task_types: Iterable[str]) -> None:
        """Add types of which something may wait in the table."""
        self._all_types.update(task_types)
        self._may_wait.update(task_types)

    def all_types(self) -> Collection[str]:
        """Return all types that were looked for, or of which something was queued."""
        return self._all_types

    def types_that_may_wait(self) -> list[str]:
        """Return the types of which something waits, or of which it is not known."""
        nothing_waits = [each for each in self._may_wait if self._is_known_to_be_empty(each)]
        self._may_wait.difference_update(nothing_waits)
        return list(self._may_wait)

    def put_if_new(self, queued: QueuedTask) -> None:
        """Add a task whose delay is over, unless something later is known of it.

        If its place is not known yet, a read that is under way may have been too early to find the task, and is void.
        """
        if queued.task_id not in self._by_id:
            self.put(queued)
            if queued.task_id not in self._by_id:
                self.age += 1

    def put(self, queued: QueuedTask) -> None:
        """Add a task that waits, or move it to its new place."""
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
        """Remove a task, which does not wait any more."""
        if queued := self._by_id.pop(task_id, None):
            self._types[queued.task_type].remove(queued)

    def labels(self, task_type: str) -> Iterable[Labels] | None:
        """Return all that those ask for that may wait; None if it is not known."""
        known = self._types.get(task_type)
        return known.lines if known and known.is_whole else None

    def forget(self) -> None:
        """Forget all."""
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
