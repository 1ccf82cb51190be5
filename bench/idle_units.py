"""Part `units`: what connected units cost that do nothing but send heartbeats."""

import asyncio
from collections.abc import AsyncIterator

from bench import processes
from bench.figures import Figure
from bench.processes import Child
from bench.settings import Settings
from bench.stack import stack


async def measure(server_url: str, settings: Settings) -> AsyncIterator[Figure]:
    """Yield the figures of the part."""
    count = settings.idle_units
    async with processes.module("echo") as server:
        before = server.usage().resident_kib
        async with processes.module("echo_streams", f"127.0.0.1:{await server.line()}", str(count)):
            bare_cpu, bare_kib = await _cost(server, before, count, settings.watch_seconds)
    async with stack(server_url) as running:
        before = running.server.usage().resident_kib
        async with processes.module("unit", running.address, "answer", "--units", str(count)):
            cpu, kib = await _cost(running.server, before, count, settings.watch_seconds)
    yield Figure(f"{count} units connected: server's CPU", [cpu], "% of a core", bare_cpu, "bare streams")
    yield Figure(f"{count} units connected: server's memory for each", [kib], "KiB", bare_kib, "bare streams")


async def _cost(server: Child, resident_before: int, count: int, seconds: float) -> tuple[float, float]:
    """Return percent of a core and KiB for each, when all are connected."""
    await asyncio.sleep(seconds / 2)  # what connecting has left to do is no part of it
    begin = server.usage()
    await asyncio.sleep(seconds)
    end = server.usage()
    return begin.cpu_percent_until(end), (end.resident_kib - resident_before) / count
