"""The bench's unit on the SDK, with a task that does nothing. `python -m bench.sdk_unit SERVER CAPACITY`."""

import asyncio
import sys

from bench.unit import TASK_TYPE
from taskplane.unit import TaskContext, Unit


def main(server: str, capacity: int) -> None:
    """Run until the process is ended."""
    unit = Unit(name="bench-sdk", type="BENCH", capacity=capacity, server=server)

    @unit.task(TASK_TYPE)
    async def nothing(_task: TaskContext, _config: dict[str, object]) -> dict[str, object]:
        return {}

    print("ready", flush=True)
    asyncio.run(unit.run_async())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
