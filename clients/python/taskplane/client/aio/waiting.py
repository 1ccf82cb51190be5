"""Waiting for tasks, and running a task from its creation to its end."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Unpack

from taskplane.client.aio.watch import AsyncWatchCalls
from taskplane.client.enums import FINAL_STATUSES, AnyTaskStatus, task_status_number
from taskplane.client.errors import (
    DeadlineExceededError,
    TaskCancelledError,
    TaskFailedError,
    WaitTimeoutError,
)
from taskplane.client.messages import SpecOptions
from taskplane.client.watch_course import WatchCourse, task_deleted, task_in
from taskplane.v1.task_pb2 import TASK_STATUS_CANCELLED, TASK_STATUS_FAILED, Task
from taskplane.v1.task_service_pb2 import WatchTasksRequest, WatchTasksResponse

# Seconds by which gRPC may end a stream before the deadline of this process.
CLOCK_TOLERANCE_SECONDS = 0.1


class AsyncWaitCalls(AsyncWatchCalls):
    """Waits for tasks."""

    async def wait(
        self,
        task_id: int,
        *,
        until: Iterable[AnyTaskStatus] = FINAL_STATUSES,
        timeout: float | None = None,
    ) -> Task:
        """Wait until the task reaches one of the statuses `until` (default: a final one), and return the task.

        The task is read after it reached the status, with the data of its newest checkpoint. A failure that the server
        retries does not count. The wait survives broken connections as a watch does.

        Raises WaitTimeoutError after `timeout` seconds (None: no limit), NotFoundError if the task does not exist or is
        deleted, ValueError for an unknown status.
        """
        wanted = frozenset(task_status_number(each) for each in ((until,) if isinstance(until, str) else until))
        course = WatchCourse(WatchTasksRequest(task_ids=[task_id]), self._retry, timeout=timeout)
        try:
            async with aclosing(self._events(course)) as events:
                return await self._first_in(events, wanted, course)
        except DeadlineExceededError as error:
            if timeout is None or (course.seconds_left() or 0) > CLOCK_TOLERANCE_SECONDS:
                raise
            raise WaitTimeoutError(task_id, timeout) from error

    async def _first_in(
        self, events: AsyncGenerator[WatchTasksResponse], wanted: frozenset[int], course: WatchCourse
    ) -> Task:
        async for event in events:
            if event.HasField("deleted"):
                raise task_deleted(event.deleted.task_id)
            seen = task_in(event)
            # A replayed transition carries the current task.
            reached = {seen.status, event.transition.transition.to_status} & wanted if seen else None
            if not seen or not reached:
                continue
            left = course.seconds_left()
            task = await self.get_task(seen.id, timeout=None if left is None else min(left, self._timeout))
            if reached != {TASK_STATUS_FAILED} or task.status in wanted:
                return task
        raise AssertionError("a watch ends by an error")

    async def run(  # noqa: PLR0913  those of create_task, and two
        self,
        task_type: str,
        task_name: str,
        config: dict[str, object] | None = None,
        *,
        check: bool = True,
        actor: str = "",
        reason: str = "",
        request_id: str = "",
        timeout: float | None = None,
        **options: Unpack[SpecOptions],
    ) -> Task:
        """Create a task, start it, wait for its end, and return the finished task.

        `timeout` (seconds; None: no limit) bounds the wait: the task continues after WaitTimeoutError, and a repeat
        with the same `request_id` waits for the same task. With `check=False`, a task that failed or was cancelled is
        returned.

        Raises TaskFailedError and TaskCancelledError, whose `task` is the task, and the errors of `create_task`
        and `wait`.
        """
        options["start"] = True
        created = await self.create_task(
            task_type, task_name, config, actor=actor, reason=reason, request_id=request_id, **options
        )
        task = await self.wait(created.id, timeout=timeout)
        if check and task.status == TASK_STATUS_FAILED:
            raise TaskFailedError(task)
        if check and task.status == TASK_STATUS_CANCELLED:
            raise TaskCancelledError(task)
        return task
