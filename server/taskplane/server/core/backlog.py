"""What waits for a slot: the first of it, in memory, in the order in which slots are given out.

The table has all of it. What was read there is kept up by every transaction, and forgotten when one has failed.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from heapq import merge
from itertools import islice
from typing import NamedTuple, Self

from sortedcontainers import SortedList

from taskplane.server.core.task import Task

# By what tasks that wait are ordered: highest priority first, then oldest, then lowest id.
Turn = tuple[int, datetime, int]
# The unit labels that a task asks for.
Labels = frozenset[tuple[str, str]]
# What of a task decides which units suit it: its type and the labels that it asks for.
Kind = tuple[str, Labels]
# So many waiting tasks are kept of a type; what is behind them is read when it is needed.
MOST_KEPT = 10_000


class Queued(NamedTuple):
    """A task that waits, as far as it matters for whose turn it is. They compare by that."""

    turn: Turn
    task_type: str
    labels: Labels

    @classmethod
    def of(cls, task: Task) -> Self:
        """Return what matters of a task that is queued."""
        return cls(turn_of(task), *kind_of(task))

    @property
    def task_id(self) -> int:
        """Whose turn it is."""
        return self.turn[-1]

    @property
    def kind(self) -> Kind:
        """Which units suit it."""
        return self.task_type, self.labels


def kind_of(task: Task) -> Kind:
    """Return what decides which units suit a task."""
    return task.task_type, frozenset(task.unit_labels.items())


def turn(priority: int, queued_at: datetime, task_id: int) -> Turn:
    """Return when a queued task gets its slot, before others or after them."""
    return -priority, queued_at, task_id


def turn_of(task: Task) -> Turn:
    """Return when a task gets its slot; it must be queued."""
    if task.queued_at is None:
        raise AssertionError(f"task {task.id} is not queued")
    return turn(task.priority, task.queued_at, task.id)


class _Line:
    """What waits of one type, up to `end`, or all of it if that is None."""

    def __init__(self) -> None:
        self.queued: SortedList[Queued] = SortedList()
        self.labels: Counter[Labels] = Counter()
        self.end: Queued | None = None

    def reaches(self, queued: Queued) -> bool:
        return self.end is None or queued <= self.end

    def add(self, queued: Queued) -> None:
        self.queued.add(queued)
        self.labels[queued.labels] += 1

    def remove(self, queued: Queued) -> None:
        self.queued.remove(queued)
        self.labels[queued.labels] -= 1
        if not self.labels[queued.labels]:
            del self.labels[queued.labels]


class Backlog:
    """The tasks that are due, by type: those types that were read, as far as they were."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._lines: dict[str, _Line] = {}
        self._by_id: dict[int, Queued] = {}
        # How often all was forgotten.
        self.age = 0

    def page(self, task_types: Collection[str], after: Queued | None, count: int) -> list[Queued] | None:
        """Return the next `count` of these types, fewer at the end of all; None if that is not known."""
        lines = [self._lines.get(task_type) for task_type in task_types]
        known = [line for line in lines if line]
        if len(known) < len(lines):
            return None
        page = list(islice(merge(*(_behind(line.queued, after) for line in known)), count))
        is_last = len(page) < count
        if all(line.end is None if is_last else line.reaches(page[-1]) for line in known):
            return page
        return None

    def learn(self, task_types: Collection[str], first: Sequence[Queued], *, is_whole: bool, age: int) -> None:
        """Take what was read of these types, from the first one on, unless all was forgotten since `age`."""
        if age != self.age:
            return
        for task_type in task_types:
            if line := self._lines.pop(task_type, None):
                for queued in line.queued:
                    del self._by_id[queued.task_id]
            self._lines[task_type] = _Line()
        for queued in first:
            self.put(queued)
        if not is_whole:
            for task_type in task_types:
                line = self._lines[task_type]
                if line.reaches(first[-1]):
                    line.end = first[-1]

    def types(self) -> list[str]:
        """Return the types of which something is known, if only that nothing waits."""
        return list(self._lines)

    def add(self, found: Iterable[Queued]) -> set[str]:
        """Take that these waited a moment ago, unless something later is known of one. Returns the types of the others.

        Those may wait no more either. That is noticed when it is their turn.
        """
        new = [queued for queued in found if queued.task_id not in self._by_id]
        for queued in new:
            self.put(queued)
        return {queued.task_type for queued in new}

    def put(self, queued: Queued) -> None:
        """Take that a task waits, or waits in another place than before."""
        self.discard(queued.task_id)
        line = self._lines.get(queued.task_type)
        if line is None or not line.reaches(queued):
            return
        line.add(queued)
        self._by_id[queued.task_id] = queued
        if len(line.queued) > self._most:
            self.discard(line.queued[-1].task_id)
            line.end = line.queued[-1]

    def discard(self, task_id: int) -> None:
        """Take that a task does not wait."""
        if queued := self._by_id.pop(task_id, None):
            self._lines[queued.task_type].remove(queued)

    def labels(self, task_type: str) -> Iterable[Labels] | None:
        """Return all that those ask for that wait; None if it is not known."""
        line = self._lines.get(task_type)
        return line.labels if line and line.end is None else None

    def forget(self) -> None:
        """Forget all."""
        self._lines.clear()
        self._by_id.clear()
        self.age += 1


def _behind(line: "SortedList[Queued]", after: Queued | None) -> Iterable[Queued]:
    return line if after is None else line.irange(after, inclusive=(False, False))
