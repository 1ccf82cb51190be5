"""The current state of the tasks of a watch, and their pace."""

from collections import deque
from collections.abc import Iterable

from taskplane.cli.formatting import FINAL_STATUSES
from taskplane.v1.task_pb2 import TASK_STATUS_RUNNING, TASK_STATUS_SUCCESS, Task
from taskplane.v1.task_service_pb2 import WatchTasksResponse

# Seconds of progress behind a rate: short enough to follow a change, long enough not to jump with each report.
RECENT_SECONDS = 30.0


class Row:
    """One task. Times (`at`) are in seconds of a monotonic clock."""

    def __init__(self, task: Task, at: float) -> None:
        self.task = task
        self.is_deleted = False
        self._samples: deque[tuple[float, float]] = deque()
        self.update(task, at)

    @property
    def is_over(self) -> bool:
        """Whether the task has ended, unless a restart or a retry follows."""
        return self.is_deleted or self.task.status in FINAL_STATUSES

    def update(self, task: Task, at: float) -> None:
        """Replace the task by its current state."""
        if task.status != TASK_STATUS_RUNNING or task.attempt != self.task.attempt:
            self._samples.clear()
        self.task = task
        self._sample(at)

    def progress(self, fraction: float, message: str, at: float) -> None:
        """Record a progress report."""
        self.task.progress.fraction = fraction
        self.task.progress.message = message
        self._sample(at)

    def _sample(self, at: float) -> None:
        if self.task.status == TASK_STATUS_RUNNING and self.task.HasField("progress"):
            self._samples.append((at, self.task.progress.fraction))
            while self._samples[0][0] < at - RECENT_SECONDS:
                self._samples.popleft()

    def rate(self) -> float | None:
        """Return the recent progress, as a fraction per second; None while unknown, or if the task does not run."""
        if len(self._samples) < 2:  # noqa: PLR2004  a rate needs two samples
            return None
        (first_at, first), (last_at, last) = self._samples[0], self._samples[-1]
        return (last - first) / (last_at - first_at) if last_at > first_at and last > first else None

    def seconds_left(self) -> float | None:
        """Return the seconds left at this rate; None if unknown, or if a pending command will stop the task."""
        rate = self.rate()
        if rate is None or self.task.HasField("pending_command"):
            return None
        return (1 - self.task.progress.fraction) / rate


class Board:
    """The rows of one watch, by task id. Without `watched`, all tasks are watched, and only live ones have rows."""

    def __init__(self, watched: Iterable[int] = ()) -> None:
        self.rows: dict[int, Row] = {}
        self.watches_all = not frozenset(watched)

    def apply(self, event: WatchTasksResponse, at: float) -> Row | None:
        """Record an event, and return the row of its task; None if the event concerns no row."""
        match event.WhichOneof("event"):
            case "snapshot":
                return self._see(event.snapshot, at)
            case "transition":
                return self._see(event.transition.task, at)
            case "changed":
                return self._see(event.changed, at)
            case "progress":
                return self._progress(event, at)
            case "deleted":
                return self._delete(event.deleted.task_id)
            case "snapshot_complete" | "keep_alive" | None:
                return None

    def _see(self, task: Task, at: float) -> Row | None:
        row = self.rows.get(task.id)
        if row is not None:
            row.update(task, at)
            return row
        row = Row(task, at)
        if row.is_over and self.watches_all:
            return None
        self.rows[task.id] = row
        return row

    def _progress(self, event: WatchTasksResponse, at: float) -> Row | None:
        row = self.rows.get(event.progress.task_id)
        if row is None or row.task.attempt != event.progress.attempt:
            return None
        row.progress(event.progress.progress.fraction, event.progress.progress.message, at)
        return row

    def _delete(self, task_id: int) -> Row | None:
        row = self.rows.get(task_id)
        if row is not None:
            row.is_deleted = True
        return row

    def forget_ended(self) -> None:
        """Remove ended tasks from a board of all tasks, so that the board does not grow forever."""
        if self.watches_all:
            self.rows = {task_id: row for task_id, row in self.rows.items() if not row.is_over}

    def is_success(self) -> bool:
        """Return whether every task has ended with SUCCESS."""
        return all(row.task.status == TASK_STATUS_SUCCESS for row in self.rows.values())
