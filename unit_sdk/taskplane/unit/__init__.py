"""The unit SDK: write an execution unit, a process that runs tasks for a taskplane server.

    from taskplane.unit import TaskContext, Unit

    unit = Unit(name="counter-1", type="COUNTER", capacity=4)

    @unit.task("COUNT")
    async def count(task: TaskContext, config: dict) -> dict:
        for n in range(task.checkpoint["n"] if task.checkpoint else 0, config["to"]):
            await task.report(progress=n / config["to"], message=f"at {n}", checkpoint={"n": n})
        return {"counted": config["to"]}

    unit.run()

Pause and drain stop the work at a safe point: a `report` with a checkpoint, or `safe_point`. A paused task waits there.
Cancel takes effect at every `report` and raises TaskCancelled. Clean up in `except TaskCancelled`, and raise the
exception again. Do not clean up in `finally`: after TaskReleased (the unit drains) and TaskDropped (the unit has lost
the attempt), another attempt continues from the files of the checkpoint.

Plain functions do the same without `await`, each in its thread. A class has the methods start, pause, resume, cancel
and get_status. A cancelled coroutine that reaches no safe point within 5 s gets asyncio.CancelledError from its current
await; a function in a thread cannot be interrupted.

The connection has its own threads, so blocking code does not lose the lease. Logs go to the logger "taskplane.unit".
`taskplane.unit.testing` has a scripted server for tests.
"""

from taskplane.unit.context import SyncTaskContext, TaskContext
from taskplane.unit.errors import (
    Interrupted,
    TaskCancelled,
    TaskDropped,
    TaskFailed,
    TaskReleased,
    UnitRejected,
)
from taskplane.unit.unit import Unit

__all__ = [
    "Interrupted",
    "SyncTaskContext",
    "TaskCancelled",
    "TaskContext",
    "TaskDropped",
    "TaskFailed",
    "TaskReleased",
    "Unit",
    "UnitRejected",
]
