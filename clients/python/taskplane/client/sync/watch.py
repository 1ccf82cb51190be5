# Generated from ../aio/watch.py by `make sync-client`. Do not edit.
"""Watches: tasks followed over broken connections, without a lost or repeated transition."""

from collections.abc import Generator, Iterable
from contextlib import closing

import grpc

from taskplane.client.enums import FINAL_STATUS_NUMBERS, AnyTaskStatus, task_status_number
from taskplane.client.errors import NotFoundError, translate
from taskplane.client.sync.tasks import TaskCalls
from taskplane.client.sync.transport import sleep
from taskplane.client.watch_course import RECONNECT_TIMEOUT_SECONDS, WatchCourse, stream_ended, task_in
from taskplane.v1.task_pb2 import TASK_STATUS_FAILED, Task
from taskplane.v1.task_service_pb2 import WatchTasksRequest, WatchTasksResponse


class WatchCalls(TaskCalls):
    """The watch."""

    def watch(  # noqa: PLR0913  the fields of the request
        self,
        task_ids: Iterable[int] = (),
        *,
        task_types: Iterable[str] = (),
        statuses: Iterable[AnyTaskStatus] = (),
        after_revision: int | None = None,
        snapshot: bool = True,
        include_progress: bool = False,
        max_progress_per_second: int = 0,
        reconnect_timeout: float = RECONNECT_TIMEOUT_SECONDS,
        until_final: bool = False,
    ) -> Generator[WatchTasksResponse]:
        """Iterate over the events of these tasks (none: all tasks): a snapshot, then every change of status.

        The iterator ends when all of `task_ids` are final or deleted, if `until_final`; otherwise never. A failure that
        the server retries is not final. With `statuses`, only tasks in one of them, and transitions into and out of
        one. Without `snapshot`, only later events. `close()` (asyncio: `aclose()`) on the iterator ends the call.

        When the connection breaks, or the server cuts a slow reader, the watch resumes after the last revision: no
        transition and no deletion is lost or repeated. Live events (progress, `changed`) may be missed then, and a
        break within the snapshot begins the snapshot again.

        Raises the error of a first connection as any call does, and of a later one after `reconnect_timeout` seconds;
        NotFoundError if the watch resumes after the last of `task_ids` was deleted; ValueError for an unknown status,
        and for `until_final` without `task_ids` or with `statuses`.
        """
        request = WatchTasksRequest(
            task_ids=task_ids,
            task_types=task_types,
            statuses=[task_status_number(each) for each in statuses],
            after_revision=after_revision,
            no_snapshot=not snapshot,
            include_progress=include_progress,
            max_progress_per_second=max_progress_per_second,
        )
        course = WatchCourse(request, self._retry, reconnect_timeout)
        if not until_final:
            return self._events(course)
        if not request.task_ids or request.statuses:
            raise ValueError("until_final needs task_ids, and no statuses")
        return self._events_until_final(course)

    def _events(self, course: WatchCourse) -> Generator[WatchTasksResponse]:
        while True:
            stream = self._tasks.WatchTasks(course.request, timeout=course.seconds_left())
            try:
                for event in stream:
                    course.advance(event)
                    yield event
                pause = course.pause_seconds(stream_ended())
            except grpc.RpcError as error:
                pause = course.pause_seconds(translate(error))
            finally:
                stream.cancel()
            sleep(pause)

    def _events_until_final(self, course: WatchCourse) -> Generator[WatchTasksResponse]:
        unfinished = set(course.request.task_ids)
        with closing(self._events(course)) as events:
            for event in events:
                yield event
                task = task_in(event)
                if event.HasField("deleted"):
                    unfinished.discard(event.deleted.task_id)
                elif task is not None and self._is_final(task):
                    unfinished.discard(task.id)
                elif task is not None:
                    unfinished.add(task.id)
                if not unfinished:
                    return

    def _is_final(self, task: Task) -> bool:
        """Return whether the task has ended. A failure to be retried shows as FAILED first, so the server is asked."""
        if task.status != TASK_STATUS_FAILED:
            return task.status in FINAL_STATUS_NUMBERS
        try:
            current = self.get_task(task.id)
        except NotFoundError:
            return True
        return current.status in FINAL_STATUS_NUMBERS
