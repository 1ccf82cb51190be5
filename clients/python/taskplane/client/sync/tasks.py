# Generated from ../aio/tasks.py by `make sync-client`. Do not edit.
"""Tasks as records: create, read, list, change."""

from collections.abc import Iterable, Iterator
from typing import Unpack

from google.protobuf.field_mask_pb2 import FieldMask

from taskplane.client.messages import (
    ContextOptions,
    FilterOptions,
    SpecOptions,
    UpdateOptions,
    list_request,
    request_context,
    task_spec,
)
from taskplane.client.sync.calls import Calls, all_pages
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


class TaskCalls(Calls):
    """Calls for tasks as records."""

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
        """Create a task, queued if `start`, RUNNING if a slot was free; durable on return.

        Raises NotJsonError if `config` is not JSON. A repeat with the same `request_id` returns the same task.
        """
        spec = task_spec(task_type, task_name, config, **options)
        return self._create(spec, actor, reason, request_id, timeout)

    def _create(self, spec: TaskSpec, actor: str, reason: str, request_id: str, timeout: float | None) -> Task:
        context = request_context(actor=actor, reason=reason, request_id=request_id)
        response = self._call(self._tasks.CreateTask, CreateTaskRequest(task=spec, context=context), timeout)
        return response.task

    def batch_create_tasks(
        self, tasks: Iterable[TaskSpec], *, timeout: float | None = None, **context: Unpack[ContextOptions]
    ) -> list[Task]:
        """Create up to 1000 tasks (see `task_spec`), all or none, and return them in the same order.

        Above about 3 MiB together, the returned tasks lack config and labels.
        """
        request = BatchCreateTasksRequest(tasks=tasks, context=request_context(**context))
        response = self._call(self._tasks.BatchCreateTasks, request, timeout)
        return list(response.tasks)

    def get_task(self, task_id: int, *, timeout: float | None = None) -> Task:
        """Return the task with its live progress and the data of its newest checkpoint.

        NotFoundError: there is no such task.
        """
        response = self._call(self._tasks.GetTask, GetTaskRequest(task_id=task_id), timeout)
        return response.task

    def list_tasks(
        self,
        *,
        page_size: int = 0,
        oldest_first: bool = False,
        timeout: float | None = None,
        **restrictions: Unpack[FilterOptions],
    ) -> Iterator[Task]:
        """Iterate over the tasks that match the restrictions, newest first; pages are fetched as they are needed.

        `timeout` is for each page, `page_size` up to 1000; 0 leaves the size to the server.
        """
        request = list_request(restrictions, page_size=page_size, oldest_first=oldest_first)
        for page in all_pages(lambda token: self._list_tasks(request, token, timeout)):
            for task in page.tasks:
                yield task

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
        """Return one page. `page_token` is the `next_page_token` of the page before, with the same restrictions."""
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
        """Change a task that is not final, also while it runs. Fields that `changes` lacks stay."""
        request = UpdateTaskRequest(
            task_id=task_id,
            update_mask=FieldMask(paths=sorted(changes)),
            task=TaskSpec(**changes),
            context=request_context(**context),
        )
        response = self._call(self._tasks.UpdateTask, request, timeout)
        return response.task

    def _list_tasks(self, request: ListTasksRequest, token: str, timeout: float | None) -> ListTasksResponse:
        request.page_token = token
        return self._call(self._tasks.ListTasks, request, timeout)
