"""The asyncio client's calls for operators, against a scripted server."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc
import pytest
from client.conftest import AT_ONCE, PATIENCE_SECONDS, because, trailing_metadata

from taskplane.client import NotFoundError, UnavailableError
from taskplane.client.aio import AsyncClient
from taskplane.v1.execution_unit_pb2 import EXECUTION_UNIT_STATUS_BUSY, ExecutionUnit
from taskplane.v1.operations_service_pb2 import (
    DeleteUnitRequest,
    DeleteUnitResponse,
    DrainUnitRequest,
    DrainUnitResponse,
    GetStatisticsRequest,
    GetStatisticsResponse,
    GetUnitRequest,
    GetUnitResponse,
    ListUnitsRequest,
    ListUnitsResponse,
)
from taskplane.v1.operations_service_pb2_grpc import (
    OperationsServiceServicer,
    add_OperationsServiceServicer_to_server,
)

Context = grpc.aio.ServicerContext[Any, Any]


class Script(OperationsServiceServicer):
    """Unit u1 exists alone; a list has three pages; the first `failures_left` connections break."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.failures_left = 0

    async def ListUnits(self, request: ListUnitsRequest, context: Context) -> ListUnitsResponse:
        await self._take(request, context)
        page = int(request.page_token or 0)
        return ListUnitsResponse(
            units=[ExecutionUnit(id=f"u{page}")], next_page_token=str(page + 1) if page < 2 else ""
        )

    async def GetUnit(self, request: GetUnitRequest, context: Context) -> GetUnitResponse:
        await self._take(request, context)
        if request.unit_id != "u1":
            details = trailing_metadata(grpc.StatusCode.NOT_FOUND, "no", because("UNIT_NOT_FOUND"))
            await context.abort(grpc.StatusCode.NOT_FOUND, "no", details)
        return GetUnitResponse(unit=ExecutionUnit(id="u1"))

    async def DrainUnit(self, request: DrainUnitRequest, context: Context) -> DrainUnitResponse:
        await self._take(request, context)
        return DrainUnitResponse(unit=ExecutionUnit(id=request.unit_id, draining=True))

    async def DeleteUnit(self, request: DeleteUnitRequest, context: Context) -> DeleteUnitResponse:
        await self._take(request, context)
        return DeleteUnitResponse()

    async def GetStatistics(self, request: GetStatisticsRequest, context: Context) -> GetStatisticsResponse:
        await self._take(request, context)
        return GetStatisticsResponse(queued=3)

    async def _take(self, request: Any, context: Context) -> None:
        self.requests.append(request)
        if self.failures_left:
            self.failures_left -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")


@pytest.fixture
async def script() -> Script:
    return Script()


@pytest.fixture
async def client(script: Script) -> AsyncIterator[AsyncClient]:
    server = grpc.aio.server()
    add_OperationsServiceServicer_to_server(script, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with AsyncClient(f"127.0.0.1:{port}", retry=AT_ONCE, timeout=PATIENCE_SECONDS) as client:
        yield client
    await server.stop(None)


async def test_a_list_of_units_goes_over_all_pages(client: AsyncClient, script: Script) -> None:
    units = client.list_units(statuses=[EXECUTION_UNIT_STATUS_BUSY], unit_type="T", task_type="A", page_size=1)
    assert [unit.id async for unit in units] == ["u0", "u1", "u2"]
    assert [request.page_token for request in script.requests] == ["", "1", "2"]
    for request in script.requests:
        assert (request.statuses, request.unit_type, request.task_type) == ([EXECUTION_UNIT_STATUS_BUSY], "T", "A")
        assert request.page_size == 1


async def test_operators_get_units_and_figures(client: AsyncClient, script: Script) -> None:
    assert (await client.get_unit("u1")).id == "u1"
    with pytest.raises(NotFoundError, match="UNIT_NOT_FOUND"):
        await client.get_unit("u2")
    assert (await client.drain_unit("u1", within=timedelta(seconds=30), wait=False, actor="me", reason="why")).draining
    await client.delete_unit("u1")
    assert (await client.get_statistics(window=timedelta(minutes=5), task_type="T")).queued == 3
    drain, delete, counting = script.requests[2:]
    assert (drain.unit_id, drain.timeout.seconds, drain.no_wait) == ("u1", 30, True)
    assert (drain.actor, drain.reason) == ("me", "why")
    assert delete.unit_id == "u1"
    assert (counting.window.seconds, counting.task_type) == (300, "T")


async def test_the_servers_window_is_taken_if_none_is_given(client: AsyncClient, script: Script) -> None:
    await client.get_statistics()
    assert not script.requests[0].HasField("window")


async def test_a_read_is_repeated_when_the_connection_breaks(client: AsyncClient, script: Script) -> None:
    script.failures_left = 2
    assert (await client.get_unit("u1")).id == "u1"
    assert len(script.requests) == 3


async def test_a_delete_is_not_repeated_when_the_connection_breaks(client: AsyncClient, script: Script) -> None:
    script.failures_left = 1
    with pytest.raises(UnavailableError):
        await client.delete_unit("u1")
    assert len(script.requests) == 1
