"""The client: one channel, and a method for each call."""

from types import TracebackType
from typing import Self

import grpc

from taskplane.client.channel import open_channel
from taskplane.client.control import ControlCalls
from taskplane.client.history import HistoryCalls
from taskplane.client.operations import OperationsCalls
from taskplane.client.retry import RetryPolicy
from taskplane.client.tasks import TaskCalls
from taskplane.client.watch import WatchCalls

DEFAULT_TIMEOUT_SECONDS = 10.0
DEFAULT_RETRY = RetryPolicy()


class Client(TaskCalls, ControlCalls, HistoryCalls, WatchCalls, OperationsCalls):
    """Speaks to one server. A context manager; threads may share it.

    Every method takes `timeout` in seconds for the whole call, its repeats included; None is the client's own. Calls
    that change a task carry a request id, made up unless given, and are repeated when the connection breaks, as reads
    are. Every method raises TaskplaneError.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        channel: grpc.Channel | None = None,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        retry: RetryPolicy = DEFAULT_RETRY,
    ) -> None:
        """`server` is HOST:PORT; None: $TASKPLANE_SERVER, else 127.0.0.1:50051. `channel` serves instead (TLS)."""
        self._channel = channel or open_channel(server)
        super().__init__(self._channel, timeout, retry)

    def close(self) -> None:
        """Ends the channel, a given one too, and with it every call and watch under way."""
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
