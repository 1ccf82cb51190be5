"""The load: so many tasks created and started, until each is a SUCCESS in the database."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from bench import database
from bench.stack import Stack
from bench.unit import TASK_TYPE
from taskplane.client import task_spec
from taskplane.client.aio import AsyncClient
from taskplane.v1.task_service_pb2 import TaskSpec

BATCH = 100
CONFIG: dict[str, object] = {"inputPath": "/data/users.csv", "batchSize": 1000, "validationRules": ["email"]}

Create = Callable[[AsyncClient, Iterator[int]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Run:
    """What a run took."""

    tasks_per_second: float
    server_microseconds_per_task: float


async def rates(repeats: int, one_run: Callable[[], Awaitable[Run]]) -> list[float]:
    """Repeat a run and return the tasks a second of each."""
    return [(await one_run()).tasks_per_second for _ in range(repeats)]


async def one_by_one(client: AsyncClient, numbers: Iterator[int]) -> None:
    """One CreateTask call each."""
    for number in numbers:
        await client.create_task(TASK_TYPE, f"task {number}", CONFIG, start=True)


async def in_batches(client: AsyncClient, numbers: Iterator[int]) -> None:
    """BatchCreateTasks, 100 at a time."""
    for first in numbers:
        if first % BATCH == 0:
            await client.batch_create_tasks([spec(first + number) for number in range(BATCH)])


def spec(number: int) -> TaskSpec:
    """Return a task to be."""
    return task_spec(TASK_TYPE, f"task {number}", CONFIG, start=True)


async def run(stack: Stack, create: Create, *, tasks: int, in_flight: int, coalesce: bool = False) -> Run:
    """Put tasks through their lives, so many creates in flight. The units must be connected."""
    before = database.last_task_id(stack.database_url)
    numbers = iter(range(tasks))
    async with AsyncClient(stack.address, timeout=60, coalesce=coalesce) as client:
        usage, started = stack.server.usage(), time.monotonic()
        await asyncio.gather(*(create(client, numbers) for _ in range(in_flight)))
        await database.all_finished(stack.database_url)
        seconds, cpu = time.monotonic() - started, stack.server.usage().cpu_seconds - usage.cpu_seconds
    database.check_lifecycles(stack.database_url, before, tasks)
    return Run(tasks / seconds, 1e6 * cpu / tasks)
