"""A real server in this process, over a new database, and a channel to the server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc

from taskplane.server.app import Server
from taskplane.server.config import ServerConfig
from taskplane.server.core.tuning import DEFAULT_TUNING, Tuning
from taskplane.v1 import execution_unit_control_pb2_grpc as unit_grpc
from taskplane.v1 import operations_service_pb2_grpc as operations_grpc
from taskplane.v1 import task_pb2
from taskplane.v1 import task_service_pb2 as pb
from taskplane.v1 import task_service_pb2_grpc as task_grpc

# Long enough for any machine: a test that waits this long is about to fail.
PATIENCE_SECONDS = 30.0

T = TypeVar("T")


class Wire:
    """A channel, and the stubs on the channel, for a client and a unit."""

    def __init__(
        self, address: str, options: Sequence[tuple[str, int]] = (), *, max_receive_bytes: int | None = 16 * 1024 * 1024
    ) -> None:
        """Accept messages of up to `bytes` bytes; None: gRPC's default."""
        sizes = [] if max_receive_bytes is None else [("grpc.max_receive_message_length", max_receive_bytes)]
        self.address = address
        self.channel = grpc.aio.insecure_channel(
            address,
            options=[
                *options,
                *sizes,
                # A connection for each test, and a short wait before the next try to reach a restarted server.
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.initial_reconnect_backoff_ms", 50),
                ("grpc.max_reconnect_backoff_ms", 50),
            ],
        )
        self.tasks = task_grpc.TaskServiceStub(self.channel)
        self.units = unit_grpc.ExecutionUnitControlStub(self.channel)
        self.operations = operations_grpc.OperationsServiceStub(self.channel)

    async def get(self, task_id: int) -> task_pb2.Task:
        return (await self.tasks.GetTask(pb.GetTaskRequest(task_id=task_id))).task

    async def history(self, task_id: int) -> list[task_pb2.TaskTransition]:
        request = pb.ListTaskTransitionsRequest(task_id=task_id, page_size=1000)
        return list((await self.tasks.ListTaskTransitions(request)).transitions)

    async def statuses(self, task_id: int) -> list[str]:
        """Return the statuses of the task's history, first to last."""
        return [status_name(each.to_status) for each in await self.history(task_id)]

    async def task_when(self, task_id: int, holds: Callable[[task_pb2.Task], bool]) -> task_pb2.Task:
        """Watch the task until the condition holds, and return the task, read again."""
        async with asyncio.timeout(PATIENCE_SECONDS), watching(self, task_ids=[task_id]) as events:
            async for event in events:
                if (task := task_of(event)) and holds(task):
                    return await self.get(task_id)
        raise AssertionError("a watch never ends by itself")


class ServerUnderTest:
    """A server that can be stopped and started again on its first ports. Without HTTP by default."""

    def __init__(self, database_url: str, tuning: Tuning = DEFAULT_TUNING, **settings: Any) -> None:
        self.database_url = database_url
        self.tuning = tuning
        self._settings: dict[str, Any] = {"no_http": True, "drain_seconds": 1} | settings
        self.address = self.http_address = "127.0.0.1:0"
        self._server: Server | None = None

    async def start(self) -> None:
        self._settings |= {"grpc": self.address, "http": self.http_address}
        server = Server(ServerConfig(**self._settings, database_url=self.database_url), self.tuning)
        self.address = await server.start()
        self.http_address = server.http_address or self.http_address
        self._server = server

    @property
    def running(self) -> Server:
        """The server itself."""
        assert self._server
        return self._server

    async def stop(self) -> None:
        if self._server:
            await self._server.stop()
            self._server = None


def status_name(status: task_pb2.TaskStatus.ValueType) -> str:
    return task_pb2.TaskStatus.Name(status).removeprefix("TASK_STATUS_")


def task_of(event: pb.WatchTasksResponse) -> task_pb2.Task | None:
    """Return the task of an event, None if the event has none."""
    match event.WhichOneof("event"):
        case "snapshot":
            return event.snapshot
        case "transition":
            return event.transition.task
        case "changed":
            return event.changed
        case _:
            return None


@asynccontextmanager
async def watching(wire: Wire, **request: Any) -> AsyncIterator[AsyncIterator[pb.WatchTasksResponse]]:
    """Open a watch until the end of the context; the arguments are the fields of the request."""
    call = wire.tasks.WatchTasks(pb.WatchTasksRequest(**request))
    try:
        yield aiter(call)
    finally:
        call.cancel()


async def eventually(look: Callable[[], Awaitable[T]], holds: Callable[[T], bool]) -> T:
    """Look again and again, where nothing tells of the change, until the condition holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds(found := await look()):  # noqa: ASYNC110  (no event: the server tells nobody)
            await asyncio.sleep(0.01)
        return found
