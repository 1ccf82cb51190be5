"""The floor of connected units: idle streams to the echo server, each with a connection and a heartbeat of its own.

`python -m bench.echo_streams SERVER COUNT`.
"""

import asyncio
import sys
from collections.abc import AsyncIterator

import grpc
import uvloop

from bench import echo
from bench.unit import CONNECTING, HEARTBEAT_SECONDS, OWN_CONNECTION

HEARTBEAT = b"heartbeat"


async def main(server: str, count: int) -> None:
    """Open the streams, some at a time, say so, and keep them."""
    free = asyncio.Semaphore(CONNECTING)
    async with asyncio.TaskGroup() as group:
        opened = [asyncio.Event() for _ in range(count)]

        async def open_stream(answered: asyncio.Event) -> None:
            async with free:
                group.create_task(_converse(server, answered))
                await answered.wait()

        await asyncio.gather(*map(open_stream, opened))
        print("ready", flush=True)


async def _converse(server: str, answered: asyncio.Event) -> None:
    async def heartbeats() -> AsyncIterator[bytes]:
        while True:
            yield HEARTBEAT
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async with grpc.aio.insecure_channel(server, OWN_CONNECTION) as channel:
        stream: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(echo.STREAM)
        async for _ in stream(heartbeats()):
            answered.set()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
