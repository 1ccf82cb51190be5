"""How a call is made: as `taskplane.client.calls`, awaited."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc

from taskplane.client.calls import AnyPage, Request, Response
from taskplane.client.errors import translate
from taskplane.client.retry import RetryPolicy
from taskplane.v1.operations_service_pb2_grpc import OperationsServiceStub
from taskplane.v1.task_service_pb2_grpc import TaskServiceStub


class AsyncCalls:
    """What every part of the client stands on: the stubs, and `_call`."""

    def __init__(self, channel: grpc.aio.Channel, timeout: float, retry: RetryPolicy) -> None:
        self._tasks = TaskServiceStub(channel)
        self._operations = OperationsServiceStub(channel)
        self._timeout = timeout
        self._retry = retry

    async def _call(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[Request, Response]",  # generic in its stubs only
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
                return await method(request, timeout=max(0.0, deadline - time.monotonic()))
            except grpc.aio.AioRpcError as error:
                failures += 1
                failure = translate(error)
                pause = self._retry.pause_seconds(failures, failure)
                out_of_time = time.monotonic() + pause >= deadline
                if out_of_time or not self._retry.allows(failures, failure, idempotent=idempotent):
                    raise failure from error
            await asyncio.sleep(pause)


async def all_pages(fetch: Callable[[str], Awaitable[AnyPage]]) -> AsyncIterator[AnyPage]:
    """Every page, fetched when it is asked for."""
    token = ""
    while True:
        page = await fetch(token)
        yield page
        token = page.next_page_token
        if not token:
            return
