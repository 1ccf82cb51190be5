"""The client without the features that only asyncio has: one channel, and a method for each call."""

from types import TracebackType
from typing import Self

from taskplane.client.aio.control import AsyncControlCalls
from taskplane.client.aio.history import AsyncHistoryCalls
from taskplane.client.aio.operations import AsyncOperationsCalls
from taskplane.client.aio.transport import Channel, open_channel
from taskplane.client.aio.waiting import AsyncWaitCalls
from taskplane.client.retry import DEFAULT_RETRY, DEFAULT_TIMEOUT_SECONDS, RetryPolicy


class AsyncBaseClient(AsyncWaitCalls, AsyncControlCalls, AsyncHistoryCalls, AsyncOperationsCalls):
    """The channel, and all calls."""

    def __init__(
        self,
        server: str | None = None,
        *,
        channel: Channel | None = None,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        retry: RetryPolicy = DEFAULT_RETRY,
    ) -> None:
        """Connect with the first call.

        `server` is HOST:PORT; None: $TASKPLANE_SERVER, else 127.0.0.1:50051. A `channel` replaces it, for TLS, and is
        closed with the client. `timeout` is the default of each call, in seconds.
        """
        self._channel = channel or open_channel(server)
        super().__init__(self._channel, timeout, retry)

    async def close(self) -> None:
        """Close the channel, and with it every call and watch in progress."""
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
