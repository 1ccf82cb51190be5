"""The tasks of a watch as they now are, and how quickly they go on."""

from collections import deque
from collections.abc import Iterable

from taskplane.cli.words import FINAL_STATUSES
from taskplane.v1.task_pb2 import TASK_STATUS_RUNNING, TASK_STATUS_SUCCESS, Task
from taskplane.v1.task_service_pb2 import WatchTasksResponse

# The rate is that of the last so many seconds: it follows a change, and does not jump with each report.
RECENT_SECONDS = 30.0


class Row:
    """One task. Times are in seconds of any clock that runs evenly."""

    def __init__(self, task: Task, at: float) -> None:
        self.task = task
        self.is_deleted = False
        self._samples: deque[tuple[float, float]] = deque()
        self.update(task, at)

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to come, but for a restart or a retry."""
        return self.is_deleted or self.task.status in FINAL_STATUSES

    def update(self, task: Task, at: float) -> None:
        """Takes over the task as it now is."""
        if task.status != TASK_STATUS_RUNNING or task.attempt != self.task.attempt:
            self._samples.clear()
        self.task = task
        self._sample(at)

    def progress(self, fraction: float, message: str, at: float) -> None:
        """Takes over a report of progress."""
        self.task.progress.fraction = fraction
        self.task.progress.message = message
        self._sample(at)

    def _sample(self, at: float) -> None:
        if self.task.status == TASK_STATUS_RUNNING and self.task.HasField("progress"):
            self._samples.append((at, self.task.progress.fraction))
            while self._samples[0][0] < at - RECENT_SECONDS:
                self._samples.popleft()

    def rate(self) -> float | None:
        """Fraction a second, of late. None while that is not known, or the task does not run."""
        if len(self._samples) < 2:  # noqa: PLR2004  a rate is between two
            return None
        (first_at, first), (last_at, last) = self._samples[0], self._samples[-1]
        return (last - first) / (last_at - first_at) if last_at > first_at and last > first else None

    def seconds_left(self) -> float | None:
        """How long it takes yet at that rate. None if nobody can know, or a command is about to stop it."""
        rate = self.rate()
        if rate is None or self.task.HasField("pending_command"):
            return None
        return (1 - self.task.progress.fraction) / rate


class Board:
    """The rows of one watch, by task id. Without `watched` it is of all tasks, and keeps those that are not over."""

    def __init__(self, watched: Iterable[int] = ()) -> None:
        self.rows: dict[int, Row] = {}
        self._watched = frozenset(watched)

    @property
    def watches_all(self) -> bool:
        """Whether it is of all tasks."""
        return not self._watched

    def apply(self, event: WatchTasksResponse, at: float) -> Row | None:
        """Takes over what happened, and returns the row that it is about; None if there is none."""
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

    def forget_what_is_over(self) -> None:
        """Keeps a board of all tasks from growing for ever."""
        if self.watches_all:
            self.rows = {task_id: row for task_id, row in self.rows.items() if not row.is_over}

    def is_over(self) -> bool:
        """Whether all that is watched has come to an end; a board of all tasks never has."""
        if self.watches_all:
            return False
        return all(task_id in self.rows and self.rows[task_id].is_over for task_id in self._watched)

    def is_success(self) -> bool:
        """Whether every task has ended with SUCCESS."""
        return all(row.task.status == TASK_STATUS_SUCCESS for row in self.rows.values())
