"""Creating, reading, listing and changing tasks; see `taskplane.client.tasks`."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Unpack

import grpc
from google.protobuf.field_mask_pb2 import FieldMask

from taskplane.client.aio.calls import AsyncCalls, all_pages
from taskplane.client.aio.coalescing import MAX_BYTES, Asker, Coalescer
from taskplane.client.messages import (
    ContextOptions,
    FilterOptions,
    SpecOptions,
    UpdateOptions,
    request_context,
    task_spec,
)
from taskplane.client.retry import RetryPolicy
from taskplane.client.tasks import list_request
from taskplane.v1.task_pb2 import Task
from taskplane.v1.task_service_pb2 import (
    BatchCreateTasksRequest,
    CreateTaskRequest,
    GetTaskRequest,
    ListTasksRequest,
    ListTasksResponse,
    TaskSpec,
    UpdateTaskRequest,
)


class AsyncTaskCalls(AsyncCalls):
    """The part of AsyncClient for tasks as records."""

    def __init__(self, channel: grpc.aio.Channel, timeout: float, retry: RetryPolicy, *, coalesce: bool) -> None:
        super().__init__(channel, timeout, retry)
        self._coalescer = Coalescer(self._create_gathered) if coalesce else None

    async def create_task(  # noqa: PLR0913  create has no revision to expect, so it names what it takes of a context
        self,
        task_type: str,
        task_name: str,
        config: dict[str, object] | None = None,
        *,
        actor: str = "",
        reason: str = "",
        request_id: str = "",
        timeout: float | None = None,
        **options: Unpack[SpecOptions],
    ) -> Task:
        """Creates a task, queued if `start`, RUNNING if a slot was free; durable on return.

        NotJsonError: `config` is not JSON.

        A client that coalesces sends it together with others; one that has a `request_id` or a `timeout` of its own
        goes alone.
        """
        spec = task_spec(task_type, task_name, config, **options)
        if self._coalescer and not request_id and timeout is None:
            return await self._coalescer.create(spec, Asker(actor, reason))
        context = request_context(actor=actor, reason=reason, request_id=request_id)
        request = CreateTaskRequest(task=spec, context=context)
        return (await self._call(self._tasks.CreateTask, request, timeout)).task

    async def batch_create_tasks(
        self, tasks: Iterable[TaskSpec], *, timeout: float | None = None, **context: Unpack[ContextOptions]
    ) -> list[Task]:
        """Creates up to 1000 tasks (see `task_spec`), all or none, and returns them in the same order.

        They come without config and labels if they are over about 3 MiB together.
        """
        request = BatchCreateTasksRequest(tasks=tasks, context=request_context(**context))
        return list((await self._call(self._tasks.BatchCreateTasks, request, timeout)).tasks)

    async def get_task(self, task_id: int, *, timeout: float | None = None) -> Task:
        """The task with its live progress and the data of its newest checkpoint."""
        return (await self._call(self._tasks.GetTask, GetTaskRequest(task_id=task_id), timeout)).task

    async def list_tasks(
        self,
        *,
        page_size: int = 0,
        oldest_first: bool = False,
        timeout: float | None = None,
        **restrictions: Unpack[FilterOptions],
    ) -> AsyncIterator[Task]:
        """Every task that the restrictions choose, newest first; pages are fetched as they are needed."""
        request = list_request(restrictions, page_size=page_size, oldest_first=oldest_first)
        async for page in all_pages(lambda token: self._list_tasks(request, token, timeout)):
            for task in page.tasks:
                yield task

    async def list_tasks_page(
        self,
        *,
        page_size: int = 0,
        page_token: str = "",
        oldest_first: bool = False,
        include_total: bool = False,
        timeout: float | None = None,
        **restrictions: Unpack[FilterOptions],
    ) -> ListTasksResponse:
        """One page. `page_token` is the `next_page_token` of the page before, of the same restrictions and order."""
        request = list_request(restrictions, page_size=page_size, oldest_first=oldest_first)
        request.include_total = include_total
        return await self._list_tasks(request, page_token, timeout)

    async def update_task(
        self,
        task_id: int,
        changes: UpdateOptions,
        *,
        timeout: float | None = None,
        **context: Unpack[ContextOptions],
    ) -> Task:
        """Changes a task that is not final, also while it runs; what `changes` leaves out stays as it is."""
        request = UpdateTaskRequest(
            task_id=task_id,
            update_mask=FieldMask(paths=sorted(changes)),
            task=TaskSpec(**changes),
            context=request_context(**context),
        )
        return (await self._call(self._tasks.UpdateTask, request, timeout)).task

    async def _list_tasks(self, request: ListTasksRequest, token: str, timeout: float | None) -> ListTasksResponse:
        request.page_token = token
        return await self._call(self._tasks.ListTasks, request, timeout)

    async def _create_gathered(self, specs: Sequence[TaskSpec], asker: Asker) -> list[Task]:
        if specs[0].ByteSize() > MAX_BYTES:
            # It is alone. In the answer to a batch it would come without its config.
            request = CreateTaskRequest(task=specs[0], context=request_context(actor=asker.actor, reason=asker.reason))
            return [(await self._call(self._tasks.CreateTask, request, None)).task]
        return await self.batch_create_tasks(specs, actor=asker.actor, reason=asker.reason)

    async def _finish_creates(self) -> None:
        if self._coalescer:
            await self._coalescer.finish()
