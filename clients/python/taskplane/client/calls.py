"""How a call is made: its deadline, its repeats, its errors."""

import time
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

import grpc

from taskplane.client.errors import translate
from taskplane.client.retry import RetryPolicy
from taskplane.v1.operations_service_pb2_grpc import OperationsServiceStub
from taskplane.v1.task_service_pb2_grpc import TaskServiceStub

Request = TypeVar("Request")
Response = TypeVar("Response")


class Page(Protocol):
    """A list's answer."""

    @property
    def next_page_token(self) -> str:
        """Gives the next page; empty on the last one."""


AnyPage = TypeVar("AnyPage", bound=Page)


class Calls:
    """What every part of the client stands on: the stubs, and `_call`."""

    def __init__(self, channel: grpc.Channel, timeout: float, retry: RetryPolicy) -> None:
        self._tasks = TaskServiceStub(channel)
        self._operations = OperationsServiceStub(channel)
        self._timeout = timeout
        self._retry = retry

    def _call(
        self,
        method: "grpc.UnaryUnaryMultiCallable[Request, Response]",  # generic in its stubs only
        request: Request,
        timeout: float | None,
        *,
        idempotent: bool = True,
    ) -> Response:
        """Calls until there is an answer that is not worth another try; `timeout` (seconds) bounds the whole.

        Every call that changes a task is idempotent by its request id.
        """
        deadline = time.monotonic() + (self._timeout if timeout is None else timeout)
        failures = 0
        while True:
            try:
                return method(request, timeout=max(0.0, deadline - time.monotonic()))
            except grpc.RpcError as error:
                failures += 1
                failure = translate(error)
                pause = self._retry.pause_seconds(failures, failure)
                out_of_time = time.monotonic() + pause >= deadline
                if out_of_time or not self._retry.allows(failures, failure, idempotent=idempotent):
                    raise failure from error
            time.sleep(pause)


def all_pages(fetch: Callable[[str], AnyPage]) -> Iterator[AnyPage]:
    """Every page, fetched when it is asked for."""
    token = ""
    while True:
        page = fetch(token)
        yield page
        token = page.next_page_token
        if not token:
            return
