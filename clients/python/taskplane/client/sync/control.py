# Generated from ../aio/control.py by `make sync-client`. Do not edit.
"""The verbs. Each waits until its effect holds, for `timeout` seconds at most, and returns the task after the effect.

With `wait=False` a verb returns as soon as it is durably recorded. CommandPendingError: the time ran out; the command
stays pending and takes effect later. A verb whose effect already holds changes nothing and succeeds.
IllegalTransitionError: the task's status does not allow the verb.
"""

from collections.abc import Iterable
from typing import Unpack

from taskplane.client.enums import AnyVerb, verb_number
from taskplane.client.messages import ContextOptions, request_context
from taskplane.client.sync.calls import Calls
from taskplane.v1.task_pb2 import Task
from taskplane.v1.task_service_pb2 import (
    BatchControlResult,
    BatchControlTasksRequest,
    CancelTaskRequest,
    DeleteTaskRequest,
    PauseTaskRequest,
    RestartTaskRequest,
    ResumeTaskRequest,
    StartTaskRequest,
    TaskFilter,
)


class ControlCalls(Calls):
    """The verbs."""

    def start_task(
        self,
        task_id: int,
        *,
        wait: bool = True,
        timeout: float | None = None,
        **context: Unpack[ContextOptions],
    ) -> Task:
        """Queue a PENDING task and wait for RUNNING, unless no unit can take the task: see its `waiting_reason`."""
        request = StartTaskRequest(task_id=task_id, context=request_context(**context), no_wait=not wait)
        response = self._call(self._tasks.StartTask, request, timeout)
        return response.task

    def pause_task(
        self,
        task_id: int,
        *,
        wait: bool = True,
        timeout: float | None = None,
        **context: Unpack[ContextOptions],
    ) -> Task:
        """Pause a RUNNING task at its next safe point; on return its checkpoint is durable.

        UnitCannotPauseError: the unit does not pause tasks of this type.
        """
        request = PauseTaskRequest(task_id=task_id, context=request_context(**context), no_wait=not wait)
        response = self._call(self._tasks.PauseTask, request, timeout)
        return response.task

    def resume_task(
        self,
        task_id: int,
        *,
        checkpoint_number: int = 0,
        wait: bool = True,
        timeout: float | None = None,
        **context: Unpack[ContextOptions],
    ) -> Task:
        """Queue a PAUSED task to resume from a checkpoint (0: the newest); wait as `start_task` does."""
        request = ResumeTaskRequest(
            task_id=task_id,
            context=request_context(**context),
            no_wait=not wait,
            checkpoint_number=checkpoint_number,
        )
        response = self._call(self._tasks.ResumeTask, request, timeout)
        return response.task

    def cancel_task(
        self,
        task_id: int,
        *,
        wait: bool = True,
        timeout: float | None = None,
        **context: Unpack[ContextOptions],
    ) -> Task:
        """Cancel a PENDING, RUNNING or PAUSED task; a unit that holds the task cleans up first."""
        request = CancelTaskRequest(task_id=task_id, context=request_context(**context), no_wait=not wait)
        response = self._call(self._tasks.CancelTask, request, timeout)
        return response.task

    def restart_task(
        self,
        task_id: int,
        *,
        checkpoint_number: int = 0,
        wait: bool = True,
        timeout: float | None = None,
        **context: Unpack[ContextOptions],
    ) -> Task:
        """Queue a FAILED or CANCELLED task again, from scratch (0) or a checkpoint; wait as `start_task` does."""
        request = RestartTaskRequest(
            task_id=task_id,
            context=request_context(**context),
            no_wait=not wait,
            checkpoint_number=checkpoint_number,
        )
        response = self._call(self._tasks.RestartTask, request, timeout)
        return response.task

    def delete_task(
        self,
        task_id: int,
        *,
        timeout: float | None = None,
        **context: Unpack[ContextOptions],
    ) -> None:
        """Delete a SUCCESS, FAILED or CANCELLED task with its history and checkpoints."""
        request = DeleteTaskRequest(task_id=task_id, context=request_context(**context))
        self._call(self._tasks.DeleteTask, request, timeout)

    def batch_control_tasks(
        self,
        verb: AnyVerb,
        tasks: Iterable[int] | TaskFilter,
        *,
        max_tasks: int = 0,
        validate_only: bool = False,
        timeout: float | None = None,
        **context: Unpack[ContextOptions],
    ) -> list[BatchControlResult]:
        """Apply one verb to many tasks, by ids (up to 1000) or by `task_filter(...)`, without waiting for effects.

        `verb` is a Verb, its name, or protobuf's BatchVerb. Each result has the task's own error (`code` 0 is OK).
        `validate_only` only returns the results that the call would have. ResourceExhaustedError: the filter matches
        more than `max_tasks` (0: 1000), and nothing was done.
        """
        request = BatchControlTasksRequest(
            verb=verb_number(verb),
            max_tasks=max_tasks,
            validate_only=validate_only,
            context=request_context(**context),
        )
        if isinstance(tasks, TaskFilter):
            request.filter.CopyFrom(tasks)
        else:
            request.task_ids.extend(tasks)
        response = self._call(self._tasks.BatchControlTasks, request, timeout)
        return list(response.results)
