"""A scripted server with its tasks in a dict, for tests of the command line."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from typing import Any, NoReturn, Protocol

import grpc
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from taskplane.v1 import operations_service_pb2 as operations
from taskplane.v1 import task_service_pb2 as service
from taskplane.v1.execution_unit_pb2 import ExecutionUnit
from taskplane.v1.operations_service_pb2_grpc import (
    OperationsServiceServicer,
    add_OperationsServiceServicer_to_server,
)
from taskplane.v1.task_pb2 import (
    TASK_STATUS_CANCELLED,
    TASK_STATUS_PAUSED,
    TASK_STATUS_PENDING,
    TASK_STATUS_RUNNING,
    Task,
    TaskCheckpoint,
    TaskStatus,
    TaskTransition,
)
from taskplane.v1.task_service_pb2_grpc import TaskServiceServicer, add_TaskServiceServicer_to_server

Code = grpc.StatusCode
Context = grpc.ServicerContext


class OnTask(Protocol):
    task_id: int


@dataclass
class Script:
    """The server's tasks and units, its responses, and the requests that came."""

    tasks: dict[int, Task] = field(default_factory=dict)
    units: dict[str, ExecutionUnit] = field(default_factory=dict)
    history: list[TaskTransition] = field(default_factory=list)
    checkpoints: list[TaskCheckpoint] = field(default_factory=list)
    statistics: operations.GetStatisticsResponse = field(default_factory=operations.GetStatisticsResponse)
    events: list[service.WatchTasksResponse] = field(default_factory=list)
    failures: dict[int, tuple[grpc.StatusCode, str]] = field(default_factory=dict)
    bad_fields: dict[str, str] = field(default_factory=dict)
    next_page_token: str = ""
    requests: list[Any] = field(default_factory=list)

    def add(self, *tasks: Task) -> None:
        self.tasks.update({task.id: task for task in tasks})


