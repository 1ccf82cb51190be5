"""Tasks for the tests, brought into any status by a cooperating raw unit."""

from typing import Any

from rpc.raw_unit import RawUnit, checkpoint
from rpc.server import Wire

from taskplane.v1 import execution_unit_control_pb2 as unit_pb
from taskplane.v1 import task_pb2
from taskplane.v1 import task_service_pb2 as pb


def spec(**changes: Any) -> pb.TaskSpec:
    """Return a good spec of a task of type WORK."""
    return pb.TaskSpec(**({"task_name": "task under test", "task_type": "WORK"} | changes))


async def create(wire: Wire, **changes: Any) -> task_pb2.Task:
    return (await wire.tasks.CreateTask(pb.CreateTaskRequest(task=spec(**changes)))).task


async def running(wire: Wire, unit: RawUnit, **changes: Any) -> unit_pb.Command:
    """Create a task that the unit has accepted; return the start command."""
    task = await create(wire, start=True, **changes)
    start = await unit.expect("start", task_id=task.id)
    await unit.accept(start)
    await unit.all_acknowledged()
    return start


async def paused(wire: Wire, unit: RawUnit, **changes: Any) -> unit_pb.Command:
    """Create a task held paused by the unit, at checkpoint 1; return the pause command."""
    start = await running(wire, unit, **changes)
    await wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=start.task_id, no_wait=True))
    pause = await unit.expect("pause", task_id=start.task_id)
    await unit.accept(pause)
    await unit.report(pause, paused=unit_pb.PausedReport(checkpoint=checkpoint(1, row=10)))
    await unit.all_acknowledged()
    return pause


async def task_in(status: str, wire: Wire, unit: RawUnit) -> int:
    """Return the id of a task in the given status. The connected unit has run all but PENDING and CANCELLED tasks."""
    match status:
        case "PENDING":
            return (await create(wire)).id
        case "RUNNING":
            return (await running(wire, unit)).task_id
        case "PAUSED":
            return (await paused(wire, unit)).task_id
        case "SUCCESS":
            return await _ended(wire, unit, succeeded=unit_pb.SucceededReport())
        case "FAILED":
            return await _ended(wire, unit, failed=unit_pb.FailedReport(message="broken", not_retryable=True))
        case "CANCELLED":
            task = await create(wire)
            await wire.tasks.CancelTask(pb.CancelTaskRequest(task_id=task.id))
            return task.id
        case _:
            raise ValueError(status)


async def _ended(wire: Wire, unit: RawUnit, **ending: Any) -> int:
    start = await running(wire, unit)
    await unit.report(start, **ending)
    await unit.all_acknowledged()
    return start.task_id
