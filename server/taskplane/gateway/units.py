"""The routes of units: registration, heartbeats and reports; list and drain for operators."""

from dataclasses import replace
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends
from starlette.responses import Response

from taskplane.gateway.bodies import StrictRoute
from taskplane.gateway.openapi import errors
from taskplane.gateway.parameters import TaskId, UnitId, check_query
from taskplane.gateway.requests import Given
from taskplane.gateway.responses import rendered, success
from taskplane.gateway.services import Using
from taskplane.gateway.task_responses import task_json
from taskplane.gateway.unit_requests import DRAIN, HEARTBEAT, LIST_UNITS, REGISTER, StatusCallback
from taskplane.gateway.unit_responses import registered_unit_json, unit_json
from taskplane.server.core.command import Verdict, VerdictAction
from taskplane.server.core.errors import DropReason, StaleAttempt
from taskplane.server.core.unit import DrainOrder, Registration
from taskplane.server.rpc.operation_requests import UnitQuery

router = APIRouter(prefix="/api", tags=["units"], route_class=StrictRoute, dependencies=[Depends(check_query)])

_BODY = (408, 413, 415)
_LOCATION = {"Location": {"description": "Path of the unit.", "schema": {"type": "string"}}}


@router.post(
    "/execution-units",
    status_code=201,
    summary="Register a unit",
    responses=errors(*_BODY) | success(201, "RegisteredUnit", headers=_LOCATION),
)
async def register_unit(
    using: Using, body: Annotated[Given[Registration], Depends(REGISTER)], response: Response
) -> bytes:
    """Register an HTTP unit. A unit that registers again under its type and name keeps its id."""
    unit = await using.http_units.register(replace(body.read, config=body.documents.get("config", {})))
    response.headers["location"] = f"/api/execution-units/{quote(unit.id, safe='')}"
    return rendered(registered_unit_json(unit, using.units.intervals))


@router.get("/execution-units", summary="List units", responses=errors() | success(200, "UnitPage"))
async def list_units(using: Using, query: Annotated[Given[UnitQuery], Depends(LIST_UNITS)]) -> bytes:
    """List units by id."""
    found = [unit for unit in using.units.units() if query.read.matches(unit)]
    page, limit = query.extras["page"] or 1, query.read.page_size
    items = [unit_json(unit) for unit in found[(page - 1) * limit : page * limit]]
    return rendered({"items": items, "total": len(found), "page": page, "limit": limit})


@router.get("/execution-units/{unitId}", summary="Get a unit", responses=errors(404) | success(200, "ExecutionUnit"))
async def get_unit(using: Using, unit_id: UnitId) -> bytes:
    """Return a unit."""
    return rendered(unit_json(using.units.unit(unit_id)))


@router.delete("/execution-units/{unitId}", status_code=204, summary="Delete a unit", responses=errors(404, 409))
async def delete_unit(using: Using, unit_id: UnitId) -> None:
    """Delete the record of a unit that is OFFLINE and has no RUNNING tasks."""
    await using.units.delete_unit(unit_id)


@router.post(
    "/execution-units/{unitId}/heartbeat",
    summary="Renew a lease",
    responses=errors(404, 409, *_BODY) | success(200, "ExecutionUnit"),
)
async def heartbeat(using: Using, body: Annotated[Given[tuple[str, int | None]], Depends(HEARTBEAT)]) -> bytes:
    """Renew the lease of an HTTP unit; `capacity` changes its slots."""
    return rendered(unit_json(await using.http_units.heartbeat(*body.read)))


@router.post(
    "/execution-units/{unitId}/drain",
    summary="Drain a unit",
    responses=errors(404, 409, 504, *_BODY) | success(200, "ExecutionUnit"),
)
async def drain_unit(using: Using, body: Annotated[Given[tuple[str, DrainOrder]], Depends(DRAIN)]) -> bytes:
    """Drain a unit: its tasks continue on other units, and the unit leaves. Waits until the unit has left."""
    return rendered(unit_json(await using.units.drain(*body.read, body.extras["wait"])))


@router.post(
    "/tasks/{taskId}/status",
    summary="Report on an attempt",
    responses=errors(404, 409, *_BODY) | success(200, "TaskStatusResponse"),
)
async def report_status(using: Using, task_id: TaskId, body: StatusCallback) -> bytes:
    """Apply a unit's report on an attempt. 409 (STALE_ATTEMPT): nothing changed, and the unit must stop the attempt."""
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
