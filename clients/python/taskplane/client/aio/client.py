"""The asyncio client: one channel, and a method for each call."""

from types import TracebackType
from typing import Self

import grpc

from taskplane.client.aio.control import AsyncControlCalls
from taskplane.client.aio.history import AsyncHistoryCalls
from taskplane.client.aio.operations import AsyncOperationsCalls
from taskplane.client.aio.tasks import AsyncTaskCalls
from taskplane.client.aio.watch import AsyncWatchCalls
from taskplane.client.channel import open_aio_channel
from taskplane.client.client import DEFAULT_RETRY, DEFAULT_TIMEOUT_SECONDS
from taskplane.client.retry import RetryPolicy


class AsyncClient(AsyncTaskCalls, AsyncControlCalls, AsyncHistoryCalls, AsyncWatchCalls, AsyncOperationsCalls):
    """Speaks to one server, within one event loop. An async context manager.

    Arguments, timeouts, repeats and errors are those of `taskplane.client.Client`. With `coalesce`, creates that are
    asked for while others are under way travel together, which is several times quicker; see `create_task`.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        channel: grpc.aio.Channel | None = None,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        retry: RetryPolicy = DEFAULT_RETRY,
        coalesce: bool = False,
    ) -> None:
        """`server` is HOST:PORT; None: $TASKPLANE_SERVER, else 127.0.0.1:50051. `channel` serves instead (TLS)."""
        self._channel = channel or open_aio_channel(server)
        super().__init__(self._channel, timeout, retry, coalesce=coalesce)

    async def close(self) -> None:
        """Waits for gathered creates, then ends the channel, a given one too, and every call and watch under way."""
        await self._finish_creates()
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
