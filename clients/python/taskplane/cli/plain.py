"""A watch as plain lines, for logs and pipes: a line for each event, no control characters."""

from datetime import datetime

import typer

from taskplane.cli.board import Row
from taskplane.cli.formatting import clean, percent_of, state_of, status_name
from taskplane.v1.task_pb2 import TASK_STATUS_UNSPECIFIED, Task, TaskTransition
from taskplane.v1.task_service_pb2 import WatchTasksResponse


class PlainLines:
    """Prints the news of each event."""

    def __init__(self) -> None:
        self._states: dict[int, str] = {}

    def show(self, event: WatchTasksResponse, row: Row | None) -> None:
        """Print a line, unless the event has no news."""
        if row is None:
            return
        news = self._news(event, row)
        if news:
            typer.echo(f"{datetime.now().astimezone():%H:%M:%S} task {row.task.id} {clean(row.task.task_name)}: {news}")

    def _news(self, event: WatchTasksResponse, row: Row) -> str:
        state = state_of(row.task)
        is_new = self._states.get(row.task.id) != state
        self._states[row.task.id] = state
        match event.WhichOneof("event"):
            case "transition":
                return change(event.transition.transition, row.task)
            case "progress":
                return how_far(row.task)
            case "deleted":
                return "deleted"
            case _:
                return f"{state} {how_far(row.task)}".strip() if is_new else ""


def change(transition: TaskTransition, task: Task) -> str:
    """Return both statuses of a change, its caller and its reason."""
    to_status = status_name(transition.to_status)
    by = f"by {transition.changed_by}" if transition.changed_by else ""
    why = ": ".join(part for part in (by, transition.reason) if part)
    if transition.from_status == TASK_STATUS_UNSPECIFIED:
        return clean(f"{to_status} {why}")
    return clean(f"{status_name(transition.from_status)} -> {to_status} {why}")


def how_far(task: Task) -> str:
    """Return the progress with the unit's message."""
    return clean(f"{percent_of(task)} {task.progress.message}")
