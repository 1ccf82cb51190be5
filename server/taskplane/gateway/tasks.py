"""The routes of tasks: create, look, control, delete."""

import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from taskplane.gateway.bodies import StrictRoute
from taskplane.gateway.leaving import while_connected
from taskplane.gateway.once import Kept, idempotency_key, once
from taskplane.gateway.openapi import errors
from taskplane.gateway.parameters import TaskId, check_query
from taskplane.gateway.services import Services, Using
from taskplane.gateway.task_answers import CheckpointListAnswer, TaskAnswer, TaskPageAnswer, TransitionPageAnswer
from taskplane.gateway.task_requests import (
    Control,
    ControlFromCheckpoint,
    DeletionQuery,
    NewTask,
    PageQuery,
    TaskListQuery,
)
from taskplane.server.core.documents import is_large
from taskplane.server.core.errors import FieldViolation, InvalidFields
from taskplane.server.core.off_loop import off_loop
from taskplane.server.core.verbs import CallContext
from taskplane.server.idempotency.keys import IdempotencyKey
from taskplane.server.services.view import TaskView
from taskplane.server.store.reading import MAX_ROWS_BYTES

router = APIRouter(prefix="/api/tasks", tags=["tasks"], route_class=StrictRoute, dependencies=[Depends(check_query)])

_Verb = Callable[[int, CallContext, IdempotencyKey | None, float | None], Awaitable[TaskView]]
_BODY = (408, 413, 415)
_VERB = errors(404, 409, 412, 504, *_BODY)


@router.post(
    "",
    status_code=201,
    response_model=TaskAnswer,
    summary="Create a task",
    responses=errors(404, *_BODY)
    | {201: {"headers": {"Location": {"description": "Path of the task.", "schema": {"type": "string"}}}}},
)
async def create_task(using: Using, body: NewTask, response: Response) -> TaskAnswer | Kept:
    """Create a task in PENDING, queued at once if `start` is true. Answers when it is durable."""

    async def create(key: IdempotencyKey | None) -> TaskAnswer:
        (view,) = await using.tasks.create([body.spec()], body.ask(), key)
        return TaskAnswer.of(view)

    key = (
        await off_loop(idempotency_key, "CreateTask", "", body)
        if is_large(body.config)
        else idempotency_key("CreateTask", "", body)
    )
    task = await once(using.responses, key, create)
    task_id = json.loads(task)["id"] if isinstance(task, Kept) else task.id
    response.headers["location"] = f"{router.prefix}/{task_id}"
    return task


@router.get("", summary="List tasks", responses=errors(504))
async def list_tasks(request: Request, using: Using, query: Annotated[TaskListQuery, Query()]) -> TaskPageAnswer:
    """List tasks in pages, by number or, however deep, by token.

    A page of large tasks ends early and has a token; if it is numbered, a smaller limit is asked for instead.
    """
    page = await while_connected(request, using.tasks.list(query.query()))
    if page.is_cut and query.page:
        large = f"makes a page of more than {MAX_ROWS_BYTES // 2**20} MiB; ask for less, or follow nextPageToken"
        raise InvalidFields(FieldViolation("limit", large))
    number = None if query.page_token else query.page or 1
    return TaskPageAnswer.of(page, number=number, limit=query.limit)


@router.get("/{taskId}", summary="Get a task", responses=errors(404))
async def get_task(using: Using, task_id: TaskId) -> TaskAnswer:
    """Return a task, with the data of its newest checkpoint."""
    return TaskAnswer.of(await using.tasks.get(task_id), with_checkpoint_data=True)


@router.delete("/{taskId}", status_code=204, summary="Delete a task", responses=errors(404, 409, 412))
async def delete_task(using: Using, task_id: TaskId, query: Annotated[DeletionQuery, Query()]) -> None:
    """Delete a task that is SUCCESS, FAILED or CANCELLED, with its history and checkpoints."""

    async def delete(key: IdempotencyKey | None) -> None:
        await using.tasks.delete(task_id, query.ask(), key)

    key = idempotency_key("DeleteTask", task_id, query)
    await using.responses.call(key, delete, lambda _: b"", lambda _: None)


@router.post("/{taskId}/start", response_model=TaskAnswer, summary="Start a task", responses=_VERB)
async def start_task(using: Using, task_id: TaskId, body: Control | None = None) -> TaskAnswer | Kept:
    """Queue a PENDING task, and wait while a free slot is there for it. With none, it stays PENDING and says why."""
    return await _control(using, "StartTask", using.tasks.start, task_id, body or Control())


@router.post("/{taskId}/pause", response_model=TaskAnswer, summary="Pause a task", responses=_VERB)
async def pause_task(using: Using, task_id: TaskId, body: Control | None = None) -> TaskAnswer | Kept:
    """Pause a RUNNING task: it stops at its next safe point, and its checkpoint is durable when this answers."""
    return await _control(using, "PauseTask", using.tasks.pause, task_id, body or Control())


@router.post("/{taskId}/resume", response_model=TaskAnswer, summary="Resume a task", responses=_VERB)
async def resume_task(using: Using, task_id: TaskId, body: ControlFromCheckpoint | None = None) -> TaskAnswer | Kept:
    """Let a PAUSED task go on, from memory or its last checkpoint, or from the one that is chosen."""
    body = body or ControlFromCheckpoint()
    resume = partial(using.tasks.resume, checkpoint_number=body.checkpoint_number)
    return await _control(using, "ResumeTask", resume, task_id, body)


@router.post("/{taskId}/cancel", response_model=TaskAnswer, summary="Cancel a task", responses=_VERB)
async def cancel_task(using: Using, task_id: TaskId, body: Control | None = None) -> TaskAnswer | Kept:
    """Cancel a task that is not final; the unit stops and cleans up."""
    return await _control(using, "CancelTask", using.tasks.cancel, task_id, body or Control())


@router.post("/{taskId}/restart", response_model=TaskAnswer, summary="Restart a task", responses=_VERB)
async def restart_task(using: Using, task_id: TaskId, body: ControlFromCheckpoint | None = None) -> TaskAnswer | Kept:
    """Put a FAILED or CANCELLED task back in the queue, to run from scratch or from the checkpoint that is chosen."""
    body = body or ControlFromCheckpoint()
    restart = partial(using.tasks.restart, checkpoint_number=body.checkpoint_number)
    return await _control(using, "RestartTask", restart, task_id, body)


@router.get("/{taskId}/history", summary="List a task's transitions", responses=errors(404))
async def list_transitions(using: Using, task_id: TaskId, query: Annotated[PageQuery, Query()]) -> TransitionPageAnswer:
    """List a task's changes of status, oldest first."""
    return TransitionPageAnswer.of(await using.tasks.transitions(task_id, query.limit, query.page_token or ""))


@router.get("/{taskId}/checkpoints", summary="List a task's checkpoints", responses=errors(404))
async def list_checkpoints(using: Using, task_id: TaskId) -> CheckpointListAnswer:
    """List the checkpoints that are kept of a task, newest first, with their data."""
    return CheckpointListAnswer.of(await using.tasks.checkpoints(task_id))


async def _control(using: Services, method: str, verb: _Verb, task_id: int, body: Control) -> TaskAnswer | Kept:
    until = body.wait_until()

    async def call(key: IdempotencyKey | None) -> TaskAnswer:
        view = await verb(task_id, body.ask(), key, until)
        return TaskAnswer.of(view, with_checkpoint_data=True)

    return await once(using.responses, idempotency_key(method, task_id, body), call)
