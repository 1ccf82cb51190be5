"""One call: its deadline, its repeats, its errors."""

import time
from collections.abc import AsyncIterator
from typing import TypeVar

import grpc

from taskplane.client.aio.transport import Channel, FetchPage, UnaryCall, sleep
from taskplane.client.errors import translate
from taskplane.client.paging import AnyPage
from taskplane.client.retry import RetryPolicy
from taskplane.v1.operations_service_pb2_grpc import OperationsServiceStub
from taskplane.v1.task_service_pb2_grpc import TaskServiceStub

Request = TypeVar("Request")
Response = TypeVar("Response")


class AsyncCalls:
    """The stubs, and `_call`: the base of every part of the client."""

    def __init__(self, channel: Channel, timeout: float, retry: RetryPolicy) -> None:
        self._tasks = TaskServiceStub(channel)
        self._operations = OperationsServiceStub(channel)
        self._timeout = timeout
        self._retry = retry

    async def _call(
        self,
        method: "UnaryCall[Request, Response]",
        request: Request,
        timeout: float | None,
        *,
        idempotent: bool = True,
    ) -> Response:
        """Call until the response comes or no repeat is allowed; `timeout` (seconds) bounds all tries together.

        Calls that change a task are idempotent by their request id.
        """
        deadline = time.monotonic() + (self._timeout if timeout is None else timeout)
        failures = 0
        while True:
            try:
                return await method(request, timeout=max(0.0, deadline - time.monotonic()))
            except grpc.RpcError as error:
                failures += 1
                failure = translate(error)
                pause = self._retry.pause_seconds(failures, failure)
                out_of_time = time.monotonic() + pause >= deadline
                if out_of_time or not self._retry.allows(failures, failure, idempotent=idempotent):
                    raise failure from error
            await sleep(pause)


async def all_pages(fetch: FetchPage[AnyPage]) -> AsyncIterator[AnyPage]:
    """Iterate over the pages of a list; each is fetched when the iterator reaches it."""
    token = ""
    while True:
        page = await fetch(token)
        yield page
        token = page.next_page_token
        if not token:
            return
