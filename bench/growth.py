"""Parts `table`, `fleet`, `progress` and `watchers`: how cost grows with what there is much of."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from functools import partial

from bench import latency, lifecycles, load, processes, rows
from bench.figures import Figure, percentile
from bench.processes import Child
from bench.settings import Settings
from bench.stack import Stack, stack
from bench.unit import TASK_TYPE
from taskplane.client.aio import AsyncClient

RUNNING_TASKS = 50
SLOTS_EACH = 4
PAUSES = 30
_TABLE = "bench_table"


async def with_finished_tasks(server_url: str, settings: Settings) -> AsyncIterator[Figure]:
    """Lifecycles over a table that holds many finished tasks already; the floor is the empty one."""
    one: dict[int, list[float]] = {}
    many: dict[int, list[float]] = {}
    url = await _database_with_a_model(server_url)
    for count in settings.finished_tasks:
        rows.add_finished(url, count - max(one, default=0))
        async with stack(server_url, name=_TABLE, fresh=False) as running:
            one[count], many[count] = await _both_ways(running, settings)
    for title, rates in (("one by one", one), ("in batches", many)):
        empty = statistics.median(rates[settings.finished_tasks[0]])
        for count, samples in rates.items():
            yield Figure(f"lifecycles {title}, {count:,} finished tasks", samples, "/s", empty, "empty table")


async def _database_with_a_model(server_url: str) -> str:
    async with stack(server_url, name=_TABLE) as running:
        async with processes.module("unit", running.address, "answer"):
            await load.run(running, load.one_by_one, tasks=50, in_flight=8)
        return running.database_url


async def _both_ways(running: Stack, settings: Settings) -> tuple[list[float], list[float]]:
    async with processes.module("unit", running.address, "answer", "--capacity", str(lifecycles.SLOTS)):
        await load.run(running, load.one_by_one, tasks=200, in_flight=16)  # warm
        one = partial(load.run, running, load.one_by_one, tasks=settings.tasks // 2, in_flight=64)
        many = partial(load.run, running, load.in_batches, tasks=settings.batched_tasks // 2, in_flight=4)
        return await load.rates(settings.repeats, one), await load.rates(settings.repeats, many)


async def with_units(server_url: str, settings: Settings) -> AsyncIterator[Figure]:
    """Lifecycles spread over a fleet of units with four slots each."""
    for count in settings.fleet:
        async with stack(server_url) as running:
            fleet = ("answer", "--units", str(count), "--capacity", str(SLOTS_EACH))
            async with processes.module("unit", running.address, *fleet):
                one = partial(load.run, running, load.one_by_one, tasks=settings.tasks // 2, in_flight=64)
                runs = [await one() for _ in range(settings.repeats)]
        what = f"lifecycles one by one, {count} units of {SLOTS_EACH} slots"
        yield Figure(what, [each.tasks_per_second for each in runs], "/s")
        yield Figure("– the server's CPU for each", [each.server_microseconds_per_task for each in runs], "µs")


async def with_progress(server_url: str, settings: Settings) -> AsyncIterator[Figure]:
    """Yield figures of running tasks that report progress."""
    for rate in settings.progress_rates:
        async with stack(server_url) as running:
            unit = processes.module("unit", running.address, "progress", "--rate", str(rate))
            async with unit, AsyncClient(running.address) as client:
                specs = [load.spec(number) for number in range(RUNNING_TASKS)]
                await client.batch_create_tasks(specs)
                await asyncio.sleep(settings.watch_seconds / 5)  # until all run
                begin = running.server.usage()
                await asyncio.sleep(settings.watch_seconds)
                cpu = begin.cpu_percent_until(running.server.usage())
        yield Figure(f"{RUNNING_TASKS} tasks, {rate:g} progress reports/s each: server's CPU", [cpu], "% of a core")


async def with_watchers(server_url: str, settings: Settings) -> AsyncIterator[Figure]:
    """Yield the latency of a pause of a task with many watches, of another task, and of the last event."""
    for count in settings.watchers:
        async with (
            stack(server_url) as running,
            AsyncClient(running.address) as client,
            processes.module("unit", running.address, "hold") as unit,
        ):
            watched, other = [
                await client.create_task(TASK_TYPE, name, start=True) for name in ("watched", "not watched")
            ]
            await unit.line()
            await unit.line()
            async with processes.module("watchers", running.address, str(watched.id), str(count)) as watchers:
                loop_budget = [await _pause_both(client, watched.id, other.id, watchers) for _ in range(PAUSES)]
        own, others, heard = zip(*loop_budget, strict=True)
        for what, samples in (
            (f"PauseTask of a task with {count} watchers", own),
            ("– of another task, while they are told", others),
            ("– until the last watcher has heard", heard),
        ):
            yield Figure(f"{what}, p50", [percentile(samples, 50)], "ms")
            yield Figure(f"{what}, p99", [percentile(samples, 99)], "ms")


async def _pause_both(client: AsyncClient, watched: int, other: int, watchers: Child) -> tuple[float, float, float]:
    """Return milliseconds: the watched task's pause, another's right after, and from the begin until all have heard."""
    begin = time.monotonic()
    await client.pause_task(watched)
    paused = time.monotonic()
    await client.pause_task(other)
    others = time.monotonic() - paused
    heard = int((await watchers.line()).split()[2]) / 1e9
    # Each round begins with nothing left to tell.
    await client.resume_task(watched)
    await client.resume_task(other)
    await watchers.line()
    await asyncio.sleep(latency.GAP_SECONDS)
    return 1000 * (paused - begin), 1000 * others, 1000 * (heard - begin)
