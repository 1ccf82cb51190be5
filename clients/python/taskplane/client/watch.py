"""Following tasks over broken connections, without losing or repeating a transition."""

import time
from collections.abc import Generator, Iterable
from typing import TypeAlias

import grpc

from taskplane.client.calls import Calls
from taskplane.client.errors import SlowReaderError, TaskplaneError, UnavailableError, translate
from taskplane.client.messages import task_status
from taskplane.client.retry import RetryPolicy
from taskplane.v1.task_pb2 import TaskStatus
from taskplane.v1.task_service_pb2 import WatchTasksRequest, WatchTasksResponse

OpenStream: TypeAlias = "grpc.UnaryStreamMultiCallable[WatchTasksRequest, WatchTasksResponse]"


class WatchCalls(Calls):
    """The part of Client for following tasks."""

    def watch(  # noqa: PLR0913  the fields of the request
        self,
        task_ids: Iterable[int] = (),
        *,
        task_types: Iterable[str] = (),
        statuses: Iterable[TaskStatus.ValueType | str] = (),
        after_revision: int | None = None,
        snapshot: bool = True,
        include_progress: bool = False,
        max_progress_per_second: int = 0,
        reconnect_timeout: float = 60.0,
    ) -> Generator[WatchTasksResponse]:
        """What happens to these tasks (none given: to all), for ever: a snapshot, then every change of status.

        With `statuses`, only tasks in one of them, and transitions into and out of one. Without `snapshot`, only what
        happens from now on.

        When the connection breaks, or the server cuts a slow reader, it goes on after the last revision seen: no
        transition and no deletion is lost or told twice. What is live only (progress, `changed`) may be missed then,
        and a break within the snapshot begins the snapshot again. Raises the error if the first connection fails as
        any call's, or a later one for `reconnect_timeout` seconds, and NotFoundError when it has to go on after the
        last of `task_ids` was deleted. `close()` on the iterator ends the call.
        """
        request = WatchTasksRequest(
            task_ids=task_ids,
            task_types=task_types,
            statuses=[task_status(each) for each in statuses],
            after_revision=after_revision,
            no_snapshot=not snapshot,
            include_progress=include_progress,
            max_progress_per_second=max_progress_per_second,
        )
        course = WatchCourse(request, self._retry, reconnect_timeout)
        return _events(self._tasks.WatchTasks, course)


def _events(open_stream: OpenStream, course: "WatchCourse") -> Generator[WatchTasksResponse]:
    while True:
        stream = open_stream(course.request)
        try:
            for event in stream:
                course.advance(event)
                yield event
            pause = course.pause_seconds(stream_ended())
        except grpc.RpcError as error:
            pause = course.pause_seconds(translate(error))
        finally:
            stream.cancel()
        time.sleep(pause)


class WatchCourse:
    """One watch: where it is, since when it has been cut off, and when to give up. `request` goes on from there."""

    def __init__(self, request: WatchTasksRequest, retry: RetryPolicy, reconnect_timeout: float) -> None:
        self.request = request
        self._retry = retry
        self._reconnect_timeout = reconnect_timeout
        self._was_connected = False
        self._failures = 0
        self._broken_since = 0.0

    def advance(self, event: WatchTasksResponse) -> None:
        """Takes that an event has come."""
        self._was_connected = True
        self._failures = 0
        is_past_snapshot = self.request.HasField("after_revision")
        if is_past_snapshot or event.WhichOneof("event") == "snapshot_complete":
            self.request.after_revision = event.revision
        # What is gone cannot be asked for any more; but to ask for nothing is to ask for all.
        if event.HasField("deleted") and len(self.request.task_ids) > 1:
            self.request.task_ids.remove(event.deleted.task_id)

    def pause_seconds(self, failure: TaskplaneError) -> float:
        """How long to wait before the watch is opened again after a failure. Raises it if there is no use."""
        self._failures += 1
        if self._failures == 1:
            self._broken_since = time.monotonic()
        if not isinstance(failure, UnavailableError | SlowReaderError) or self._gives_up(failure):
            raise failure
        return self._retry.pause_seconds(self._failures, failure)

    def _gives_up(self, failure: TaskplaneError) -> bool:
        if not self._was_connected:
            return not self._retry.allows(self._failures, failure, idempotent=True)
        return time.monotonic() - self._broken_since >= self._reconnect_timeout


def stream_ended() -> UnavailableError:
    """A watch never ends by itself, so an end without an error is a server that leaves."""
    return UnavailableError(grpc.StatusCode.UNAVAILABLE, "STREAM_ENDED", "the server ended the watch")
