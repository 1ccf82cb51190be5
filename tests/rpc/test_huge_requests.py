"""Requests with one huge field: each is refused quickly, with a small status, and delays no other caller."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from rpc.raw_unit import hello
from support.responsiveness import Responsiveness, ServerProcess, monitored, server_process

from taskplane.v1 import execution_unit_control_pb2, operations_service_pb2, task_service_pb2
from taskplane.v1 import execution_unit_control_pb2 as unit_pb

FILES = (task_service_pb2, execution_unit_control_pb2, operations_service_pb2)
SERVICES = [service for file in FILES for service in file.DESCRIPTOR.services_by_name.values()]
pytestmark = pytest.mark.alone

# Sizes that every method decodes, and one above every limit.
SIZES = (60_000, 3_000_000)
REFUSALS = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}
MAX_STATUS_BYTES = 4096
# On a quiet machine the longest wait is below 250 ms; without the bounds, tens of seconds.
PATIENCE_SECONDS = 3.0
MIB = 1024 * 1024
# A million reports in batches of a thousand. A server that reads takes a batch in some 10 ms.
MANY_BATCHES = 1000
STANDSTILL_SECONDS = 5.0

LENGTH = 2  # the wire format's mark for a field with a length


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, content: bytes) -> bytes:
    """Return a field of the wire format with a length."""
    return varint(number << 3 | LENGTH) + varint(len(content)) + content


def of_nulls(size: int) -> bytes:
    """Return a Struct with a list of nulls, as many as fit."""
    nulls = field(6, b"\x0a\x02\x08\x00" * (size // 4))
    return field(1, field(1, b"nulls") + field(2, nulls))


def of_keys(size: int) -> bytes:
    """Return the entries of a Struct, as many as fit."""
    return b"".join(field(1, field(1, b"%06d" % each) + field(2, b"\x08\x00")) for each in range(size // 14))


def huge_fields(message: Descriptor, size: int, levels: int = 4) -> Iterator[tuple[str, bytes]]:
    """Yield the message once for each field that can be huge, with the field's path."""
    for each in message.fields:
        if each.message_type and each.message_type.full_name == "google.protobuf.Struct":
            yield f"{each.name} of nulls", field(each.number, of_nulls(size))
            yield f"{each.name} of keys", field(each.number, of_keys(size))
            continue
        if content := huge(each, size):
            yield each.name, content
        if each.message_type and not each.message_type.GetOptions().map_entry and levels:
            for path, content in huge_fields(each.message_type, size, levels - 1):
                yield f"{each.name}.{path}", field(each.number, content)


