"""Part `latency`: how long one step takes on an idle server."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc

from bench import echo, lifecycles, load, processes, rows
from bench.figures import Figure, percentile
from bench.processes import BenchError, Child
from bench.settings import Settings
from bench.stack import stack
from bench.unit import TASK_TYPE
from taskplane.client.aio import AsyncClient
from taskplane.v1.task_pb2 import TASK_STATUS_PAUSED

GAP_SECONDS = 0.01
SLOTS = 10_000


async def measure(server_url: str, settings: Settings) -> AsyncIterator[Figure]:
    """Yield the figures of the part."""
    async with stack(server_url) as running:
        async with processes.module("unit", running.address, "answer"):
            await load.run(running, load.one_by_one, tasks=200, in_flight=8)  # also the floor's model
        commits = rows.commit_milliseconds(running.database_url, settings.samples)
        echoes = await _echo_milliseconds(settings.samples)
        hold = ("hold", "--capacity", str(SLOTS))
        async with processes.module("unit", running.address, *hold) as unit, AsyncClient(running.address) as client:
            probe = Probe(client, unit)
            starts = [await probe.repeat(probe.start, settings.samples) for _ in range(settings.repeats)]
            pauses = [await probe.repeat(probe.pause, settings.samples) for _ in range(settings.repeats)]
    echo, commit = percentile(echoes, 50), percentile(commits, 50)
    # A start goes out with the commit of the create; a pause is committed when it is asked for, and when it is applied.
    one_commit = (echo + commit, "a bare echo and a bare commit")
    two_commits = (echo + 2 * commit, "a bare echo and two bare commits")
    for what, runs, floor in (
        ("create → start at the unit", starts, one_commit),
        ("PauseTask → PAUSED, answered", pauses, two_commits),
    ):
        yield Figure(f"idle: {what}, p50", [percentile(samples, 50) for samples in runs], "ms", *floor)
        yield Figure(f"idle: {what}, p99", [percentile(samples, 99) for samples in runs], "ms")


class Probe:
    """Makes one step at a time and says how many milliseconds it took."""

    def __init__(self, client: AsyncClient, unit: Child) -> None:
        self._client = client
        self._unit = unit

    async def repeat(self, step: Callable[[], Awaitable[float]], count: int) -> list[float]:
        """Make a step so many times, with pauses in between."""
        samples = []
        for _ in range(count):
            samples.append(await step())
            await asyncio.sleep(GAP_SECONDS)
        return samples

    async def start(self) -> float:
        """From before the create to the start's arrival at the unit, which has a clock in common with us."""
        asked_at = time.monotonic_ns()
        _, arrived_at = await self._started()
        return (arrived_at - asked_at) / 1e6

    async def pause(self) -> float:
        """From before PauseTask to its answer."""
        task_id, _ = await self._started()
        await asyncio.sleep(GAP_SECONDS)
        asked_at = time.monotonic()
        task = await self._client.pause_task(task_id)
        milliseconds = 1000 * (time.monotonic() - asked_at)
        if task.status != TASK_STATUS_PAUSED or task.checkpoint.number != 1:
            raise BenchError(f"task {task_id} is not paused at its checkpoint")
        return milliseconds

    async def _started(self) -> tuple[int, int]:
        task = await self._client.create_task(TASK_TYPE, "probe", load.CONFIG, start=True)
        word, task_id, arrived_at = (await self._unit.line()).split()
        if (word, int(task_id)) != ("start", task.id):
            raise BenchError(f"the unit said {word} {task_id} instead of start {task.id}")
        return task.id, int(arrived_at)


async def _echo_milliseconds(count: int) -> list[float]:
    message = lifecycles.create_sized_message()
    samples = []
    async with processes.module("echo") as server, grpc.aio.insecure_channel(f"127.0.0.1:{await server.line()}") as to:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = to.unary_unary(echo.UNARY)
        for _ in range(count):
            started = time.monotonic()
            await call(message)
            samples.append(1000 * (time.monotonic() - started))
            await asyncio.sleep(GAP_SECONDS)
    return samples
