# Generated from ../aio/base.py by `make sync-client`. Do not edit.
"""The client without the features that only asyncio has: one channel, and a method for each call."""

from types import TracebackType
from typing import Self

from taskplane.client.retry import DEFAULT_RETRY, DEFAULT_TIMEOUT_SECONDS, RetryPolicy
from taskplane.client.sync.control import ControlCalls
from taskplane.client.sync.history import HistoryCalls
from taskplane.client.sync.operations import OperationsCalls
from taskplane.client.sync.transport import Channel, open_channel
from taskplane.client.sync.waiting import WaitCalls


class BaseClient(WaitCalls, ControlCalls, HistoryCalls, OperationsCalls):
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

    def close(self) -> None:
        """Close the channel, and with it every call and watch in progress."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
