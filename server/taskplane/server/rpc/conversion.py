"""Conversion of tasks to messages: large documents off the event loop, and no message above the receivers' limit."""

from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

from google.protobuf.message import Message

from taskplane.server.core.command import Command, StartOrder
from taskplane.server.core.documents import LARGE_BYTES, is_large, wire_bytes
from taskplane.server.core.off_loop import off_loop
from taskplane.server.rpc.fitting import as_many_as_fit
from taskplane.server.rpc.messages import MAX_TASK_BYTES, is_heavy, task_message
from taskplane.server.services.view import TaskView
from taskplane.v1 import task_pb2

# Above this number, tasks are converted off the event loop.
_MANY = 100

P = ParamSpec("P")
T = TypeVar("T")


async def read_request(request: Message, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Read a request; a large one off the event loop."""
    if request.ByteSize() > LARGE_BYTES:
        return await off_loop(read, *args, **kwargs)
    return read(*args, **kwargs)


async def convert_task(view: TaskView, *, with_checkpoint_data: bool = False) -> task_pb2.Task:
    """Return a task as a message."""
    if not is_heavy(view.task):
        return task_message(view, with_checkpoint_data=with_checkpoint_data)
    return await off_loop(task_message, view, with_checkpoint_data=with_checkpoint_data)


async def convert_page(views: Sequence[TaskView]) -> list[task_pb2.Task]:
    """Return the first tasks of a page, as many as fit into a message."""
    if len(views) <= _MANY and not any(is_heavy(view.task) for view in views):
        return as_many_as_fit(task_message(view) for view in views)
    return await off_loop(lambda: as_many_as_fit(task_message(view) for view in views))


def is_heavy_start(command: Command) -> bool:
    """Return whether a command carries a large document."""
    match command.order:
        case StartOrder(dispatch):
            data = dispatch.checkpoint.data if dispatch.checkpoint else None
            return is_large(dispatch.task.config) or is_large(data)
        case _:
            return False


def start_problem(command: Command) -> str | None:
    """Return the reason why a start fits into no message, or None."""
    match command.order:
        case StartOrder(dispatch):
            data = dispatch.checkpoint.data if dispatch.checkpoint else None
            size = wire_bytes(dispatch.task.config) + wire_bytes(data or {})
            if size > MAX_TASK_BYTES:
                return f"config and checkpoint have {size} bytes together; a unit can be sent {MAX_TASK_BYTES}"
            return None
        case _:
            return None
