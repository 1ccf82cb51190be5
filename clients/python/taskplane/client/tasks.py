"""Creating, reading, listing and changing tasks."""

from collections.abc import Iterable, Iterator
from typing import Unpack

from google.protobuf.field_mask_pb2 import FieldMask

from taskplane.client.calls import Calls, all_pages
from taskplane.client.messages import (
    ContextOptions,
    FilterOptions,
    SpecOptions,
    UpdateOptions,
    request_context,
    task_filter,
    task_spec,
)
from taskplane.v1.task_pb2 import Task
from taskplane.v1.task_service_pb2 import (
    TASK_ORDER_NEWEST_FIRST,
    TASK_ORDER_OLDEST_FIRST,
    BatchCreateTasksRequest,
    CreateTaskRequest,
    GetTaskRequest,
    ListTasksRequest,
    ListTasksResponse,
    TaskSpec,
    UpdateTaskRequest,
)


class TaskCalls(Calls):
    """The part of Client for tasks as records."""

    def create_task(  # noqa: PLR0913  create has no revision to expect, so it names what it takes of a context
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
        """
        request = CreateTaskRequest(
            task=task_spec(task_type, task_name, config, **options),
            context=request_context(actor=actor, reason=reason, request_id=request_id),
        )
        return self._call(self._tasks.CreateTask, request, timeout).task

    def batch_create_tasks(
        self,
        tasks: Iterable[TaskSpec],
        *,
        timeout: float | None = None,
        **context: Unpack[ContextOptions],
    ) -> list[Task]:
        """Creates up to 1000 tasks (see `task_spec`), all or none, and returns them in the same order.

        They come without config and labels if they are over about 3 MiB together.
        """
        request = BatchCreateTasksRequest(tasks=tasks, context=request_context(**context))
        return list(self._call(self._tasks.BatchCreateTasks, request, timeout).tasks)

    def get_task(self, task_id: int, *, timeout: float | None = None) -> Task:
        """The task with its live progress and the data of its newest checkpoint."""
        return self._call(self._tasks.GetTask, GetTaskRequest(task_id=task_id), timeout).task

    def list_tasks(
        self,
        *,
        page_size: int = 0,
        oldest_first: bool = False,
        timeout: float | None = None,
        **restrictions: Unpack[FilterOptions],
    ) -> Iterator[Task]:
        """Every task that the restrictions choose, newest first; pages are fetched as they are needed.

        `timeout` is for each page, `page_size` up to 1000, 0 the server's choice.
        """
        request = list_request(restrictions, page_size=page_size, oldest_first=oldest_first)
        for page in all_pages(lambda token: self._list_tasks(request, token, timeout)):
            yield from page.tasks

    def list_tasks_page(
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
        return self._list_tasks(request, page_token, timeout)

    def update_task(
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
        return self._call(self._tasks.UpdateTask, request, timeout).task

    def _list_tasks(self, request: ListTasksRequest, token: str, timeout: float | None) -> ListTasksResponse:
        request.page_token = token
        return self._call(self._tasks.ListTasks, request, timeout)


def list_request(restrictions: FilterOptions, *, page_size: int, oldest_first: bool) -> ListTasksRequest:
    """The request of a list's first page."""
    return ListTasksRequest(
        filter=task_filter(**restrictions),
        page_size=page_size,
        order=TASK_ORDER_OLDEST_FIRST if oldest_first else TASK_ORDER_NEWEST_FIRST,
    )
