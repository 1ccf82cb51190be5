"""A counting unit: pausable at every number, and able to continue anywhere from a checkpoint.

Run the unit with `taskplane unit run examples/own_unit.py:unit`.
"""

import asyncio
from typing import Any

from taskplane.unit import TaskContext, Unit

# With an id, a restarted unit is recognised, and continues with the same tasks at once.
unit = Unit(id="counter-1", name="counter-1", type="COUNTER", capacity=4)


@unit.task("COUNT")
async def count(task: TaskContext, config: dict[str, Any]) -> dict[str, Any]:
    """Count to `upTo`, ten numbers a second."""
    counted = task.checkpoint["counted"] if task.checkpoint else 0
    while counted < config["upTo"]:
        await asyncio.sleep(0.1)
        counted += 1
        # A safe point: pause, cancel and drain take effect here, with this checkpoint.
        await task.report(counted / config["upTo"], f"counted to {counted}", checkpoint={"counted": counted})
    return {"counted": counted}
