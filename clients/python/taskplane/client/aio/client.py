"""The asyncio client: the base client, and the coalescing of creates."""

from collections.abc import Sequence

from taskplane.client.aio.base import AsyncBaseClient
from taskplane.client.aio.coalescing import MAX_BYTES, BatchContext, Coalescer
from taskplane.client.aio.transport import Channel
from taskplane.client.retry import DEFAULT_RETRY, DEFAULT_TIMEOUT_SECONDS, RetryPolicy
from taskplane.v1.task_pb2 import Task
from taskplane.v1.task_service_pb2 import TaskSpec


class AsyncClient(AsyncBaseClient):
    """A client of one server, within one event loop; an async context manager.

    Arguments, timeouts, repeats and errors are those of `taskplane.client.Client`. With `coalesce`, creates that are
    requested while others are in progress travel together, which is several times faster. A create with a `request_id`
    or a `timeout` travels alone.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        channel: Channel | None = None,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        retry: RetryPolicy = DEFAULT_RETRY,
        coalesce: bool = False,
    ) -> None:
        """See `taskplane.client.Client`; the default of `timeout` is 10 s."""
        super().__init__(server, channel=channel, timeout=timeout, retry=retry)
        self._coalescer = Coalescer(self._create_batch) if coalesce else None

    async def close(self) -> None:
        """Wait for coalesced creates, then close the channel, and with it every call and watch in progress."""
        if self._coalescer:
            await self._coalescer.finish()
        await super().close()

    async def _create(self, spec: TaskSpec, actor: str, reason: str, request_id: str, timeout: float | None) -> Task:
        if self._coalescer and not request_id and timeout is None:
            return await self._coalescer.create(spec, BatchContext(actor, reason))
        return await super()._create(spec, actor, reason, request_id, timeout)

    async def _create_batch(self, specs: Sequence[TaskSpec], context: BatchContext) -> list[Task]:
        if specs[0].ByteSize() > MAX_BYTES:
            # The only one of its batch. The response to a batch would lack its config.
            return [await super()._create(specs[0], context.actor, context.reason, "", None)]
        return await self.batch_create_tasks(specs, actor=context.actor, reason=context.reason)
