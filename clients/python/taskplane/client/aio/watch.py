"""Following tasks; see `taskplane.client.watch`."""

import asyncio
from collections.abc import AsyncGenerator, Iterable

import grpc

from taskplane.client.aio.calls import AsyncCalls
from taskplane.client.errors import translate
from taskplane.client.messages import task_status
from taskplane.client.watch import WatchCourse, stream_ended
from taskplane.v1.task_pb2 import TaskStatus
from taskplane.v1.task_service_pb2 import WatchTasksRequest, WatchTasksResponse


class AsyncWatchCalls(AsyncCalls):
    """The part of AsyncClient for following tasks."""

    async def watch(  # noqa: PLR0913  the fields of the request
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
    ) -> AsyncGenerator[WatchTasksResponse]:
        """As `Client.watch`. Close the generator (`contextlib.aclosing`) to end the call."""
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
        while True:
            stream = self._tasks.WatchTasks(course.request)
            try:
                async for event in stream:
                    course.advance(event)
                    yield event
                pause = course.pause_seconds(stream_ended())
            except grpc.aio.AioRpcError as error:
                pause = course.pause_seconds(translate(error))
            finally:
                stream.cancel()
            await asyncio.sleep(pause)
