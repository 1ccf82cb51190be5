"""The client for asyncio: the calls, errors and messages of `taskplane.client`, awaited.

    async with AsyncClient("127.0.0.1:50051", coalesce=True) as client:
        tasks = await asyncio.gather(*(client.create_task("CONVERT", path, start=True) for path in paths))

The synchronous client is generated from this package, except `client` and `coalescing`: run `make sync-client` after a
change.
"""

from taskplane.client.aio.client import AsyncClient

__all__ = ["AsyncClient"]