class ScriptedTasks(TaskServiceServicer):
    def __init__(self, script: Script, over: Event) -> None:
        self._script = script
        self._over = over

    def CreateTask(self, request: service.CreateTaskRequest, context: Context) -> service.CreateTaskResponse:
        self._script.requests.append(request)
        if self._script.bad_fields:
            bad = [
                BadRequest.FieldViolation(field=name, description=text)
                for name, text in self._script.bad_fields.items()
            ]
            fail(context, Code.INVALID_ARGUMENT, "INVALID_FIELDS", "bad task", BadRequest(field_violations=bad))
        spec = request.task
        task = Task(
            id=len(self._script.tasks) + 1,
            task_name=spec.task_name,
            task_type=spec.task_type,
            status=TASK_STATUS_PENDING,
            config=spec.config,
            priority=spec.priority,
        )
        self._script.add(task)
        return service.CreateTaskResponse(task=task)

    def GetTask(self, request: service.GetTaskRequest, context: Context) -> service.GetTaskResponse:
        return service.GetTaskResponse(task=self._task(request, context))

    def ListTasks(self, request: service.ListTasksRequest, context: Context) -> service.ListTasksResponse:
        self._script.requests.append(request)
        token = "" if request.page_token else self._script.next_page_token
        return service.ListTasksResponse(tasks=self._script.tasks.values(), next_page_token=token)

    def StartTask(self, request: service.StartTaskRequest, context: Context) -> service.StartTaskResponse:
        return service.StartTaskResponse(task=self._change(request, context, TASK_STATUS_RUNNING))

    def PauseTask(self, request: service.PauseTaskRequest, context: Context) -> service.PauseTaskResponse:
        return service.PauseTaskResponse(task=self._change(request, context, TASK_STATUS_PAUSED))

    def ResumeTask(self, request: service.ResumeTaskRequest, context: Context) -> service.ResumeTaskResponse:
        return service.ResumeTaskResponse(task=self._change(request, context, TASK_STATUS_RUNNING))

    def CancelTask(self, request: service.CancelTaskRequest, context: Context) -> service.CancelTaskResponse:
        return service.CancelTaskResponse(task=self._change(request, context, TASK_STATUS_CANCELLED))

    def RestartTask(self, request: service.RestartTaskRequest, context: Context) -> service.RestartTaskResponse:
        return service.RestartTaskResponse(task=self._change(request, context, TASK_STATUS_PENDING))

    def DeleteTask(self, request: service.DeleteTaskRequest, context: Context) -> service.DeleteTaskResponse:
        self._script.requests.append(request)
        del self._script.tasks[self._task(request, context).id]
        return service.DeleteTaskResponse()

    def BatchControlTasks(
        self, request: service.BatchControlTasksRequest, context: Context
    ) -> service.BatchControlTasksResponse:
        self._script.requests.append(request)
        return service.BatchControlTasksResponse(
            results=[self._result(task_id) for task_id in request.task_ids or self._script.tasks]
        )

    def ListTaskTransitions(
        self, request: service.ListTaskTransitionsRequest, context: Context
    ) -> service.ListTaskTransitionsResponse:
        self._task(request, context)
        return service.ListTaskTransitionsResponse(transitions=self._script.history)

    def ListTaskCheckpoints(
        self, request: service.ListTaskCheckpointsRequest, context: Context
    ) -> service.ListTaskCheckpointsResponse:
        self._task(request, context)
        kept = self._script.checkpoints
        if request.number:
            return service.ListTaskCheckpointsResponse(
                checkpoints=[each for each in kept if each.number == request.number]
            )
        without_data = [TaskCheckpoint(number=each.number, attempt=each.attempt) for each in kept[1:]]
        return service.ListTaskCheckpointsResponse(checkpoints=[*kept[:1], *without_data])

    def WatchTasks(self, request: service.WatchTasksRequest, context: Context) -> Iterator[service.WatchTasksResponse]:
        """Send the events, then wait: a watch has no end."""
        self._script.requests.append(request)
        yield from self._script.events
        self._over.wait()

    def _change(self, request: OnTask, context: Context, status: TaskStatus.ValueType) -> Task:
        self._script.requests.append(request)
        task = self._task(request, context)
        task.status = status
        return task

    def _result(self, task_id: int) -> service.BatchControlResult:
        if task_id not in self._script.failures:
            return service.BatchControlResult(task_id=task_id)
        code, reason = self._script.failures[task_id]
        number: int = code.value[0]
        return service.BatchControlResult(task_id=task_id, code=number, reason=reason, message="as the script says")

    def _task(self, request: OnTask, context: Context) -> Task:
        if request.task_id in self._script.failures:
            code, reason = self._script.failures[request.task_id]
            fail(context, code, reason, "as the script says")
        if request.task_id not in self._script.tasks:
            fail(context, Code.NOT_FOUND, "TASK_NOT_FOUND", f"there is no task {request.task_id}")
        return self._script.tasks[request.task_id]


class ScriptedOperations(OperationsServiceServicer):
    def __init__(self, script: Script) -> None:
        self._script = script

    def ListUnits(self, request: operations.ListUnitsRequest, context: Context) -> operations.ListUnitsResponse:
        self._script.requests.append(request)
        return operations.ListUnitsResponse(units=self._script.units.values())

    def GetStatistics(
        self, request: operations.GetStatisticsRequest, context: Context
    ) -> operations.GetStatisticsResponse:
        self._script.requests.append(request)
        return self._script.statistics

    def GetUnit(self, request: operations.GetUnitRequest, context: Context) -> operations.GetUnitResponse:
        if request.unit_id not in self._script.units:
            fail(context, Code.NOT_FOUND, "UNIT_NOT_FOUND", f"there is no unit {request.unit_id}")
        return operations.GetUnitResponse(unit=self._script.units[request.unit_id])


class ScriptedServer:
    """A server on a free port."""

    def __init__(self) -> None:
        self.script = Script()
        self._over = Event()
        self._server = grpc.server(ThreadPoolExecutor(4))
        # Methods without a script answer UNIMPLEMENTED.
        tasks = ScriptedTasks(self.script, self._over)  # type: ignore[abstract]
        units = ScriptedOperations(self.script)  # type: ignore[abstract]
        add_TaskServiceServicer_to_server(tasks, self._server)
        add_OperationsServiceServicer_to_server(units, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self) -> None:
        self._over.set()
        self._server.stop(grace=None).wait()


def fail(context: Context, code: grpc.StatusCode, reason: str, message: str, *details: Message) -> NoReturn:
    """End the call with details, as the real server does."""
    status = Status(code=code.value[0], message=message)
    for detail in (ErrorInfo(reason=reason, domain="taskplane"), *details):
        status.details.add().Pack(detail)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(code, message)
