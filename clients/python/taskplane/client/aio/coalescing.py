"""Coalescing of creates: all that are requested while a batch is in progress travel in the next batch.

There is no timer: a single create is sent at once, and a busier client sends larger batches.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from taskplane.client.errors import InvalidArgumentError, TaskplaneError
from taskplane.v1.task_pb2 import Task
from taskplane.v1.task_service_pb2 import TaskSpec

# The server's limit for a batch.
MAX_TASKS = 1000
# Far below the largest message, as the response is longer than the request. A larger task is sent alone.
MAX_BYTES = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class BatchContext:
    """The caller and the reason, which all creates of a batch share."""

    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Create:
    spec: TaskSpec
    context: BatchContext
    response: "asyncio.Future[Task]"


class Coalescer:
    """Collects creates and sends them by `create_batch`, one batch at a time, in the order of the requests.

    A batch is all or none: when the server refuses one as invalid, each task is sent alone and fails alone.
    """

    def __init__(self, create_batch: Callable[[Sequence[TaskSpec], BatchContext], Awaitable[Sequence[Task]]]) -> None:
        self._create_batch = create_batch
        self._waiting: deque[_Create] = deque()
        self._sending: asyncio.Task[None] | None = None

    async def create(self, spec: TaskSpec, context: BatchContext) -> Task:
        """Return the task when it is durable. A caller that is cancelled may have created the task nevertheless."""
        create = _Create(spec, context, asyncio.get_running_loop().create_future())
        self._waiting.append(create)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send_all())
        return await create.response

    async def finish(self) -> None:
        """Wait until every create has ended."""
        if self._sending:
            await self._sending

    async def _send_all(self) -> None:
        while self._waiting:
            await self._send(self._next_batch())

    def _next_batch(self) -> list[_Create]:
        context, size = self._waiting[0].context, 0
        batch: list[_Create] = []
        while self._waiting and len(batch) < MAX_TASKS and self._waiting[0].context == context:
            size += self._waiting[0].spec.ByteSize()
            if batch and size > MAX_BYTES:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _send(self, batch: list[_Create]) -> None:
        try:
            tasks = await self._create_batch([each.spec for each in batch], batch[0].context)
        except InvalidArgumentError as error:
            if len(batch) == 1:
                _fail(batch, error)
            else:
                await asyncio.gather(*(self._send([each]) for each in batch))
        except TaskplaneError as error:
            _fail(batch, error)
        else:
            for each, task in zip(batch, tasks, strict=True):
                if not each.response.done():
                    each.response.set_result(task)


def _fail(batch: list[_Create], error: TaskplaneError) -> None:
    for each in batch:
        if not each.response.done():
            each.response.set_exception(error)
