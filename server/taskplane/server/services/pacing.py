"""The rate of progress events in a watch."""

import time
from collections.abc import Iterable

from taskplane.server.tasks.unit_of_work import CommittedEvent
from taskplane.server.tasks.watch import Progressed


class ProgressPacer:
    """Limits the progress events of each task to a rate; the newest value wins."""

    def __init__(self, per_second: int) -> None:
        self._interval = 1.0 / per_second
        self._waiting: dict[int, Progressed] = {}
        self._not_before: dict[int, float] = {}

    def take(self, progress: Iterable[Progressed]) -> None:
        """Add new progress."""
        self._waiting.update((each.task_id, each) for each in progress)

    def changed(self, change: CommittedEvent) -> None:
        """Drop progress that is older than a change of status."""
        if change.transition or change.deleted:
            self._waiting.pop(change.task.id, None)
            self._not_before.pop(change.task.id, None)

    def due(self) -> list[Progressed]:
        """Return the progress that may be sent now."""
        now = time.monotonic()
        due = [each for each in self._waiting.values() if self._not_before.get(each.task_id, 0.0) <= now]
        for each in due:
            del self._waiting[each.task_id]
            self._not_before[each.task_id] = now + self._interval
        return due

    def seconds_to_next(self, at_most: float) -> float:
        """Return the seconds until the next progress is due."""
        now = time.monotonic()
        times = [self._not_before.get(task_id, 0.0) - now for task_id in self._waiting]
        return max(0.0, min([*times, at_most]))
