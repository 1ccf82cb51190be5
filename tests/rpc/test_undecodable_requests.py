"""Bytes that are no message of their method: INVALID_ARGUMENT, without details of the implementation."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from rpc.deep import objects_in_objects
from rpc.raw_unit import hello
from rpc.refusals import Refusal, refusal_of
from rpc.server import Wire
from rpc.tasks import spec

from taskplane.protocol.structs import fill_struct
from taskplane.v1 import execution_unit_control_pb2 as unit_pb
from taskplane.v1 import task_service_pb2 as pb

GARBAGE = b"\xff\xff\xff"
# A text field, 1, of two bytes of invalid UTF-8.
NOT_UTF8 = b"\x0a\x02\xc3\x28"


def deep_create() -> bytes:
    """Return a request whose config exceeds protobuf's depth; built in place, as a copy would fail."""
    request = pb.CreateTaskRequest(task=spec())
    fill_struct(request.task.config, objects_in_objects(40))
    return request.SerializeToString()


UNDECODABLE = {
    "garbage": GARBAGE,
    "a task that is garbage": b"\x0a\x03" + GARBAGE,
    "a name that is no UTF-8": b"\x0a\x04" + NOT_UTF8,
    "a config deeper than protobuf goes": deep_create(),
}


def assert_tells(refusal: Refusal) -> None:
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELDS")
    assert refusal.fields == ["request"]
    assert "Error" not in refusal.message


async def stream_of(wire: Wire, *messages: bytes) -> AsyncIterator[Any]:
    """Return the server's response on the stream of a unit that sends the bytes and nothing else."""
    connect: Any = wire.channel.stream_stream("/taskplane.v1.ExecutionUnitControl/Connect")
    async for message in connect(iter(messages)):
        yield unit_pb.ServerMessage.FromString(message)


@pytest.mark.parametrize("case", sorted(UNDECODABLE))
async def test_a_request_that_cannot_be_decoded_is_refused(case: str, wire: Wire) -> None:
    create: Any = wire.channel.unary_unary("/taskplane.v1.TaskService/CreateTask")
    assert_tells(await refusal_of(create(UNDECODABLE[case])))


async def test_a_watch_that_cannot_be_decoded_is_refused(wire: Wire) -> None:
    watch: Any = wire.channel.unary_stream("/taskplane.v1.TaskService/WatchTasks")
    assert_tells(await refusal_of(anext(aiter(watch(GARBAGE)))))


async def test_a_unit_whose_first_message_cannot_be_decoded_is_refused(wire: Wire) -> None:
    assert_tells(await refusal_of(anext(stream_of(wire, GARBAGE))))


async def test_the_stream_of_a_unit_ends_with_what_cannot_be_decoded(wire: Wire) -> None:
    said: Message = unit_pb.UnitMessage(hello=hello("garbling"))
    stream = stream_of(wire, said.SerializeToString(), GARBAGE)
    assert (await anext(stream)).WhichOneof("body") == "welcome"
    assert_tells(await refusal_of(anext(stream)))
