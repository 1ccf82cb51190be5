"""Responses that fit into a message of 4 MiB, the default limit of gRPC receivers."""

from collections.abc import Iterable
from typing import TypeVar

from google.protobuf.message import Message

from taskplane.server.core.task import Checkpoint
from taskplane.server.rpc.messages import checkpoint_message, task_message
from taskplane.server.services.view import TaskView
from taskplane.v1 import task_pb2
from taskplane.v1 import task_service_pb2 as pb

# Bytes of rows in a response; the rest of 4 MiB is for its other fields.
FULL_BYTES = 3 * 1024 * 1024

_Row = TypeVar("_Row", bound=Message)


def as_many_as_fit(messages: Iterable[_Row]) -> list[_Row]:
    """Return the first rows, at least one, up to a full message."""
    fitting: list[_Row] = []
    size = 0
    for message in messages:
        size += message.ByteSize()
        if fitting and size > FULL_BYTES:
            break
        fitting.append(message)
    return fitting


def fitting_checkpoints(checkpoints: Iterable[Checkpoint]) -> list[task_pb2.TaskCheckpoint]:
    """Return all checkpoints, the first ones with their data, up to a full message."""
    messages: list[task_pb2.TaskCheckpoint] = []
    room = FULL_BYTES
    for each in checkpoints:
        message = checkpoint_message(each, with_data=room > 0)
        room -= message.ByteSize()
        if room < 0:
            message.ClearField("data")
        messages.append(message)
    return messages


def created_batch(views: Iterable[TaskView]) -> pb.BatchCreateTasksResponse:
    """Return created tasks, without config and labels if they do not fit: the caller has both."""
    response = pb.BatchCreateTasksResponse(tasks=[task_message(view) for view in views])
    if response.ByteSize() > FULL_BYTES:
        for task in response.tasks:
            for name in ("config", "labels", "unit_labels"):
                task.ClearField(name)
    return response
