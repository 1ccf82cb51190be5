"""A monitor as an orchestrator has one. `python -m bench.prober GRPC_ADDRESS HTTP_ADDRESS`.

Asks `/healthz` (on a new connection each time) and grpc.health every 50 ms. After SIGTERM it prints the longest wait
for each in milliseconds, and how often it asked: `HTTP_MS GRPC_MS COUNT`.
"""

import asyncio
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc

EVERY_SECONDS = 0.05
# A probe that waits longer counts as this.
GIVE_UP_SECONDS = 120.0


async def main(grpc_address: str, http_address: str) -> None:
    """Probe until SIGTERM, then report."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    host, _, port = http_address.rpartition(":")
    async with grpc.aio.insecure_channel(grpc_address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)  # its stubs know no methods

        async def check() -> None:
            await health.Check(health_pb2.HealthCheckRequest(), timeout=GIVE_UP_SECONDS)

        await check()
        print("ready", flush=True)
        (http_ms, _), (grpc_ms, count) = await asyncio.gather(
            _longest(stop, lambda: _get_healthz(host, int(port))), _longest(stop, check)
        )
    print(f"{http_ms:.1f} {grpc_ms:.1f} {count}", flush=True)


async def _longest(stop: asyncio.Event, probe: Callable[[], Awaitable[None]]) -> tuple[float, int]:
    """Return the longest wait in milliseconds, and the number of probes."""
    longest, count = 0.0, 0
    while not stop.is_set():
        begin = time.monotonic()
        await probe()
        longest, count = max(longest, time.monotonic() - begin), count + 1
        await asyncio.sleep(EVERY_SECONDS)
    return longest * 1000, count


async def _get_healthz(host: str, port: int) -> None:
    async with asyncio.timeout(GIVE_UP_SECONDS):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(f"GET /healthz HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
            await reader.readline()
        finally:
            writer.close()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2]))
