"""Write an execution unit: a process that runs tasks for a taskplane server.

    from taskplane.unit import TaskContext, Unit

    unit = Unit(name="counter-1", type="COUNTER", capacity=4)

    @unit.task("COUNT")
    async def count(task: TaskContext, config: dict) -> dict:
        for n in range(task.checkpoint["n"] if task.checkpoint else 0, config["to"]):
            await task.report(progress=n / config["to"], message=f"at {n}", checkpoint={"n": n})
        return {"counted": config["to"]}

    unit.run()

Pause takes hold where there is something to go on from: at a `report` with a checkpoint, and at `safe_point`. A
paused task waits there. Cancel takes hold at every `report`: it raises TaskCancelled, so clean up in
`except TaskCancelled` and raise it again. Clean up there and not in `finally`: a unit that shuts down raises
TaskReleased and one that lost the attempt TaskDropped, and then another attempt goes on from what the checkpoint
refers to. Plain functions do the same without `await`, each in a thread of its own; a class
brings start, pause, resume, cancel and get_status. A coroutine that is cancelled far from any safe point gets
asyncio.CancelledError in whatever it awaits, 5 s later; a function in a thread cannot be interrupted at all.

The connection lives on threads of its own: code that blocks keeps its tasks. Logs go to "taskplane.unit".
`taskplane.unit.testing` has a server that a test can script.
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
