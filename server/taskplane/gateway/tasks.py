"""The routes of a task: create, get, list, verbs, update, delete, and its records."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from taskplane.gateway.bodies import StrictRoute
from taskplane.gateway.errors import InvalidRequest
from taskplane.gateway.leaving import while_connected
from taskplane.gateway.openapi import errors
from taskplane.gateway.parameters import TaskId, check_query
from taskplane.gateway.requests import Given
from taskplane.gateway.responses import in_json, rendered, success
from taskplane.gateway.services import Services, Using
from taskplane.gateway.task_requests import (
    CANCEL,
    CHECKPOINTS,
    COMMANDS,
    CREATE,
    DELETE,
    HISTORY,
    LIST,
    PAUSE,
    RESTART,
    RESUME,
    START,
    UPDATE,
    rows_before,
    wait_until,
)
from taskplane.gateway.task_responses import checkpoint_json, page_body, task_body
from taskplane.server.core.errors import FieldViolation
from taskplane.server.core.off_loop import off_loop
from taskplane.server.core.verbs import CallContext, Update
from taskplane.server.idempotency.keys import IdempotencyKey
from taskplane.server.rpc.messages import command_message, transition_message
from taskplane.server.services.pages import TaskQuery
from taskplane.server.services.view import TaskView
from taskplane.server.store.reading import MAX_ROWS_BYTES
from taskplane.server.tasks.mutations import TaskSpec

router = APIRouter(prefix="/api/tasks", tags=["tasks"], route_class=StrictRoute, dependencies=[Depends(check_query)])

_Verb = Callable[[int, CallContext, IdempotencyKey | None, float | None], Awaitable[TaskView]]
_VerbBody = Given[tuple[int, CallContext, int]]
_BODY = (408, 413, 415)
_VERB = errors(404, 409, 412, 504, *_BODY) | success(200, "Task")
_LOCATION = {"Location": {"description": "Path of the task.", "schema": {"type": "string"}}}


@router.post(
    "",
    status_code=201,
    summary="Create a task",
    responses=errors(404, *_BODY) | success(201, "Task", headers=_LOCATION),
)
async def create_task(
    using: Using, body: Annotated[Given[tuple[TaskSpec, CallContext]], Depends(CREATE)], response: Response
) -> bytes:
    """Create a task in PENDING, queued at once if `start` is true. Returns when the task is durable."""
    spec, caller = body.read
    spec = replace(spec, config=body.documents.get("config", {}))

    async def create(key: IdempotencyKey | None) -> bytes:
        (view,) = await using.tasks.create([spec], caller, key)
        response.headers["location"] = f"{router.prefix}/{view.task.id}"
        return await task_body(view)

    task = await using.responses.call(body.key, create, bytes, bytes)
    if "location" not in response.headers:
        # A repeat, which gets the first response.
        response.headers["location"] = f"{router.prefix}/{json.loads(task)['id']}"
    return task


@router.get("", summary="List tasks", responses=errors(504) | success(200, "TaskPage"))
async def list_tasks(request: Request, using: Using, query: Annotated[Given[TaskQuery], Depends(LIST)]) -> bytes:
    """List tasks in pages, by number or by token.

    A page of large tasks ends early, with a token. A numbered page of this size is refused: choose a smaller limit.
    """
    number, limit, has_token = query.extras["page"], query.read.page_size, bool(query.read.page_token)
    found = replace(query.read, skip=rows_before(query.read, number))
    page = await while_connected(request, using.tasks.list(found))
    if page.is_cut and number:
        large = f"makes a page of more than {MAX_ROWS_BYTES // 2**20} MiB; ask for less, or follow nextPageToken"
        raise InvalidRequest(FieldViolation("limit", large))
    return await page_body(page, number=None if has_token else number or 1, limit=limit)


@router.get("/{taskId}", summary="Get a task", responses=errors(404) | success(200, "Task"))
async def get_task(using: Using, task_id: TaskId) -> bytes:
    """Return a task, with the data of its newest checkpoint."""
    return await task_body(await using.tasks.get(task_id), with_checkpoint_data=True)


@router.delete("/{taskId}", status_code=204, summary="Delete a task", responses=errors(404, 409, 412))
async def delete_task(using: Using, query: Annotated[Given[tuple[int, CallContext]], Depends(DELETE)]) -> None:
    """Delete a task that is SUCCESS, FAILED or CANCELLED, with its history and checkpoints."""
    task_id, caller = query.read

    async def delete(key: IdempotencyKey | None) -> None:
        await using.tasks.delete(task_id, caller, key)

    await using.responses.call(query.key, delete, lambda _: b"", lambda _: None)


@router.post("/{taskId}/start", summary="Start a task", responses=_VERB)
async def start_task(using: Using, body: Annotated[_VerbBody, Depends(START)]) -> bytes:
    """Queue a PENDING task, and wait for RUNNING if a slot is free. Otherwise the task has a `waitingReason`."""
    return await _control(using, using.tasks.start, body)


@router.post("/{taskId}/pause", summary="Pause a task", responses=_VERB)
async def pause_task(using: Using, body: Annotated[_VerbBody, Depends(PAUSE)]) -> bytes:
    """Pause a RUNNING task at its next safe point. Returns when its checkpoint is durable."""
    return await _control(using, using.tasks.pause, body)


@router.post("/{taskId}/resume", summary="Resume a task", responses=_VERB)
async def resume_task(using: Using, body: Annotated[_VerbBody, Depends(RESUME)]) -> bytes:
    """Resume a PAUSED task from memory, from its last checkpoint, or from `checkpointNumber`."""
    return await _control(using, partial(using.tasks.resume, checkpoint_number=body.read[2]), body)


@router.post("/{taskId}/cancel", summary="Cancel a task", responses=_VERB)
async def cancel_task(using: Using, body: Annotated[_VerbBody, Depends(CANCEL)]) -> bytes:
    """Cancel a task that is not final; the unit stops and cleans up."""
    return await _control(using, using.tasks.cancel, body)


@router.post("/{taskId}/restart", summary="Restart a task", responses=_VERB)
async def restart_task(using: Using, body: Annotated[_VerbBody, Depends(RESTART)]) -> bytes:
    """Queue a FAILED or CANCELLED task again, to run from scratch or from `checkpointNumber`."""
    return await _control(using, partial(using.tasks.restart, checkpoint_number=body.read[2]), body)


@router.patch("/{taskId}", summary="Update a task", responses=errors(404, 409, 412, *_BODY) | success(200, "Task"))
async def update_task(using: Using, body: Annotated[Given[tuple[int, CallContext, Update]], Depends(UPDATE)]) -> bytes:
    """Change priority, limits, labels or maxRetries of a task that is not final. Members left out stay as they are."""
    task_id, caller, new = body.read

    async def update(key: IdempotencyKey | None) -> bytes:
        return await task_body(await using.tasks.update(task_id, caller, key, new))

    return await using.responses.call(body.key, update, bytes, bytes)


@router.get(
    "/{taskId}/commands",
    summary="List a task's commands",
    responses=errors(404) | success(200, "ListTaskCommandsResponse"),
)
async def list_commands(using: Using, query: Annotated[Given[tuple[int, int, str]], Depends(COMMANDS)]) -> bytes:
    """List a task's pause, resume and cancel commands, newest first."""
    page = await using.tasks.commands(*query.read)
    items = [in_json(command_message(each)) for each in page.items]
    return rendered({"items": items, "nextPageToken": page.next_token or None})


