"""The course of one watch over its connections: its position, its pauses, its end. Free of I/O, for both clients."""

import time

import grpc

from taskplane.client.errors import NotFoundError, SlowReaderError, TaskplaneError, UnavailableError
from taskplane.client.retry import RetryPolicy
from taskplane.v1.task_pb2 import Task
from taskplane.v1.task_service_pb2 import WatchTasksRequest, WatchTasksResponse

# Seconds without a connection after which a watch raises its error.
RECONNECT_TIMEOUT_SECONDS = 60.0


class WatchCourse:
    """The position of a watch, and how long it has been disconnected. `request` resumes the watch at its position.

    `timeout` (seconds) bounds the whole watch; None leaves it open.
    """

    def __init__(
        self,
        request: WatchTasksRequest,
        retry: RetryPolicy,
        reconnect_timeout: float = RECONNECT_TIMEOUT_SECONDS,
        timeout: float | None = None,
    ) -> None:
        self.request = request
        self._retry = retry
        self._reconnect_timeout = reconnect_timeout
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._was_connected = False
        self._failures = 0
        self._disconnected_at = 0.0

    def seconds_left(self) -> float | None:
        """Return the seconds until the watch's deadline; None if there is none."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def advance(self, event: WatchTasksResponse) -> None:
        """Record the position after an event."""
        self._was_connected = True
        self._failures = 0
        is_past_snapshot = self.request.HasField("after_revision")
        if is_past_snapshot or event.WhichOneof("event") == "snapshot_complete":
            self.request.after_revision = event.revision
        # A request that names a deleted task would be NOT_FOUND. The last id stays: a request without ids means all.
        if event.HasField("deleted") and len(self.request.task_ids) > 1:
            self.request.task_ids.remove(event.deleted.task_id)

    def pause_seconds(self, failure: TaskplaneError) -> float:
        """Return the wait before the next connection. Raises `failure` if another connection cannot help."""
        self._failures += 1
        if self._failures == 1:
            self._disconnected_at = time.monotonic()
        if not isinstance(failure, UnavailableError | SlowReaderError) or self._gives_up(failure):
            raise failure
        pause = self._retry.pause_seconds(self._failures, failure)
        left = self.seconds_left()
        return pause if left is None else min(pause, left)

    def _gives_up(self, failure: TaskplaneError) -> bool:
        if not self._was_connected:
            return not self._retry.allows(self._failures, failure, idempotent=True)
        return time.monotonic() - self._disconnected_at >= self._reconnect_timeout


def stream_ended() -> UnavailableError:
    """Return the error for a stream that ended without an error: the server is about to stop."""
    return UnavailableError(grpc.StatusCode.UNAVAILABLE, "STREAM_ENDED", "the server ended the watch")


def task_deleted(task_id: int) -> NotFoundError:
    """Return the error for a task that was deleted while a caller waited for it."""
    return NotFoundError(grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND", f"task {task_id} was deleted")


def task_in(event: WatchTasksResponse) -> Task | None:
    """Return the task in an event; None for an event without a task."""
    match event.WhichOneof("event"):
        case "snapshot":
            return event.snapshot
        case "transition":
            return event.transition.task
        case "changed":
            return event.changed
        case _:
            return None
