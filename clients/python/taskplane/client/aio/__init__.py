"""The client for asyncio: the same calls, errors and messages as `taskplane.client`, to be awaited.

async with AsyncClient("127.0.0.1:50051", coalesce=True) as client:
tasks = await asyncio.gather(*(client.create_task("CONVERT", path, start=True) for path in paths))
"""

from taskplane.client.aio.client import AsyncClient

__all__ = ["AsyncClient"]
