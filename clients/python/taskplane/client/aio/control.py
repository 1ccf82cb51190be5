"""The verbs; see `taskplane.client.control`."""

from collections.abc import Iterable
from typing import Unpack

from taskplane.client.aio.calls import AsyncCalls
from taskplane.client.messages import ContextOptions, request_context
from taskplane.v1.task_pb2 import Task
from taskplane.v1.task_service_pb2 import (
    BatchControlResult,
    BatchControlTasksRequest,
    BatchVerb,
    CancelTaskRequest,
    DeleteTaskRequest,
    PauseTaskRequest,
    RestartTaskRequest,
    ResumeTaskRequest,
    StartTaskRequest,
    TaskFilter,
)


class AsyncControlCalls(AsyncCalls):
    """The part of AsyncClient for the verbs."""

    async def start_task(
        self,
        task_id: int,
        *,
        wait: bool = True,
        timeout: float | None = None,
        **context: Unpack[ContextOptions],
    ) -> Task:
        """Queues a PENDING task and waits for RUNNING, unless no unit can take it: see its `waiting_reason`."""
        request = StartTaskRequest(task_id=task_id, context=request_context(**context), no_wait=not wait)
        return (await self._call(self._tasks.StartTask, request, timeout)).task

    async def pause_task(
        self,
        task_id: int,
        *,
        wait: bool = True,
        timeout: float | None = None,
        **context: Unpack[ContextOptions],
    ) -> Task:
        """Pauses a RUNNING task at its next safe point; on return its checkpoint is durable."""
        request = PauseTaskRequest(task_id=task_id, context=request_context(**context), no_wait=not wait)
        return (await self._call(self._tasks.PauseTask, request, timeout)).task

    async def resume_task(
        self,
        task_id: int,
        *,
        checkpoint_number: int = 0,
        wait: bool = True,
        timeout: float | None = None,
        **context: Unpack[ContextOptions],
    ) -> Task:
        """Queues a PAUSED task to go on, from its newest checkpoint (0) or the one given; waits as `start_task`."""
        request = ResumeTaskRequest(
            task_id=task_id,
            context=request_context(**context),
            no_wait=not wait,
            checkpoint_number=checkpoint_number,
        )
        return (await self._call(self._tasks.ResumeTask, request, timeout)).task

    async def cancel_task(
        self,
        task_id: int,
        *,
        wait: bool = True,
        timeout: float | None = None,
        **context: Unpack[ContextOptions],
    ) -> Task:
        """Cancels a PENDING, RUNNING or PAUSED task; a unit that holds it cleans up first."""
        request = CancelTaskRequest(task_id=task_id, context=request_context(**context), no_wait=not wait)
        return (await self._call(self._tasks.CancelTask, request, timeout)).task

    async def restart_task(
        self,
        task_id: int,
        *,
        checkpoint_number: int = 0,
        wait: bool = True,
        timeout: float | None = None,
        **context: Unpack[ContextOptions],
    ) -> Task:
        """Queues a FAILED or CANCELLED task afresh, from scratch (0) or a checkpoint; waits as `start_task`."""
        request = RestartTaskRequest(
            task_id=task_id,
            context=request_context(**context),
            no_wait=not wait,
            checkpoint_number=checkpoint_number,
        )
        return (await self._call(self._tasks.RestartTask, request, timeout)).task

    async def delete_task(
        self,
        task_id: int,
        *,
        timeout: float | None = None,
        **context: Unpack[ContextOptions],
    ) -> None:
        """Deletes a SUCCESS, FAILED or CANCELLED task with its history and checkpoints."""
        request = DeleteTaskRequest(task_id=task_id, context=request_context(**context))
        await self._call(self._tasks.DeleteTask, request, timeout)

    async def batch_control_tasks(
        self,
        verb: BatchVerb.ValueType,
        tasks: Iterable[int] | TaskFilter,
        *,
        max_tasks: int = 0,
        validate_only: bool = False,
        timeout: float | None = None,
        **context: Unpack[ContextOptions],
    ) -> list[BatchControlResult]:
        """One verb on many tasks, by ids (up to 1000) or by `task_filter(...)`; effects are not waited for.

        One task's error is its own, told in its result (`code` 0 is OK). ResourceExhaustedError: the filter chooses
        more than `max_tasks` (0: 1000), and nothing was done. `validate_only` tells what would become of each.
        """
        request = BatchControlTasksRequest(
            verb=verb,
            max_tasks=max_tasks,
            validate_only=validate_only,
            context=request_context(**context),
        )
        if isinstance(tasks, TaskFilter):
            request.filter.CopyFrom(tasks)
        else:
            request.task_ids.extend(tasks)
        return list((await self._call(self._tasks.BatchControlTasks, request, timeout)).results)
