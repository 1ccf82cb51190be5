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
MAX_KEPT = 10_000
# Above these numbers, a type's part in memory is dropped. Clients make up labels, so the number of kinds is unbounded.
MAX_QUEUED_OF_TYPE = 50_000
MAX_KINDS_OF_TYPE = 1_000


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


class _KindQueue:
    """The queued tasks of one kind, up to `end`."""

    def __init__(self) -> None:
        self.queued: SortedList[QueuedTask] = SortedList()
        self.end = BACK


class _Type:
    """The queued tasks of one type, by requested labels: from `begin` to `end` and the ends of its kinds."""

    def __init__(self, begin: QueueKey = FRONT) -> None:
        self.begin = begin
        self.end = begin
        self.kinds: dict[Labels, _KindQueue] = {}
        self.count = 0

    @property
    def is_whole(self) -> bool:
        return self.begin == FRONT and self.end == BACK

    def has_room_for(self, more: int) -> bool:
        return self.count + more <= MAX_QUEUED_OF_TYPE and len(self.kinds) + more <= MAX_KINDS_OF_TYPE

    def queue_for(self, queued: QueuedTask) -> _KindQueue | None:
        """Return the kind's queue that must hold a task, or None if the task's place is not in memory."""
        if not self.begin < queued.queue_key <= self.end:
            return None
        kind_queue = self.kinds.get(queued.labels)
        if kind_queue is None:
            kind_queue = self.kinds[queued.labels] = _KindQueue()
        return kind_queue if queued.queue_key <= kind_queue.end else None

    def read(self, after: QueueKey, end: QueueKey) -> None:
        """Extend the known part: all tasks between `after` and `end` were read."""
        self.end = max(self.end, end)
        for kind_queue in self.kinds.values():
            if kind_queue.end >= after:
                kind_queue.end = max(kind_queue.end, end)

    def remove(self, queued: QueuedTask) -> None:
        kind_queue = self.kinds[queued.labels]
        kind_queue.queued.remove(queued)
        self.count -= 1
        if not kind_queue.queued and kind_queue.end == BACK:
            del self.kinds[queued.labels]


class TaskQueue:
    """The due tasks by kind, as far as they were read from the table."""

    def __init__(self, most: int = MAX_KEPT) -> None:
        self._most = most
        self._types: dict[str, _Type] = {}
        self._by_id: dict[int, QueuedTask] = {}
        # All types seen so far, and the types with possibly queued tasks.
        self._all_types: set[str] = set()
        self._maybe_queued: set[str] = set()
        # Changes when the queue is cleared, and when a pending read may miss a task.
        self.age = 0

    def page(
        self, task_types: Collection[str], after: QueuedTask | None, count: int, is_requested: Callable[[Kind], bool]
    ) -> Page:
        """Return the next `count` tasks of these types and requested kinds, or as many as are in memory.

        After a shorter page, the tasks behind the page's end must be read, unless the end is BACK.
        """
        kinds, end = self._requested(task_types, is_requested)
        known = takewhile(
            lambda each: each.queue_key <= end, merge(*(_behind(kind_queue.queued, after) for kind_queue in kinds))
        )
        queued = list(islice(known, count))
        return Page(queued, end if len(queued) < count else queued[-1].queue_key)

    def _requested(
        self, task_types: Collection[str], is_requested: Callable[[Kind], bool]
    ) -> tuple[list[_KindQueue], QueueKey]:
        """Return the queues of these types and kinds, and the place up to which all of them are known."""
        kinds: list[_KindQueue] = []
        ends: list[QueueKey] = []
        for task_type in task_types:
            known = self._types.get(task_type, _Type())
            ends.append(known.end)
            kinds += (kind_queue for labels, kind_queue in known.kinds.items() if is_requested((task_type, labels)))
        return kinds, min([*ends, *(kind_queue.end for kind_queue in kinds)], default=BACK)

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
            if known is None or not known.has_room_for(len(found)):
                self._forget(task_type)
                known = self._types[task_type] = _Type(begin=after)
            known.read(after, BACK if is_whole else found[-1].queue_key)
        for queued in found:
            self.put(queued)

    def start_scan(self, task_types: Collection[str]) -> None:
        """Prepare a scan from the front: types that dropped tasks are read again."""
        for task_type in task_types:
            if (known := self._types.get(task_type)) and known.begin != FRONT:
                self._forget(task_type)

    def add_types(self, task_types: Iterable[str]) -> None:
        """Add types that may have queued tasks in the table."""
        self._all_types.update(task_types)
        self._maybe_queued.update(task_types)

    def all_types(self) -> Collection[str]:
        """Return all types seen so far."""
        return self._all_types

    def types_maybe_queued(self) -> list[str]:
        """Return the types with queued tasks, or with an unknown queue."""
        empty = [each for each in self._maybe_queued if self._is_known_to_be_empty(each)]
        self._maybe_queued.difference_update(empty)
        return list(self._maybe_queued)

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
        if queued.task_type not in self._maybe_queued:
            self.add_types([queued.task_type])
        known = self._types.get(queued.task_type)
        kind_queue = known and known.queue_for(queued)
        if not known or not kind_queue:
            return
        kind_queue.queued.add(queued)
        self._by_id[queued.task_id] = queued
        known.count += 1
        if len(kind_queue.queued) > self._most:
            self.discard(kind_queue.queued[-1].task_id)
            kind_queue.end = kind_queue.queued[-1].queue_key
        if not known.has_room_for(0):
            self._forget(queued.task_type)

    def discard(self, task_id: int) -> None:
        """Remove a task that is no longer queued."""
        if queued := self._by_id.pop(task_id, None):
            self._types[queued.task_type].remove(queued)

    def labels(self, task_type: str) -> Iterable[Labels] | None:
        """Return the label sets that queued tasks of a type request; None if unknown."""
        known = self._types.get(task_type)
        return known.kinds if known and known.is_whole else None

    def forget(self) -> None:
        """Clear the queue in memory."""
        self._types.clear()
        self._by_id.clear()
        self._maybe_queued.update(self._all_types)
        self.age += 1

    def _is_known_to_be_empty(self, task_type: str) -> bool:
        known = self._types.get(task_type)
        return known is not None and known.is_whole and not known.kinds

    def _forget(self, task_type: str) -> None:
        self._maybe_queued.add(task_type)
        if known := self._types.pop(task_type, None):
            for kind_queue in known.kinds.values():
                for queued in kind_queue.queued:
                    del self._by_id[queued.task_id]


def _behind(kind_queue: "SortedList[QueuedTask]", after: QueuedTask | None) -> Iterable[QueuedTask]:
    return kind_queue if after is None else kind_queue.irange(after, inclusive=(False, False))
