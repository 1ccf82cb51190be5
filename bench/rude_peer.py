"""A peer that asks for too much. `python -m bench.rude_peer KIND GRPC_ADDRESS HTTP_ADDRESS COUNT`; the kinds are KINDS.

Prints "ready", then "done" when all of the abuse is under way or answered, and keeps its connections until SIGTERM.
"""

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import grpc
import uvloop
from google.protobuf.message import Message

from taskplane.v1.operations_service_pb2 import ListUnitsRequest
from taskplane.v1.operations_service_pb2_grpc import OperationsServiceStub
from taskplane.v1.task_service_pb2 import (
    CreateTaskRequest,
    GetTaskRequest,
    ListTasksRequest,
    TaskFilter,
    WatchTasksRequest,
)
from taskplane.v1.task_service_pb2_grpc import TaskServiceStub

TIMEOUT_SECONDS = 300.0
GET_CALLS = 20
# The peer itself sets no bound to what it sends and receives.
CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", 64 * 1024 * 1024),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
]


async def long_lists(grpc_address: str, _http_address: str, count: int) -> None:
    """Send requests whose lists have so many wrong elements."""
    async with grpc.aio.insecure_channel(grpc_address, CHANNEL_OPTIONS) as channel:
        tasks, operations = TaskServiceStub(channel), OperationsServiceStub(channel)
        wrong: Any = [97] * count
        await _answered(operations.ListUnits, ListUnitsRequest(statuses=wrong))
        await _answered(tasks.ListTasks, ListTasksRequest(filter=TaskFilter(statuses=wrong)))
        with suppress(grpc.aio.AioRpcError):
            async for _ in tasks.WatchTasks(WatchTasksRequest(task_ids=wrong), timeout=TIMEOUT_SECONDS):
                break
        print("done", flush=True)


async def large_documents(grpc_address: str, _http_address: str, count: int) -> None:
    """Create a task whose config is a list of so many numbers, and read the task a few times, all at once."""
    request = CreateTaskRequest()
    request.task.task_name, request.task.task_type = "large", "NOBODY"
    request.task.config.update({"numbers": [1] * count})
    async with grpc.aio.insecure_channel(grpc_address, CHANNEL_OPTIONS) as channel:
        tasks = TaskServiceStub(channel)
        with suppress(grpc.aio.AioRpcError):
            created = await tasks.CreateTask(request, timeout=TIMEOUT_SECONDS)
            get = GetTaskRequest(task_id=created.task.id)
            await asyncio.gather(*(_answered(tasks.GetTask, get) for _ in range(GET_CALLS)))
        print("done", flush=True)


async def unread_events(_grpc_address: str, http_address: str, count: int) -> None:
    """Open so many streams of server-sent events and read none of them."""
    await _connections(http_address, count, f"GET /api/events HTTP/1.1\r\nHost: {http_address}\r\n\r\n")


async def half_requests(_grpc_address: str, http_address: str, count: int) -> None:
    """Open so many connections, send half a header on each, and say no more."""
    await _connections(http_address, count, "GET /api/tasks HTTP/1.1\r\nHo")


async def unread_watches(grpc_address: str, _http_address: str, count: int) -> None:
    """Open so many watches of all tasks and read none of them."""
    async with grpc.aio.insecure_channel(grpc_address) as channel:
        tasks = TaskServiceStub(channel)
        calls = [tasks.WatchTasks(WatchTasksRequest()) for _ in range(count)]
        await asyncio.sleep(0)
        print("done", flush=True)
        await asyncio.Event().wait()
        del calls


async def _connections(http_address: str, count: int, text: str) -> None:
    host, _, port = http_address.rpartition(":")
    loop = asyncio.get_running_loop()
    opened = []
    for _ in range(count):
        each = socket.socket()
        each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        each.setblocking(False)  # noqa: FBT003  (its only argument)
        opened.append(each)
        with suppress(OSError):  # refused above the server's bound
            await loop.sock_connect(each, (host, int(port)))
            await loop.sock_sendall(each, text.encode())
    print("done", flush=True)
    await asyncio.Event().wait()


async def _answered(call: Callable[..., Awaitable[Message]], request: Message) -> None:
    with suppress(grpc.aio.AioRpcError):  # refused, as it should be
        await call(request, timeout=TIMEOUT_SECONDS)


KINDS: Mapping[str, Callable[[str, str, int], Awaitable[None]]] = {
    "long-lists": long_lists,
    "large-documents": large_documents,
    "unread-events": unread_events,
    "unread-watches": unread_watches,
    "half-requests": half_requests,
}


async def main(kind: str, grpc_address: str, http_address: str, count: str) -> None:
    """Say that the process has started, and begin."""
    print("ready", flush=True)
    await KINDS[kind](grpc_address, http_address, int(count))


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:5]))
