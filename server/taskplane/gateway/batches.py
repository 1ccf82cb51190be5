"""The routes of many tasks at once."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends

from taskplane.gateway.bodies import StrictRoute
from taskplane.gateway.openapi import errors
from taskplane.gateway.parameters import check_query
from taskplane.gateway.requests import Given
from taskplane.gateway.responses import in_json, rendered, success
from taskplane.gateway.services import Using
from taskplane.gateway.task_requests import BATCH_CONTROL, BATCH_CREATE
from taskplane.gateway.task_responses import tasks_body
from taskplane.server.core.verbs import CallContext
from taskplane.server.idempotency.keys import IdempotencyKey
from taskplane.server.rpc.messages import batch_result_message
from taskplane.server.services.batch_control import BatchOrder
from taskplane.server.tasks.mutations import TaskSpec

router = APIRouter(prefix="/api/batch", tags=["tasks"], route_class=StrictRoute, dependencies=[Depends(check_query)])

_BODY = (408, 413, 415)


@router.post(
    "/create",
    status_code=201,
    summary="Create many tasks",
    responses=errors(404, *_BODY) | success(201, "BatchCreateTasksResponse"),
)
async def create_tasks(
    using: Using, body: Annotated[Given[tuple[Sequence[TaskSpec], CallContext]], Depends(BATCH_CREATE)]
) -> bytes:
    """Create up to 1000 tasks, all or none. Much faster than single calls."""
    specs, caller = body.read
    documents = body.documents
    specs = [replace(spec, config=documents.get(f"tasks[{index}].config", {})) for index, spec in enumerate(specs)]

    async def create(key: IdempotencyKey | None) -> bytes:
        return await tasks_body(await using.tasks.create(specs, caller, key))

    return await using.responses.call(body.key, create, bytes, bytes)


@router.post(
    "/control",
    summary="Control many tasks",
    responses=errors(404, 504, *_BODY) | success(200, "BatchControlTasksResponse"),
)
async def control_tasks(
    using: Using, body: Annotated[Given[tuple[BatchOrder, CallContext]], Depends(BATCH_CONTROL)]
) -> bytes:
    """Apply a verb to the tasks of either `taskIds` or `filter`, in one transaction; a result for each, by id.

    Commands are recorded; the call does not wait for their effects. The error of a task does not affect other tasks.
    """
    order, caller = body.read

    async def control(key: IdempotencyKey | None) -> bytes:
        errors = await using.batches.control(order, caller, key)
        return rendered({"results": [in_json(batch_result_message(*each)) for each in errors.items()]})

    key = None if order.validate_only else body.key
    return await using.responses.call(key, control, bytes, bytes)
