"""Health, reflection and channelz."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from rpc.refusals import refusal_of
from rpc.server import PATIENCE_SECONDS, ServerUnderTest, Wire

from taskplane.client import channel
from taskplane.server.rpc import server

OURS = {"taskplane.v1.TaskService", "taskplane.v1.ExecutionUnitControl", "taskplane.v1.OperationsService"}
GARBAGE = b"\xff\xff\xff"
# A text field, 1, of two bytes of invalid UTF-8; for reflection, field 4.
NOT_UTF8 = b"\x0a\x02\xc3\x28\x22\x02\xc3\x28"
SERVING = health_pb2.HealthCheckResponse.SERVING


@pytest.fixture
def settings() -> dict[str, Any]:
    return {"channelz": True}


def health_stub(wire: Wire) -> Any:
    return health_pb2_grpc.HealthStub(wire.channel)


@pytest.mark.parametrize("service", ["", *sorted(OURS)])
async def test_each_service_is_healthy(service: str, wire: Wire) -> None:
    stub = health_stub(wire)
    assert (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status == SERVING


async def test_a_service_that_is_not_there_is_not_healthy(wire: Wire) -> None:
    stub = health_stub(wire)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Check(health_pb2.HealthCheckRequest(service="taskplane.v1.Nothing"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_server_that_stops_says_first_that_it_is_not_serving(server: ServerUnderTest, wire: Wire) -> None:
    watch = aiter(health_stub(wire).Watch(health_pb2.HealthCheckRequest()))
    assert (await anext(watch)).status == SERVING
    await server.stop()
    assert (await anext(watch)).status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_the_services_can_be_listed_by_reflection(wire: Wire) -> None:
    (listed,) = await reflect(wire, reflection_pb2.ServerReflectionRequest(list_services=""))
    names = {service.name for service in listed.list_services_response.service}
    assert names >= OURS | {"grpc.health.v1.Health", "grpc.channelz.v1.Channelz"}


async def test_health_of_all_services_can_be_listed(wire: Wire) -> None:
    messages: Any = health_pb2  # older types without the field
    statuses = (await health_stub(wire).List(messages.HealthListRequest())).statuses
    assert {name: each.status for name, each in statuses.items()} == dict.fromkeys(["", *OURS], SERVING)


@pytest.mark.parametrize(
    ("method", "data"),
    [
        ("grpc.health.v1.Health/Check", GARBAGE),
        ("grpc.health.v1.Health/Check", NOT_UTF8),
        ("grpc.health.v1.Health/List", GARBAGE),
        ("grpc.health.v1.Health/Watch", GARBAGE),
        ("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", GARBAGE),
        ("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", NOT_UTF8),
        ("grpc.channelz.v1.Channelz/GetServer", GARBAGE),
        ("grpc.channelz.v1.Channelz/GetTopChannels", GARBAGE),
    ],
)
async def test_what_cannot_be_decoded_is_refused_as_everywhere(
    method: str, data: bytes, wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    call: Any = wire.channel.stream_stream(f"/{method}")
    refusal = await refusal_of(anext(aiter(call(iter([data])))))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELDS")
    assert not caplog.records


@pytest.mark.parametrize("name", ["", ".", "\0", "a..b", "x" * 60_000, "../../etc/passwd", "é\n"])
async def test_reflection_knows_no_bad_name(name: str, wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    extension = reflection_pb2.ExtensionRequest(containing_type=name, extension_number=-1)
    for request in (
        reflection_pb2.ServerReflectionRequest(file_by_filename=name),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=name),
        reflection_pb2.ServerReflectionRequest(all_extension_numbers_of_type=name),
        reflection_pb2.ServerReflectionRequest(file_containing_extension=extension),
    ):
        (answer,) = await reflect(wire, request)
        assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    assert not caplog.records


@pytest.mark.parametrize("number", [-1, 0, 2**62, -(2**63)])
async def test_channelz_knows_no_bad_id(number: int, wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    channel: Any = wire.channel  # as above
    stub: Any = channelz_pb2_grpc.ChannelzStub(channel)
    for call in (
        stub.GetServer(channelz_pb2.GetServerRequest(server_id=number)),
        stub.GetServerSockets(channelz_pb2.GetServerSocketsRequest(server_id=number, max_results=number)),
        stub.GetChannel(channelz_pb2.GetChannelRequest(channel_id=number)),
        stub.GetSubchannel(channelz_pb2.GetSubchannelRequest(subchannel_id=number)),
        stub.GetSocket(channelz_pb2.GetSocketRequest(socket_id=number)),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert not caplog.records


async def test_channelz_is_served_only_if_it_is_asked_for(tmp_path: Path) -> None:
    plain = ServerUnderTest(f"sqlite:///{tmp_path / 'plain.db'}")
    await plain.start()
    wire = Wire(plain.address)
    channel: Any = wire.channel  # as above
    stub: Any = channelz_pb2_grpc.ChannelzStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetServers(channelz_pb2.GetServersRequest())
    (listed,) = await reflect(wire, reflection_pb2.ServerReflectionRequest(list_services=""))
    await wire.channel.close()
    await plain.stop()

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "grpc.channelz.v1.Channelz" not in {service.name for service in listed.list_services_response.service}


async def test_watches_of_health_do_not_hold_a_stop(tmp_path: Path) -> None:
    patient = ServerUnderTest(f"sqlite:///{tmp_path / 'patient.db'}", drain_seconds=10 * PATIENCE_SECONDS)
    await patient.start()
    wire = Wire(patient.address)
    stub = health_stub(wire)
    watches = [aiter(stub.Watch(health_pb2.HealthCheckRequest(service=name))) for name in ("", "taskplane.v1.Nothing")]
    first = [(await anext(watch)).status for watch in watches]
    async with asyncio.timeout(PATIENCE_SECONDS):
        await patient.stop()
        last = [(await anext(watches[0])).status, await anext(watches[0], None), await anext(watches[1], None)]
    await wire.channel.close()

    statuses = health_pb2.HealthCheckResponse
    assert first == [SERVING, statuses.SERVICE_UNKNOWN]
    assert last == [statuses.NOT_SERVING, None, None]


@pytest.mark.parametrize("service", sorted(OURS))
async def test_a_service_can_be_described_by_reflection(service: str, wire: Wire) -> None:
    (found,) = await reflect(wire, reflection_pb2.ServerReflectionRequest(file_containing_symbol=service))
    files = [FileDescriptorProto.FromString(each) for each in found.file_descriptor_response.file_descriptor_proto]
    described = {f"{file.package}.{each.name}": each for file in files for each in file.service}
    assert described[service].method


async def reflect(
    wire: Wire, request: reflection_pb2.ServerReflectionRequest
) -> list[reflection_pb2.ServerReflectionResponse]:
    async def requests() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
        yield request

    channel: Any = wire.channel  # the stubs' types know the channel without asyncio only
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    return [response async for response in stub.ServerReflectionInfo(requests())]


async def test_channelz_counts_calls(wire: Wire) -> None:
    channel: Any = wire.channel  # as above
    stub: Any = channelz_pb2_grpc.ChannelzStub(channel)
    servers = (await stub.GetServers(channelz_pb2.GetServersRequest())).server
    assert any(server.data.calls_started for server in servers)


@pytest.mark.parametrize("options", [server.OPTIONS, channel.OPTIONS], ids=["server", "client"])
def test_grpc_knows_every_option_that_is_set(options: Sequence[tuple[str, int]]) -> None:
    """Ignore unknown names without an error."""
    found = find_spec("grpc._cython.cygrpc")
    assert found
    assert found.origin
    library = Path(found.origin).read_bytes()
    assert [name for name, _ in options if name.encode() not in library] == []
