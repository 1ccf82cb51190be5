"""The gRPC API of OperationsService."""

from typing import Any

import grpc

from taskplane.server.execution_units.manager import ExecutionUnitManager
from taskplane.server.rpc import operation_requests as read
from taskplane.server.rpc.deadlines import read_seconds, wait_seconds
from taskplane.server.rpc.fitting import as_many_as_fit
from taskplane.server.rpc.messages import unit_message
from taskplane.server.rpc.statistics_messages import statistics_message
from taskplane.server.services.pages import page_token, read_text_page_token
from taskplane.server.services.statistics import StatisticsService
from taskplane.v1 import operations_service_pb2 as pb
from taskplane.v1 import operations_service_pb2_grpc as pb_grpc

Context = grpc.aio.ServicerContext[Any, Any]


class OperationsServicer(pb_grpc.OperationsServiceServicer):
    """The methods of OperationsService: each reads the request, calls a service and returns a message."""

    def __init__(self, units: ExecutionUnitManager, statistics: StatisticsService) -> None:
        self._units = units
        self._statistics = statistics

    async def ListUnits(self, request: pb.ListUnitsRequest, context: Context) -> pb.ListUnitsResponse:
        query = read.read_unit_query(request)
        after = read_text_page_token(query.page_token, query.fingerprint)
        found = [unit for unit in self._units.units() if unit.id > after and query.matches(unit)]
        units = as_many_as_fit(map(unit_message, found[: query.page_size]))
        next_token = page_token(query.fingerprint, units[-1].id) if len(units) < len(found) else ""
        return pb.ListUnitsResponse(units=units, next_page_token=next_token)

    async def GetUnit(self, request: pb.GetUnitRequest, context: Context) -> pb.GetUnitResponse:
        return pb.GetUnitResponse(unit=unit_message(self._units.unit(read.read_unit_id(request))))

    async def DeleteUnit(self, request: pb.DeleteUnitRequest, context: Context) -> pb.DeleteUnitResponse:
        await self._units.delete_unit(read.read_unit_id(request))
        return pb.DeleteUnitResponse()

    async def DrainUnit(self, request: pb.DrainUnitRequest, context: Context) -> pb.DrainUnitResponse:
        unit_id, drain = read.read_drain(request)
        wait = 0.0 if request.no_wait else wait_seconds(context)
        unit = await self._units.drain(unit_id, drain, wait)
        return pb.DrainUnitResponse(unit=unit_message(unit))

    async def GetStatistics(self, request: pb.GetStatisticsRequest, context: Context) -> pb.GetStatisticsResponse:
        window, task_type = read.read_statistics(request)
        return statistics_message(await self._statistics.take(window, task_type, read_seconds(context)))
