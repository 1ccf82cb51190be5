"""The routes of units: they register, stay alive and tell how their attempts are; operators look and drain."""

from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from taskplane.gateway.bodies import StrictRoute
from taskplane.gateway.openapi import errors
from taskplane.gateway.parameters import TaskId, UnitId, check_query
from taskplane.gateway.responses import rendered
from taskplane.gateway.responses import response as answer
from taskplane.gateway.services import Using
from taskplane.gateway.task_responses import task_json
from taskplane.gateway.unit_answers import RegisteredUnitAnswer, UnitAnswer, UnitPageAnswer
from taskplane.gateway.unit_requests import Drain, Heartbeat, NewUnit, StatusCallback, UnitListQuery
from taskplane.server.core.command import Verdict, VerdictAction
from taskplane.server.core.errors import DropReason, StaleAttempt
from taskplane.server.core.unit import DrainOrder

router = APIRouter(prefix="/api", tags=["units"], route_class=StrictRoute, dependencies=[Depends(check_query)])

_BODY = (408, 413, 415)
_LOCATION = {"Location": {"description": "Path of the unit.", "schema": {"type": "string"}}}


@router.post(
    "/execution-units",
    status_code=201,
    summary="Register a unit",
    responses=errors(*_BODY) | {201: {"headers": _LOCATION}},
)
async def register_unit(using: Using, body: NewUnit, response: Response) -> RegisteredUnitAnswer:
    """Register a unit that is driven over HTTP. One that registers again under its type and name keeps its id."""
    unit = await using.http_units.register(body.registration())
    response.headers["location"] = f"/api/execution-units/{quote(unit.id, safe='')}"
    return RegisteredUnitAnswer.of_registered(unit, using.units.intervals)


@router.get("/execution-units", summary="List units", responses=errors())
async def list_units(using: Using, query: Annotated[UnitListQuery, Query()]) -> UnitPageAnswer:
    """List units by id."""
    found = [unit for unit in using.units.units() if query.matches(unit)]
    return UnitPageAnswer.of(found, page=query.page, limit=query.limit)


@router.get("/execution-units/{unitId}", summary="Get a unit", responses=errors(404))
async def get_unit(using: Using, unit_id: UnitId) -> UnitAnswer:
    """Return a unit as it is."""
    return UnitAnswer.of(using.units.unit(unit_id))


@router.delete("/execution-units/{unitId}", status_code=204, summary="Forget a unit", responses=errors(404, 409))
async def delete_unit(using: Using, unit_id: UnitId) -> None:
    """Forget a unit that is OFFLINE and has no RUNNING tasks."""
    await using.units.delete_unit(unit_id)


@router.post("/execution-units/{unitId}/heartbeat", summary="Renew a lease", responses=errors(404, 409, *_BODY))
async def heartbeat(using: Using, unit_id: UnitId, body: Heartbeat | None = None) -> UnitAnswer:
    """Take a sign of life of a unit that is driven over HTTP, and its new capacity if it tells one."""
    return UnitAnswer.of(await using.http_units.heartbeat(unit_id, body.capacity if body else None))


@router.post("/execution-units/{unitId}/drain", summary="Empty a unit", responses=errors(404, 409, 504, *_BODY))
async def drain_unit(using: Using, unit_id: UnitId, body: Drain | None = None) -> UnitAnswer:
    """Let a unit hand back its tasks, which go on elsewhere, and leave. Waits for it to be gone."""
    body = body or Drain()
    order = DrainOrder(body.timeout_seconds, body.actor, body.reason)
    return UnitAnswer.of(await using.units.drain(unit_id, order, body.wait))


@router.post(
    "/tasks/{taskId}/status",
    summary="Tell how an attempt is",
    responses=errors(404, 409, *_BODY) | answer(200, "TaskStatusResponse"),
)
async def report_status(using: Using, task_id: TaskId, body: StatusCallback) -> bytes:
    """Take what a unit says of an attempt. A stale attempt is 409 (STALE_ATTEMPT): it changed nothing, stop it."""
    told = await using.callbacks.report_outcome(task_id, body.outcome(), unit_id=body.unit_id or "")
    return rendered({"verdict": _kept(told.verdict), "task": task_json(using.tasks.view(told.task))})


def _kept(verdict: Verdict) -> Literal["KEEP", "PAUSE"]:
    match verdict.action:
        case VerdictAction.DROP:
            raise StaleAttempt(verdict.task_id, verdict.attempt, verdict.drop_reason or DropReason.SUPERSEDED)
        case VerdictAction.PAUSE:
            return "PAUSE"
        case VerdictAction.KEEP:
            return "KEEP"
