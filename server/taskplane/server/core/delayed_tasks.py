"""Queued tasks with a delay (backoff after a failure, a refused start), the earliest first.

The table holds all of them; memory holds the tasks up to an `end`, and the next page is read when needed.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from sortedcontainers import SortedDict

from taskplane.server.core.task import Task
from taskplane.server.core.task_queue import QueuedTask

# The maximum number of delayed tasks in memory, at about 400 bytes each.
MAX_KEPT = 20_000


class DelayedTask(NamedTuple):
    """The time from which a task may be dispatched; ties are ordered by task id."""

    not_before: datetime
    task_id: int


# Sorts after every delayed task.
NEVER = DelayedTask(datetime.max.replace(tzinfo=UTC), 0)


class DelayedTasks:
    """The delayed tasks whose delay ends after a start, up to an `end`. Empty before the first `learn`.

    A task that left the queue may stay until its delay ends: the dispatcher checks each task before a dispatch.
    """

    def __init__(self, start: datetime, most: int = MAX_KEPT) -> None:
        self._most = most
        self._waiting: SortedDict[DelayedTask, QueuedTask] = SortedDict()
        # Memory holds all tasks before this, and later tasks only while a page is read.
        self.end = DelayedTask(start, 0)
        self._is_reading = False

    def put(self, task: Task) -> None:
        """Add a queued task with a delay."""
        if task.not_before is None:
            raise AssertionError(f"task {task.id} has no delay")
        due = DelayedTask(task.not_before, task.id)
        # The page may lack a task that is added during its read.
        if due < self.end or self._is_reading:
            self._waiting[due] = QueuedTask.of(task)
            self._trim()

    def needs_page(self) -> bool:
        """Return whether the next page should be read, because few tasks are left."""
        return self.end != NEVER and len(self._waiting) <= self._most // 4

    def begin_read(self) -> int:
        """Prepare to learn the next page, which begins at `end`. Returns how many tasks to read."""
        self._is_reading = True
        return self._most // 2

    def learn(self, page: Sequence[tuple[datetime, QueuedTask]], limit: int) -> None:
        """Add a page: all delayed tasks from `end` on, in order, or the first `limit` of them."""
        self._is_reading = False
        self._waiting.update((DelayedTask(not_before, queued.task_id), queued) for not_before, queued in page)
        is_last = len(page) < limit
        self._cut(NEVER if is_last else DelayedTask(page[-1][0], page[-1][1].task_id + 1))
        self._trim()

    def give_up_read(self) -> None:
        """Drop the tasks behind `end`, because the page could not be read."""
        self._is_reading = False
        self._cut(self.end)

    def take(self, now: datetime, most: int) -> list[QueuedTask]:
        """Remove and return up to `most` tasks whose delay is over."""
        taken: list[QueuedTask] = []
        while self._waiting and len(taken) < most and self._waiting.peekitem(0)[0].not_before <= now:
            taken.append(self._waiting.popitem(0)[1])
        return taken

    def next_at(self) -> datetime | None:
        """Return the end of the next delay in memory."""
        return self._waiting.peekitem(0)[0].not_before if self._waiting else None

    def __len__(self) -> int:
        return len(self._waiting)

    def _trim(self) -> None:
        if len(self._waiting) > self._most and not self._is_reading:
            self._cut(self._waiting.peekitem(self._most)[0])

    def _cut(self, end: DelayedTask) -> None:
        self.end = end
        while self._waiting and self._waiting.peekitem()[0] >= end:
            self._waiting.popitem()