def huge(each: FieldDescriptor, size: int) -> bytes | None:
    match each.type:
        case FieldDescriptor.TYPE_STRING if each.is_repeated:
            return b"".join(field(each.number, b"%06d" % number) for number in range(size // 8))
        case FieldDescriptor.TYPE_STRING:
            return field(each.number, "ü".encode() * (size // 2))
        case FieldDescriptor.TYPE_MESSAGE if each.message_type and each.message_type.GetOptions().map_entry:
            return b"".join(field(each.number, field(1, b"%06d" % number)) for number in range(size // 10))
        case FieldDescriptor.TYPE_MESSAGE if each.is_repeated:
            return field(each.number, b"") * (size // 2)
        case _ if each.is_repeated:
            return field(each.number, b"\x61" * size)
        case _:
            return None


REQUESTS = [
    pytest.param(f"/{service.full_name}/{method.name}", method, id=method.name)
    for service in SERVICES
    for method in service.methods
    if not method.client_streaming
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder: Path = tmp_path_factory.mktemp("huge")
    with server_process(f"sqlite:///{folder / 'taskplane.db'}") as server:
        yield server


@pytest.fixture
async def channel(server: ServerProcess) -> AsyncIterator[grpc.aio.Channel]:
    options = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(server.grpc, options=options) as channel:
        yield channel


def assert_is_small(error: grpc.aio.AioRpcError) -> None:
    assert error.code() in REFUSALS, error
    trailers = dict(error.trailing_metadata() or ())
    assert len(trailers.get("grpc-status-details-bin", b"")) < MAX_STATUS_BYTES


def assert_has_stayed(probes: Responsiveness) -> None:
    print(probes)  # noqa: T201  (shown when a test fails, or with -s)
    assert probes.longest < PATIENCE_SECONDS
    assert probes.grown_bytes < 250 * MIB


@pytest.mark.parametrize(("path", "method"), REQUESTS)
async def test_a_request_with_a_huge_field_is_refused_and_holds_up_nobody(
    path: str, method: Any, server: ServerProcess, channel: grpc.aio.Channel
) -> None:
    kind: Any = channel.unary_stream if method.server_streaming else channel.unary_unary
    with monitored(server) as probes:
        for size in SIZES:
            for name, content in huge_fields(method.input_type, size):
                call = kind(path)(content, timeout=PATIENCE_SECONDS * 10)
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await (anext(aiter(call)) if method.server_streaming else call)
                print(name, size, caught.value.code(), (caught.value.details() or "")[:100])  # noqa: T201
                assert_is_small(caught.value)
    assert_has_stayed(probes)


INTRODUCTION = unit_pb.UnitMessage(hello=hello("huge")).SerializeToString()
# Fields of the same message are merged: a hello of a supported version.
VERSION = unit_pb.UnitMessage(hello=unit_pb.Hello(protocol_version=1)).SerializeToString()


async def said(channel: grpc.aio.Channel, messages: list[bytes]) -> grpc.aio.AioRpcError | None:
    """Return the error that ends the stream of a unit after these messages and a half-close; None if there is none."""
    connect: Any = channel.stream_stream("/taskplane.v1.ExecutionUnitControl/Connect")
    try:
        async for _ in connect(iter(messages), timeout=PATIENCE_SECONDS * 10):
            pass
    except grpc.aio.AioRpcError as error:
        return error
    return None


async def test_a_unit_that_says_something_huge_holds_up_nobody(
    server: ServerProcess, channel: grpc.aio.Channel
) -> None:
    with monitored(server) as probes:
        for size in SIZES:
            for name, content in huge_fields(unit_pb.UnitMessage.DESCRIPTOR, size):
                is_hello = name.startswith("hello")
                messages = [VERSION + content] if is_hello else [INTRODUCTION, content]
                error = await said(channel, messages)
                print(name, size, error and error.code(), error and (error.details() or "")[:100])  # noqa: T201
                if error:
                    assert_is_small(error)
    assert_has_stayed(probes)


async def test_nothing_stays_of_requests_that_were_refused(server: ServerProcess, channel: grpc.aio.Channel) -> None:
    paths = dict(huge_fields(task_service_pb2.CreateTaskRequest.DESCRIPTOR, 3_000_000))
    create: Any = channel.unary_unary("/taskplane.v1.TaskService/CreateTask")
    with monitored(server) as probes:
        for _ in range(50):
            with pytest.raises(grpc.aio.AioRpcError):
                await create(paths["task.config of nulls"])
    assert_has_stayed(probes)  # 36 MiB each when decoded


async def test_a_unit_that_reports_without_end_and_reads_nothing_is_not_read_to_the_end(
    server: ServerProcess, channel: grpc.aio.Channel
) -> None:
    """Reports of tasks that do not exist: the server has an order to drop for each."""
    call: Any = channel.stream_stream("/taskplane.v1.ExecutionUnitControl/Connect")()
    await call.write(INTRODUCTION)
    taken = 0
    with monitored(server) as probes, suppress(TimeoutError):
        for batch in range(MANY_BATCHES):
            async with asyncio.timeout(STANDSTILL_SECONDS):
                await call.write(of_unknown_tasks(first=batch * 1000 + 1))
            taken += 1
    call.cancel()
    assert taken < MANY_BATCHES
    assert_has_stayed(probes)


def of_unknown_tasks(first: int) -> bytes:
    progress = unit_pb.ProgressReport(fraction=0.5)
    numbers = range(first, first + 1000)
    reports = [unit_pb.Report(sequence=each, task_id=each, attempt=1, progress=progress) for each in numbers]
    return unit_pb.UnitMessage(reports=unit_pb.Reports(reports=reports)).SerializeToString()
