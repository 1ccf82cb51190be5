"""The routes of watches: server-sent events of one task or of all."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query
from pydantic import Field

from taskplane.gateway.bodies import StrictRoute
from taskplane.gateway.event_stream import EventStream
from taskplane.gateway.openapi import errors
from taskplane.gateway.parameters import TaskId, check_query
from taskplane.gateway.schema import MAX_NUMBER, Digits, Schema, TaskType
from taskplane.gateway.services import Services, Using
from taskplane.gateway.task_requests import StatusName
from taskplane.server.core.task import TaskStatus
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


class TaskEventsQuery(Schema):
    """From where to watch."""

    after_revision: Annotated[
        _Revision | None, Field(description="Go on after this revision instead of beginning with a snapshot.")
    ] = None
    snapshot: Annotated[
        Literal["true", "false"], Field(description="Whether to begin with a snapshot, if not after a revision.")
    ] = "true"


class EventsQuery(TaskEventsQuery):
    """The same, and which tasks."""

    task_type: TaskType | None = None
    status: Annotated[
        StatusName | None,
        Field(description="Tasks in this status only, and transitions into and out of it; deletions of all."),
    ] = None


@router.get(
    "/tasks/{taskId}/events",
    status_code=200,
    summary="Watch a task",
    response_class=EventStream,
    responses=_STREAM | errors(404),
)
async def watch_task(
    using: Using,
    task_id: TaskId,
    query: Annotated[TaskEventsQuery, Query()],
    last_event_id: LastEventId = None,
) -> EventStream:
    """Tell how the task is, then every transition in order and without a gap, and progress twice a second at most."""
    after = query.after_revision if last_event_id is None else last_event_id
    asked = WatchQuery(
        task_ids=(task_id,), after_revision=after, with_snapshot=query.snapshot == "true", include_progress=True
    )
    return await _stream(using, asked)


@router.get(
    "/events", status_code=200, summary="Watch all tasks", response_class=EventStream, responses=_STREAM | errors()
)
async def watch_tasks(
    using: Using, query: Annotated[EventsQuery, Query()], last_event_id: LastEventId = None
) -> EventStream:
    """Tell how all tasks are, or those of a type, then what happens to them."""
    after = query.after_revision if last_event_id is None else last_event_id
    types = (query.task_type,) if query.task_type else ()
    asked = WatchQuery(
        task_types=types,
        statuses=(TaskStatus(query.status),) if query.status else (),
        after_revision=after,
        with_snapshot=query.snapshot == "true",
        include_progress=True,
    )
    return await _stream(using, asked)


async def _stream(using: Services, query: WatchQuery) -> EventStream:
    guard = StallGuard(WRITE_SECONDS)
    events = using.watches.watch(query, guard)
    try:
        # What is wrong with the request shows with the first event, while it can still be answered.
        first = await anext(events)
    except BaseException:
        await events.aclose()
        raise
    return EventStream(first, events, guard)
