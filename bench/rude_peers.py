"""Part `peers`: how long a probe waits, and how much memory the server takes, while one peer asks for too much."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress

from bench import load, processes, rows
from bench.figures import Figure, percentile
from bench.processes import BenchError, Child
from bench.settings import Settings
from bench.stack import Stack, stack
from taskplane.client import TaskplaneError
from taskplane.client.aio import AsyncClient

# The tasks that each watch begins with.
WATCHED_TASKS = 7100
# Kind of peer, how many (connections or elements), and whether there are tasks to watch.
ABUSES = (
    ("long-lists", 500_000, False),
    ("large-documents", 500_000, False),
    ("large-documents", 60_000, False),
    ("half-requests", 200, False),
    ("unread-events", 100, True),
    ("unread-events", 800, True),
    ("unread-watches", 1000, True),
)
LISTERS = 12
LISTED_TASKS = 400_000
# How long the abuse goes on once it is under way, and how long its memory may take to come back.
HELD_SECONDS = 10.0
AFTER_SECONDS = 5.0
ABUSE_SECONDS = 600.0


async def measure(server_url: str, settings: Settings) -> AsyncIterator[Figure]:
    """Yield the figures of the part."""
    for kind, count, needs_tasks in ABUSES:
        async with stack(server_url) as running:
            if needs_tasks:
                await _create(running, WATCHED_TASKS)
            async for figure in _beside(running, kind, count):
                yield figure
    async for figure in _beside_lists(server_url):
        yield figure


async def _create(running: Stack, count: int) -> None:
    async with AsyncClient(running.address) as client:
        for begin in range(0, count, 1000):
            names = range(begin, min(count, begin + 1000))
            await client.batch_create_tasks([load.spec(number) for number in names])


async def _beside(running: Stack, kind: str, count: int) -> AsyncIterator[Figure]:
    before = running.server.usage().resident_kib
    highest = before
    async with processes.module("prober", running.address, running.http_address) as prober:
        peer = processes.module("rude_peer", kind, running.address, running.http_address, str(count))
        async with peer as rude:
            highest = max(highest, await _watch_memory(running.server, rude))
        await asyncio.sleep(AFTER_SECONDS)
        after = running.server.usage().resident_kib
        prober.terminate()
        http_ms, grpc_ms, _ = map(float, (await prober.line()).split())
    title = f"{count:,} {kind}"
    yield Figure(f"{title}: longest wait of /healthz", [http_ms], "ms")
    yield Figure(f"{title}: longest wait of grpc.health", [grpc_ms], "ms")
    yield Figure(f"{title}: memory while it lasts", [(highest - before) / 1024], "MiB")
    yield Figure(f"{title}: memory {AFTER_SECONDS:g} s after it", [(after - before) / 1024], "MiB")


async def _watch_memory(server: Child, rude: Child) -> int:
    """Wait until the abuse is under way, and a while longer. Returns the server's highest resident memory, in KiB."""
    highest = 0

    async def watch() -> None:
        nonlocal highest
        while True:
            highest = max(highest, server.usage().resident_kib)
            await asyncio.sleep(0.1)

    watching = asyncio.create_task(watch())
    try:
        if await rude.line(ABUSE_SECONDS) != "done":
            raise BenchError("the rude peer said something else than done")
        await asyncio.sleep(HELD_SECONDS)
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    return highest


async def _beside_lists(server_url: str) -> AsyncIterator[Figure]:
    """Measure GetTask while clients search all tasks by name."""
    async with stack(server_url) as running, processes.module("unit", running.address, "answer"):
        await load.run(running, load.one_by_one, tasks=50, in_flight=8)  # the model of the rows below
    rows.add_finished(running.database_url, LISTED_TASKS)
    async with stack(server_url, fresh=False) as running, AsyncClient(running.address) as client:
        alone = await _get_milliseconds(client)
        listing = [asyncio.create_task(_list_for_ever(running.address)) for _ in range(LISTERS)]
        await asyncio.sleep(HELD_SECONDS / 5)
        beside = await _get_milliseconds(client)
        for each in listing:
            each.cancel()
        await asyncio.gather(*listing, return_exceptions=True)
    what = f"{LISTERS} clients search {LISTED_TASKS:,} tasks by name: GetTask"
    for percent in (50, 99):
        yield Figure(f"{what}, p{percent}", [percentile(beside, percent)], "ms", percentile(alone, percent), "alone")


async def _list_for_ever(address: str) -> None:
    async with AsyncClient(address) as client:
        while True:
            with suppress(TaskplaneError):  # out of time, or refused
                async for _ in client.list_tasks(name_contains="no such name"):
                    pass


async def _get_milliseconds(client: AsyncClient) -> list[float]:
    samples = []
    for _ in range(100):
        begin = time.monotonic()
        await client.get_task(1)
        samples.append((time.monotonic() - begin) * 1000)
    return samples
