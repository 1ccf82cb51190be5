"""Queued tasks whose time has not come (backoff after a failure, a refused start), the earliest first.

The table has all of them. In memory are those up to an `end`; what lies behind is read when it is needed.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from sortedcontainers import SortedDict

from taskplane.server.core.task import Task
from taskplane.server.core.task_queue import QueuedTask

# Delayed tasks that are kept in memory, at some 400 bytes each.
MOST_KEPT = 20_000


class DelayedTask(NamedTuple):
    """When a task may be dispatched; ties go by the task's id."""

    not_before: datetime
    task_id: int


# Behind all that may be delayed.
NEVER = DelayedTask(datetime.max.replace(tzinfo=UTC), 0)


class DelayedTasks:
    """The delayed tasks whose time comes after a start, up to an `end`. Nothing is known before the first `learn`.

    A task that no longer waits may stay until its time comes: the dispatcher looks at each task before it starts it.
    """

    def __init__(self, start: datetime, most: int = MOST_KEPT) -> None:
        self._most = most
        self._waiting: SortedDict[DelayedTask, QueuedTask] = SortedDict()
        # All before this is in memory, and nothing else unless a page is being read.
        self.end = DelayedTask(start, 0)
        self._is_reading = False

    def put(self, task: Task) -> None:
        """Add a queued task with a delay."""
        if task.not_before is None:
            raise AssertionError(f"task {task.id} has no delay")
        due = DelayedTask(task.not_before, task.id)
        # What comes during a read may be missing in the page.
        if due < self.end or self._is_reading:
            self._waiting[due] = QueuedTask.of(task)
            self._trim()

    def needs_page(self) -> bool:
        """Whether so few are left that the next page should be read."""
        return self.end != NEVER and len(self._waiting) <= self._most // 4

    def begin_read(self) -> int:
        """Prepare to learn the next page, which begins at `end`. Returns how many tasks to read."""
        self._is_reading = True
        return self._most // 2

    def learn(self, page: Sequence[tuple[datetime, QueuedTask]], limit: int) -> None:
        """Take a page: all delayed tasks from `end` on, in order, or the first `limit` of them."""
        self._is_reading = False
        self._waiting.update((DelayedTask(not_before, queued.task_id), queued) for not_before, queued in page)
        is_last = len(page) < limit
        self._cut(NEVER if is_last else DelayedTask(page[-1][0], page[-1][1].task_id + 1))
        self._trim()

    def give_up_read(self) -> None:
        """Forget what lies behind `end`: the page could not be read."""
        self._is_reading = False
        self._cut(self.end)

    def take(self, now: datetime, most: int) -> list[QueuedTask]:
        """Remove and return up to `most` tasks whose time has come."""
        taken: list[QueuedTask] = []
        while self._waiting and len(taken) < most and self._waiting.peekitem(0)[0].not_before <= now:
            taken.append(self._waiting.popitem(0)[1])
        return taken

    def next_at(self) -> datetime | None:
        """Return when the next task's time comes, as far as is known."""
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