@router.get(
    "/{taskId}/history",
    summary="List a task's transitions",
    responses=errors(404) | success(200, "ListTaskTransitionsResponse"),
)
async def list_transitions(using: Using, query: Annotated[Given[tuple[int, int, str]], Depends(HISTORY)]) -> bytes:
    """List a task's changes of status, oldest first."""
    page = await using.tasks.transitions(*query.read)
    items = [in_json(transition_message(each)) for each in page.items]
    return rendered({"items": items, "nextPageToken": page.next_token or None})


@router.get(
    "/{taskId}/checkpoints",
    summary="List a task's checkpoints",
    responses=errors(404) | success(200, "ListTaskCheckpointsResponse"),
)
async def list_checkpoints(using: Using, query: Annotated[Given[tuple[int, int]], Depends(CHECKPOINTS)]) -> bytes:
    """List a task's stored checkpoints, newest first, with their data."""
    found = await using.tasks.checkpoints(*query.read)
    return await off_loop(lambda: rendered({"items": list(map(checkpoint_json, found))}))


async def _control(using: Services, verb: _Verb, body: _VerbBody) -> bytes:
    task_id, caller, _ = body.read
    until = wait_until(body)

    async def call(key: IdempotencyKey | None) -> bytes:
        return await task_body(await verb(task_id, caller, key, until), with_checkpoint_data=True)

    return await using.responses.call(body.key, call, bytes, bytes)
