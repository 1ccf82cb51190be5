"""Creates that are asked for while a batch is under way travel together in the next one.

There is no timer: a lone create goes out at once, and the busier the client, the larger the batches.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from taskplane.client.errors import InvalidArgumentError, TaskplaneError
from taskplane.v1.task_pb2 import Task
from taskplane.v1.task_service_pb2 import TaskSpec

# The server takes no more tasks at once.
MAX_TASKS = 1000
# Far below the greatest message, as the answer is longer than the request. A larger task goes alone.
MAX_BYTES = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks and why; a batch has one."""

    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Create:
    spec: TaskSpec
    asker: Asker
    answer: "asyncio.Future[Task]"


class Coalescer:
    """Gathers creates and sends them by `create_batch`, one batch at a time, in the order in which they were asked for.

    A batch is all or none, so when the server finds fault with one, each task is sent alone and fails alone.
    """

    def __init__(self, create_batch: Callable[[Sequence[TaskSpec], Asker], Awaitable[Sequence[Task]]]) -> None:
        self._create_batch = create_batch
        self._waiting: deque[_Create] = deque()
        self._sending: asyncio.Task[None] | None = None

    async def create(self, spec: TaskSpec, asker: Asker) -> Task:
        """Returns the task when it is durable. A caller that is cancelled may have created it all the same."""
        create = _Create(spec, asker, asyncio.get_running_loop().create_future())
        self._waiting.append(create)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send_all())
        return await create.answer

    async def finish(self) -> None:
        """Waits until everything that was asked for is answered."""
        if self._sending:
            await self._sending

    async def _send_all(self) -> None:
        while self._waiting:
            await self._send(self._next_batch())

    def _next_batch(self) -> list[_Create]:
        asker, size = self._waiting[0].asker, 0
        batch: list[_Create] = []
        while self._waiting and len(batch) < MAX_TASKS and self._waiting[0].asker == asker:
            size += self._waiting[0].spec.ByteSize()
            if batch and size > MAX_BYTES:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _send(self, batch: list[_Create]) -> None:
        try:
            tasks = await self._create_batch([each.spec for each in batch], batch[0].asker)
        except InvalidArgumentError as error:
            if len(batch) == 1:
                _fail(batch, error)
            else:
                await asyncio.gather(*(self._send([each]) for each in batch))
        except TaskplaneError as error:
            _fail(batch, error)
        else:
            for each, task in zip(batch, tasks, strict=True):
                if not each.answer.done():
                    each.answer.set_result(task)


def _fail(batch: list[_Create], error: TaskplaneError) -> None:
    for each in batch:
        if not each.answer.done():
            each.answer.set_exception(error)
