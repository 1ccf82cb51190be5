"""Calls of a unit without a stream, and of its clients."""

from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Struct
from http_units.scripted_unit import Request, ScriptedUnit
from rpc.server import Wire, eventually

from taskplane.v1 import execution_unit_control_pb2 as pb
from taskplane.v1 import execution_unit_pb2, task_pb2
from taskplane.v1 import operations_service_pb2 as operations_pb
from taskplane.v1 import task_service_pb2 as task_service_pb

WORK = "WORK"


class Calls:
    """Calls by their names; a task is of type WORK, and so is a unit."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    # Calls of the unit.

    async def register(self, unit: ScriptedUnit | str, **changes: Any) -> execution_unit_pb2.ExecutionUnit:
        endpoint = unit if isinstance(unit, str) else unit.endpoint
        request = pb.RegisterUnitRequest(
            **({"unit_type": WORK, "unit_name": "scripted", "endpoint": endpoint} | changes)
        )
        return (await self.wire.units.RegisterUnit(request)).unit

    async def heartbeat(self, unit_id: str, **changes: Any) -> execution_unit_pb2.ExecutionUnit:
        return (await self.wire.units.Heartbeat(pb.HeartbeatRequest(unit_id=unit_id, **changes))).unit

    async def report(self, unit_id: str, about: Request, **kind: Any) -> pb.ReportTaskStatusResponse:
        """Report on the attempt of a request, such as `succeeded=SucceededReport()`."""
        report = pb.Report(task_id=about.task_id, attempt=about.attempt, **kind)
        return await self.wire.units.ReportTaskStatus(pb.ReportTaskStatusRequest(unit_id=unit_id, report=report))

    # Calls of clients.

    async def start(self, **changes: Any) -> int:
        """Create a task with start; return its id."""
        wanted: dict[str, Any] = {"task_name": "by http", "task_type": WORK, "start": True} | changes
        spec = task_service_pb.TaskSpec(**wanted)
        return (await self.wire.tasks.CreateTask(task_service_pb.CreateTaskRequest(task=spec))).task.id

    async def accepted(self, unit: ScriptedUnit, **changes: Any) -> Request:
        """Start a task that the unit accepts; return the request."""
        task_id = await self.start(**changes)
        request = await unit.expect("execute", task_id)
        await self.until(task_id, "RUNNING")
        return request

    async def pause(self, task_id: int, *, no_wait: bool = False) -> task_pb2.Task:
        request = task_service_pb.PauseTaskRequest(task_id=task_id, no_wait=no_wait)
        return (await self.wire.tasks.PauseTask(request)).task

    async def resume(self, task_id: int) -> task_pb2.Task:
        return (await self.wire.tasks.ResumeTask(task_service_pb.ResumeTaskRequest(task_id=task_id))).task

    async def cancel(self, task_id: int, *, no_wait: bool = False) -> task_pb2.Task:
        request = task_service_pb.CancelTaskRequest(task_id=task_id, no_wait=no_wait)
        return (await self.wire.tasks.CancelTask(request)).task

    async def until(self, task_id: int, status: str) -> task_pb2.Task:
        """Wait for a task to be in a status."""
        wanted = task_pb2.TaskStatus.Value(f"TASK_STATUS_{status}")
        return await self.wire.task_when(task_id, lambda task: task.status == wanted)

    async def until_accepted(self, task_id: int) -> None:
        """Wait until the pending command is accepted, which no watch reports."""
        pending = await eventually(
            lambda: self.wire.get(task_id), lambda task: task.pending_command.HasField("accepted_at")
        )
        assert pending.status == task_pb2.TASK_STATUS_RUNNING

    async def unit(self, unit_id: str) -> execution_unit_pb2.ExecutionUnit:
        return (await self.wire.operations.GetUnit(operations_pb.GetUnitRequest(unit_id=unit_id))).unit

    async def reasons(self, task_id: int) -> list[str]:
        """Return the reasons in the task's history."""
        return [each.reason for each in await self.wire.history(task_id)]


def struct(data: dict[str, Any]) -> Struct:
    return ParseDict(data, Struct())


def plain(data: Struct) -> dict[str, Any]:
    return MessageToDict(data)
