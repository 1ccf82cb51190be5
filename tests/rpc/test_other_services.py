"""Health, reflection and channelz."""

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
from rpc.server import ServerUnderTest, Wire

from taskplane.client import channel
from taskplane.server.rpc import server

OURS = {"taskplane.v1.TaskService", "taskplane.v1.ExecutionUnitControl", "taskplane.v1.OperationsService"}
SERVING = health_pb2.HealthCheckResponse.SERVING


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
    """It passes over those it does not know without a word."""
    found = find_spec("grpc._cython.cygrpc")
    assert found
    assert found.origin
    library = Path(found.origin).read_bytes()
    assert [name for name, _ in options if name.encode() not in library] == []
