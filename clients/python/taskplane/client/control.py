"""The verbs. Each waits until its effect holds, as long as `timeout` says, and returns the task as it then is.

With `wait=False` a verb returns as soon as it is durably recorded. When the time runs out, CommandPendingError says
that the command stays pending and takes effect later. A verb whose effect already holds changes nothing and succeeds;
one that the task's status does not allow raises IllegalTransitionError.
"""

from collections.abc import Iterable
from typing import Unpack

from taskplane.client.calls import Calls
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


class ControlCalls(Calls):
    """The part of Client for the verbs."""

    def start_task(
        self,
        task_id: int,
        *,
        wait: bool = True,
        timeout: float | None = None,
        **context: Unpack[ContextOptions],
    ) -> Task:
        """Queues a PENDING task and waits for RUNNING, unless no unit can take it: see its `waiting_reason`."""
        request = StartTaskRequest(task_id=task_id, context=request_context(**context), no_wait=not wait)
        return self._call(self._tasks.StartTask, request, timeout).task

    def pause_task(
        self,
        task_id: int,
        *,
        wait: bool = True,
        timeout: float | None = None,
        **context: Unpack[ContextOptions],
    ) -> Task:
        """Pauses a RUNNING task at its next safe point; on return its checkpoint is durable."""
        request = PauseTaskRequest(task_id=task_id, context=request_context(**context), no_wait=not wait)
        return self._call(self._tasks.PauseTask, request, timeout).task

    def resume_task(
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
        return self._call(self._tasks.ResumeTask, request, timeout).task

    def cancel_task(
        self,
        task_id: int,
        *,
        wait: bool = True,
        timeout: float | None = None,
        **context: Unpack[ContextOptions],
    ) -> Task:
        """Cancels a PENDING, RUNNING or PAUSED task; a unit that holds it cleans up first."""
        request = CancelTaskRequest(task_id=task_id, context=request_context(**context), no_wait=not wait)
        return self._call(self._tasks.CancelTask, request, timeout).task

    def restart_task(
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
        return self._call(self._tasks.RestartTask, request, timeout).task

    def delete_task(
        self,
        task_id: int,
        *,
        timeout: float | None = None,
        **context: Unpack[ContextOptions],
    ) -> None:
        """Deletes a SUCCESS, FAILED or CANCELLED task with its history and checkpoints."""
        request = DeleteTaskRequest(task_id=task_id, context=request_context(**context))
        self._call(self._tasks.DeleteTask, request, timeout)

    def batch_control_tasks(
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
        return list(self._call(self._tasks.BatchControlTasks, request, timeout).results)
