"""The routes of watches: server-sent events of one task or of all."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header
from pydantic import Field

from taskplane.gateway.bodies import StrictRoute
from taskplane.gateway.event_stream import EventStream
from taskplane.gateway.field_schemas import MAX_NUMBER
from taskplane.gateway.openapi import errors
from taskplane.gateway.parameters import check_query
from taskplane.gateway.requests import Given
from taskplane.gateway.schema import Digits
from taskplane.gateway.services import Services, Using
from taskplane.gateway.task_requests import WATCH, WATCH_TASK
from taskplane.server.services.stalls import WRITE_SECONDS, StallGuard
from taskplane.server.services.watch_events import WatchQuery

router = APIRouter(prefix="/api", tags=["events"], route_class=StrictRoute, dependencies=[Depends(check_query)])

_EXAMPLE = 'event: transition\nid: 42\ndata: {"transition": {"toStatus": "RUNNING"}, "task": {"id": 7}}\n\n'
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The events `snapshot`, `transition`, `changed`, `progress` and `deleted`, with JSON as data.",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EXAMPLE}},
    }
}

_Revision = Annotated[int, Field(ge=0, le=MAX_NUMBER), Digits]
LastEventId = Annotated[_Revision | None, Header(alias="Last-Event-ID", description="Go on after this event.")]


@router.get(
    "/tasks/{taskId}/events",
    status_code=200,
    summary="Watch a task",
    response_class=EventStream,
    responses=_STREAM | errors(404),
)
async def watch_task(
    using: Using, query: Annotated[Given[WatchQuery], Depends(WATCH_TASK)], last_event_id: LastEventId = None
) -> EventStream:
    """Stream a snapshot of the task, then every transition in order and without gaps, and progress."""
    return await _stream(using, query.read, last_event_id)


@router.get(
    "/events", status_code=200, summary="Watch all tasks", response_class=EventStream, responses=_STREAM | errors()
)
async def watch_tasks(
    using: Using, query: Annotated[Given[WatchQuery], Depends(WATCH)], last_event_id: LastEventId = None
) -> EventStream:
    """Stream a snapshot of all tasks, or of the tasks that match, then their changes."""
    return await _stream(using, query.read, last_event_id)


async def _stream(using: Services, query: WatchQuery, last_event_id: int | None) -> EventStream:
    if last_event_id is not None:
        query = replace(query, after_revision=last_event_id)
    guard = StallGuard(WRITE_SECONDS)
    events = using.watches.watch(query, guard)
    try:
        # Errors of the request are raised before the first event, when an error response is still possible.
        first = await anext(events)
    except BaseException:
        await events.aclose()
        raise
    return EventStream(first, events, guard)
