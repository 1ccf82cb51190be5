"""Many watches of one task. `python -m bench.watchers SERVER TASK_ID COUNT`.

Prints `heard REVISION NANOSECONDS` when a transition has reached the last of them (CLOCK_MONOTONIC).
"""

import asyncio
import sys
import time
from collections import Counter

import uvloop

from bench.unit import CONNECTING
from taskplane.client.aio import AsyncClient


async def main(server: str, task_id: int, count: int) -> None:
    """Open the watches, some at a time, say so, and read them."""
    free = asyncio.Semaphore(CONNECTING)
    heard: Counter[int] = Counter()
    async with AsyncClient(server) as client, asyncio.TaskGroup() as group:

        async def read(complete: asyncio.Event) -> None:
            async for event in client.watch([task_id], include_progress=True):
                if event.HasField("snapshot_complete"):
                    complete.set()
                if event.HasField("transition"):
                    heard[event.revision] += 1
                    if heard[event.revision] == count:
                        print("heard", event.revision, time.monotonic_ns(), flush=True)

        async def open_watch() -> None:
            complete = asyncio.Event()
            async with free:
                group.create_task(read(complete))
                await complete.wait()

        await asyncio.gather(*(open_watch() for _ in range(count)))
        print("ready", flush=True)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
