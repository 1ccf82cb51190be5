"""The gRPC face of OperationsService."""

import hashlib
from datetime import timedelta
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from taskplane.server.core.unit import MAX_UNIT_ID, DrainOrder
from taskplane.server.execution_units.manager import ExecutionUnitManager
from taskplane.server.rpc.bounds import DEFAULT_PAGE, MAX_ACTOR, MAX_REASON, MAX_UNIT_TYPE
from taskplane.server.rpc.deadlines import read_seconds, wait_seconds
from taskplane.server.rpc.fitting import as_many_as_fit
from taskplane.server.rpc.messages import unit_message
from taskplane.server.rpc.statistics_messages import statistics_message
from taskplane.server.rpc.unit_messages import unit_statuses
from taskplane.server.rpc.validation import Checker
from taskplane.server.services.pages import page_token, read_text_page_token
from taskplane.server.services.statistics import StatisticsService
from taskplane.v1 import operations_service_pb2 as pb
from taskplane.v1 import operations_service_pb2_grpc as pb_grpc

Context = grpc.aio.ServicerContext[Any, Any]
DEFAULT_WINDOW = timedelta(hours=1)
# Longer than operators look back, and short enough for the database to read its history.
MAX_WINDOW = timedelta(days=31)


class OperationsServicer(pb_grpc.OperationsServiceServicer):
    """Converts, calls, converts back."""

    def __init__(self, units: ExecutionUnitManager, statistics: StatisticsService) -> None:
        self._units = units
        self._statistics = statistics

    async def ListUnits(self, request: pb.ListUnitsRequest, context: Context) -> pb.ListUnitsResponse:
        check = Checker()
        page_size = check.page_size("page_size", request.page_size, default=DEFAULT_PAGE)
        statuses = unit_statuses(check, request.statuses)
        unit_type = check.text("unit_type", request.unit_type, at_most=MAX_UNIT_TYPE)
        task_type = check.task_type("task_type", request.task_type) if request.task_type else ""
        token = check.page_token("page_token", request.page_token)
        check.done()
        query = f"{sorted(statuses)} {unit_type} {task_type}"
        fingerprint = hashlib.sha256(query.encode()).hexdigest()[:16]
        after = read_text_page_token(token, fingerprint)
        found = [
            unit
            for unit in self._units.units()
            if unit.id > after
            and (not statuses or unit.status in statuses)
            and (not unit_type or unit.unit_type == unit_type)
            and (not task_type or unit.accepts(task_type))
        ]
        units = as_many_as_fit(map(unit_message, found[:page_size]))
        next_token = page_token(fingerprint, units[-1].id) if len(units) < len(found) else ""
        return pb.ListUnitsResponse(units=units, next_page_token=next_token)

    async def GetUnit(self, request: pb.GetUnitRequest, context: Context) -> pb.GetUnitResponse:
        return pb.GetUnitResponse(unit=unit_message(self._units.unit(_unit_id(request))))

    async def DeleteUnit(self, request: pb.DeleteUnitRequest, context: Context) -> pb.DeleteUnitResponse:
        await self._units.delete_unit(_unit_id(request))
        return pb.DeleteUnitResponse()

    async def DrainUnit(self, request: pb.DrainUnitRequest, context: Context) -> pb.DrainUnitResponse:
        check = Checker()
        unit_id = check.text("unit_id", request.unit_id, at_least=1, at_most=MAX_UNIT_ID)
        timeout = check.duration(request, "timeout", "timeout")
        actor = check.text("actor", request.actor, at_most=MAX_ACTOR)
        reason = check.text("reason", request.reason, at_most=MAX_REASON)
        check.done()
        wait = 0.0 if request.no_wait else wait_seconds(context)
        drain = DrainOrder(timeout.total_seconds() if timeout else None, actor, reason)
        unit = await self._units.drain(unit_id, drain, wait)
        return pb.DrainUnitResponse(unit=unit_message(unit))

    async def GetStatistics(self, request: pb.GetStatisticsRequest, context: Context) -> pb.GetStatisticsResponse:
        check = Checker()
        window = _window(check, request)
        task_type = check.task_type("task_type", request.task_type) if request.task_type else ""
        check.done()
        return statistics_message(await self._statistics.take(window, task_type, read_seconds(context)))


def _window(check: Checker, request: pb.GetStatisticsRequest) -> timedelta:
    if not request.HasField("window"):
        return DEFAULT_WINDOW
    window = check.duration(request, "window", "window")
    if request.window == Duration():
        check.refuse("window", "must be above 0")
    elif window and window > MAX_WINDOW:
        check.refuse("window", f"is {window.total_seconds():g} seconds; at most {MAX_WINDOW.days} days are allowed")
    return window or DEFAULT_WINDOW


def _unit_id(request: pb.GetUnitRequest | pb.DeleteUnitRequest) -> str:
    check = Checker()
    unit_id = check.text("unit_id", request.unit_id, at_least=1, at_most=MAX_UNIT_ID)
    check.done()
    return unit_id
