"""A watch as plain lines, for logs and pipes: one for each event, no control characters."""

from datetime import datetime

import typer

from taskplane.cli.board import Row
from taskplane.cli.words import clean, percent_of, state_of, status_name
from taskplane.v1.task_pb2 import TASK_STATUS_UNSPECIFIED, Task, TaskTransition
from taskplane.v1.task_service_pb2 import WatchTasksResponse


class PlainLines:
    """Prints what is new of each event."""

    def __init__(self) -> None:
        self._states: dict[int, str] = {}

    def show(self, event: WatchTasksResponse, row: Row | None) -> None:
        """Prints a line, unless the event says nothing new."""
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
    """From which status to which, by whom and why."""
    to_status = status_name(transition.to_status)
    by = f"by {transition.changed_by}" if transition.changed_by else ""
    why = ": ".join(part for part in (by, transition.reason) if part)
    if transition.from_status == TASK_STATUS_UNSPECIFIED:
        return clean(f"{to_status} {why}")
    return clean(f"{status_name(transition.from_status)} -> {to_status} {why}")


def how_far(task: Task) -> str:
    """The progress with the unit's words on it."""
    return clean(f"{percent_of(task)} {task.progress.message}")
