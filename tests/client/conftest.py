"""A client over grpcio-testing's fake channel: the test plays the server, call by call."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from copy import deepcopy
from threading import Thread
from typing import Any, ParamSpec, TypeVar

import grpc
import grpc_testing
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from taskplane.client import Client, RetryPolicy
from taskplane.v1 import operations_service_pb2, task_service_pb2

SERVICES = [
    service
    for module in (task_service_pb2, operations_service_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
]
METHODS = {method.name: method for service in SERVICES for method in service.methods}
AT_ONCE = RetryPolicy(attempts=3, first_bound_seconds=0)
PATIENCE_SECONDS = 20

P = ParamSpec("P")
T = TypeVar("T")


class Call:
    """A unary call of the client that waits for the test's response."""

    def __init__(self, request: Message, rpc: grpc_testing.UnaryUnaryChannelRpc) -> None:
        self.request: Any = request  # of the method's type
        self._rpc = rpc

    def answer(self, response: Message) -> None:
        self._rpc.send_initial_metadata(())
        self._rpc.terminate(response, (), grpc.StatusCode.OK, "")

    def fail(self, code: grpc.StatusCode, message: str = "", *details: Message) -> None:
        self._rpc.send_initial_metadata(())
        self._rpc.terminate(None, trailing_metadata(code, message, *details), code, message)


class Stream:
    """A watch of the client; the test sends the events."""

    def __init__(self, request: task_service_pb2.WatchTasksRequest, rpc: grpc_testing.UnaryStreamChannelRpc) -> None:
        self.request = request
        self._rpc = rpc
        rpc.send_initial_metadata(())

    def send(self, *events: task_service_pb2.WatchTasksResponse) -> None:
        for event in events:
            self._rpc.send_response(event)

    def end(self) -> None:
        self._rpc.terminate((), grpc.StatusCode.OK, "")

    def fail(self, code: grpc.StatusCode, message: str = "", *details: Message) -> None:
        self._rpc.terminate(trailing_metadata(code, message, *details), code, message)


class FakeServer:
    """The server's end of the fake channel. Requests are copied, as the channel passes the client's own objects."""

    def __init__(self, channel: grpc_testing.Channel) -> None:
        self._channel = channel

    def take(self, method: str) -> Call:
        """Return the next call of a method."""
        taken = in_background(self._channel.take_unary_unary, METHODS[method])
        _, request, rpc = taken.result(PATIENCE_SECONDS)
        return Call(deepcopy(request), rpc)

    def take_watch(self) -> Stream:
        taken = in_background(self._channel.take_unary_stream, METHODS["WatchTasks"])
        _, request, rpc = taken.result(PATIENCE_SECONDS)
        return Stream(deepcopy(request), rpc)


def trailing_metadata(code: grpc.StatusCode, message: str, *details: Message) -> tuple[tuple[str, bytes], ...]:
    """Return the details of an error as a server sends them."""
    status = Status(code=code.value[0], message=message)
    for detail in details:
        status.details.add().Pack(detail)
    return (("grpc-status-details-bin", status.SerializeToString()),) if details else ()


def because(reason: str, **metadata: str) -> Message:
    info: Message = ErrorInfo(reason=reason, domain="taskplane", metadata=metadata)
    return info


def in_background(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """Run a function on a daemon thread, so that a failed test can end."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(function(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001  the future passes the error on
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future


@pytest.fixture
def channel() -> grpc_testing.Channel:
    return grpc_testing.channel(SERVICES, grpc_testing.strict_real_time())


@pytest.fixture
def server(channel: grpc_testing.Channel) -> FakeServer:
    return FakeServer(channel)


@pytest.fixture
def client(channel: grpc_testing.Channel) -> Iterator[Client]:
    """Connect a client with three tries for each call, without waits."""
    with Client(channel=channel, retry=AT_ONCE, timeout=PATIENCE_SECONDS) as client:
        yield client
