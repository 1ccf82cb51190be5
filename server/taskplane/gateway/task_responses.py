"""Tasks and their records as JSON. Documents come from the record itself, so that whole numbers stay exact."""

from collections.abc import Sequence
from typing import Any

from taskplane.gateway.responses import in_json, object_schema, reference, rendered
from taskplane.server.core.off_loop import off_loop
from taskplane.server.core.task import Checkpoint
from taskplane.server.rpc.messages import checkpoint_message, is_heavy, record_message
from taskplane.server.services.pages import TaskPage
from taskplane.server.services.view import TaskView
from taskplane.server.store.reading import COUNT_CAP

# Above this number, tasks are converted away from the event loop.
_MANY = 50

TASK_PAGE: dict[str, Any] = object_schema(
    {
        "items": {"type": "array", "items": reference("Task")},
        "total": {"type": "integer", "description": f"Number of matching tasks, counted up to {COUNT_CAP}."},
        "totalIsCapped": {"type": "boolean", "description": "More tasks match than `total`."},
        "page": {"anyOf": [{"type": "integer"}, {"type": "null"}], "description": "Null for a page by token."},
        "limit": {"type": "integer"},
        "nextPageToken": {"anyOf": [{"type": "string"}, {"type": "null"}], "description": "Null on the last page."},
    },
    "A page of tasks.",
)


STATUS_RESPONSE: dict[str, Any] = object_schema(
    {"verdict": {"type": "string", "enum": ["KEEP", "PAUSE"]}, "task": reference("Task")},
    "The server's answer to a unit: KEEP, the attempt is current; PAUSE, the unit must hold it; and the task.",
)


def task_json(view: TaskView, *, with_checkpoint_data: bool = False) -> dict[str, Any]:
    """Return a task as JSON."""
    task = view.task
    content = in_json(record_message(view), config=task.config, result=task.result)
    if with_checkpoint_data and task.checkpoint:
        content["checkpoint"]["data"] = task.checkpoint.data
    return content


async def task_body(view: TaskView, *, with_checkpoint_data: bool = False) -> bytes:
    """Return the response with a task."""
    if is_heavy(view.task):
        return await off_loop(lambda: rendered(task_json(view, with_checkpoint_data=with_checkpoint_data)))
    return rendered(task_json(view, with_checkpoint_data=with_checkpoint_data))


async def tasks_body(views: Sequence[TaskView]) -> bytes:
    """Return the response with tasks that were created, in the order of the request."""
    return await off_loop(lambda: rendered({"tasks": [task_json(view) for view in views]}))


async def page_body(page: TaskPage, *, number: int | None, limit: int) -> bytes:
    """Return the response with a page of tasks."""
    if len(page.tasks) > _MANY or any(is_heavy(view.task) for view in page.tasks):
        return await off_loop(_page, page, number, limit)
    return _page(page, number, limit)


def _page(page: TaskPage, number: int | None, limit: int) -> bytes:
    total = page.total or 0
    return rendered(
        {
            "items": [task_json(view) for view in page.tasks],
            "total": min(total, COUNT_CAP),
            "totalIsCapped": total > COUNT_CAP,
            "page": number,
            "limit": limit,
            "nextPageToken": page.next_token or None,
        }
    )


def checkpoint_json(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return a checkpoint with its data as JSON."""
    return in_json(checkpoint_message(checkpoint, with_data=False), data=checkpoint.data)
