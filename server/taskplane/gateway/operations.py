"""The routes for operators: health, statistics, metrics."""

import asyncio
from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import Field
from starlette.responses import Response

from taskplane.gateway.bodies import StrictRoute
from taskplane.gateway.figures import Figures, figures_of
from taskplane.gateway.metrics import exposition
from taskplane.gateway.openapi import errors
from taskplane.gateway.parameters import check_query
from taskplane.gateway.requests import Given, PlainQueryString
from taskplane.gateway.responses import in_json, rendered, success
from taskplane.gateway.schema import Moment, Schema
from taskplane.gateway.services import Using
from taskplane.server.core.clock import utc_now
from taskplane.server.core.errors import DatabaseUnavailable, ServerStopping
from taskplane.server.rpc.operation_requests import read_statistics
from taskplane.server.rpc.statistics_messages import statistics_message
from taskplane.v1 import operations_service_pb2 as pb

router = APIRouter(tags=["operations"], route_class=StrictRoute, dependencies=[Depends(check_query)])

STATISTICS = PlainQueryString(pb.GetStatisticsRequest, read_statistics)
# Seconds after which the database counts as not ready.
_PROBE_SECONDS = 5.0


class HealthAnswer(Schema):
    """The response of a healthy server."""

    status: Literal["ok"] = "ok"


class StatisticsAnswer(Schema):
    """Present statistics."""

    taken_at: Moment
    units: Annotated[int, Field(description="Units that are known.")]
    units_connected: int
    slots: Annotated[int, Field(description="Slots of all connected units.")]
    slots_used: Annotated[int, Field(description="Slots that hold a RUNNING task.")]
    watch_followers: Annotated[int, Field(description="Watches, and verbs that wait for their effect.")]

    @classmethod
    def of(cls, figures: Figures) -> "StatisticsAnswer":
        """Build the response from the statistics."""
        return cls(
            taken_at=utc_now(),
            units=figures.units,
            units_connected=figures.units_connected,
            slots=figures.slots,
            slots_used=figures.slots_used,
            watch_followers=figures.watch_followers,
        )


@router.get("/healthz", summary="Is the process alive", responses={400: errors()[400]})
async def healthz() -> HealthAnswer:
    """Respond: the process is alive."""
    return HealthAnswer()


@router.get("/readyz", summary="Can it serve", responses=errors())
async def readyz(using: Using) -> HealthAnswer:
    """Return 200 while the database can be read and written and the server is not stopping, else 503."""
    if using.is_stopping():
        raise ServerStopping
    if using.outage():
        # The cause may name hosts and users: only the log has it.
        raise DatabaseUnavailable
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            await using.tasks.check_database()
    except TimeoutError as error:
        raise DatabaseUnavailable from error
    return HealthAnswer()


@router.get("/api/statistics", summary="Present statistics", responses={400: errors()[400]})
async def statistics(using: Using) -> StatisticsAnswer:
    """Return the present numbers of units, slots and watches."""
    return StatisticsAnswer.of(figures_of(using))


@router.get(
    "/api/statistics/window",
    summary="Statistics over a window",
    responses=errors(504) | success(200, "GetStatisticsResponse"),
)
async def window_statistics(using: Using, query: Annotated[Given[tuple[timedelta, str]], Depends(STATISTICS)]) -> bytes:
    """Count the present tasks and units, and the tasks that ended in a window up to now."""
    return rendered(in_json(statistics_message(await using.statistics.take(*query.read))))


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={
        200: {"description": "Prometheus's text format.", "content": {"text/plain": {"schema": {"type": "string"}}}},
        400: errors()[400],
    },
)
async def metrics(using: Using) -> Response:
    """Return metrics in Prometheus's text format."""
    return Response(exposition(figures_of(using)), headers={"content-type": CONTENT_TYPE_LATEST})
