"""Part `lifecycles`: tasks a second from create and start to SUCCESS, and what gRPC and the database could do."""

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial

import grpc

from bench import echo, load, processes, rows
from bench.figures import Figure
from bench.settings import Settings
from bench.stack import stack
from taskplane.v1.task_pb2 import Task
from taskplane.v1.task_service_pb2 import CreateTaskRequest, CreateTaskResponse

IN_FLIGHT = 64
BATCHES_IN_FLIGHT = 4
SLOTS = 200
FLOOR_CALLS = 4000
FLOOR_ROWS = 4000


async def measure(server_url: str, settings: Settings) -> AsyncIterator[Figure]:
    """Yield the figures of the part."""
    async with stack(server_url) as running:
        one = partial(load.run, running, load.one_by_one, tasks=settings.tasks, in_flight=IN_FLIGHT)
        many = partial(load.run, running, load.in_batches, tasks=settings.batched_tasks, in_flight=BATCHES_IN_FLIGHT)
        async with processes.module("unit", running.address, "answer", "--capacity", str(SLOTS)):
            ones = [await one() for _ in range(settings.repeats)]
            coalesced = await load.rates(settings.repeats, partial(one, coalesce=True))
            manies = [await many() for _ in range(settings.repeats)]
        calls = await calls_per_second(IN_FLIGHT)
        written = rows.lifecycles_per_second(running.database_url, FLOOR_ROWS, load.BATCH)
        async with processes.module("sdk_unit", running.address, str(SLOTS)):
            sdk = await load.rates(settings.repeats, one)
    echoes, by_rows = (calls, "bare echo, 64 in flight"), (written, "bare rows by 100")
    rate = [each.tasks_per_second for each in ones]
    yield Figure("lifecycles, one CreateTask each, 64 in flight", rate, "/s", *echoes)
    yield Figure("– the server's CPU for each", [each.server_microseconds_per_task for each in ones], "µs")
    yield Figure("lifecycles, the client coalescing, 64 in flight", coalesced, "/s", *by_rows)
    yield Figure("lifecycles, BatchCreateTasks(100)", [each.tasks_per_second for each in manies], "/s", *by_rows)
    yield Figure("– the server's CPU for each", [each.server_microseconds_per_task for each in manies], "µs")
    yield Figure("lifecycles, one CreateTask each, unit on the SDK", sdk, "/s", *echoes)


async def calls_per_second(in_flight: int) -> float:
    """Return how many calls a bare grpc.aio server and client manage, with messages as long as CreateTask's."""
    message = create_sized_message()
    numbers = iter(range(FLOOR_CALLS))

    async def call_on(call: "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]") -> None:
        for _ in numbers:
            await call(message)

    async with processes.module("echo") as server, grpc.aio.insecure_channel(f"127.0.0.1:{await server.line()}") as to:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = to.unary_unary(echo.UNARY)
        started = time.monotonic()
        await asyncio.gather(*(call_on(call) for _ in range(in_flight)))
        return FLOOR_CALLS / (time.monotonic() - started)


def create_sized_message() -> bytes:
    """Return a request for the echo server, it and its answer as long as a CreateTask call's."""
    spec = load.spec(1)
    request = CreateTaskRequest(task=spec)
    task = Task(id=1, task_name=spec.task_name, task_type=spec.task_type, config=spec.config)
    # About what the server adds: a request id on the way in, times and numbers on the way out.
    return echo.request(request.ByteSize() + 36, CreateTaskResponse(task=task).ByteSize() + 80)
