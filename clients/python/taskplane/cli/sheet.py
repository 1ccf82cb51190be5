"""One task or unit as a sheet: a line for each field that is set, and documents below their names."""

import json
from collections.abc import Iterator, Mapping

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from rich.table import Table
from rich.text import Text

from taskplane.cli.document import sorted_dict
from taskplane.cli.formatting import age_of, duration_in_words, local_time, percent_of, status_name
from taskplane.cli.tables import plain, state_text, unit_state_text
from taskplane.v1.execution_unit_pb2 import ExecutionUnit, TaskTypeSupport
from taskplane.v1.operations_service_pb2 import GetStatisticsResponse
from taskplane.v1.task_pb2 import Task

Line = tuple[str, Text | str]


def task_sheet(task: Task) -> Table:
    """Return all fields of a task, with its checkpoint and result."""
    return _sheet(
        ("Task", f"{task.id}"),
        ("Name", plain(task.task_name)),
        ("Type", plain(task.task_type)),
        ("Status", state_text(task)),
        ("Waiting", plain(task.waiting_message)),
        ("Progress", plain(f"{percent_of(task)} {task.progress.message}")),
        ("Error", plain(task.error_message)),
        ("Unit", plain(f"{task.execution_unit_id} ({task.execution_unit_type})" if task.execution_unit_id else "")),
        ("Attempt", str(task.attempt)),
        ("Retries", f"{task.retry_count} of {task.max_retries}"),
        ("Priority", str(task.priority)),
        ("Labels", pairs(task.labels)),
        ("Unit labels", pairs(task.unit_labels)),
        *_times(task, "created_at", "queued_at", "started_at", "completed_at", "updated_at"),
        ("Not before", local_time(task.not_before) if task.HasField("not_before") else ""),
        ("Active", _span(task.active_time)),
        ("Paused", _span(task.paused_time)),
        ("Revision", str(task.revision)),
        ("Config", _json(task.config)),
        *_checkpoint(task),
        ("Result", _json(task.result) if task.HasField("result") else ""),
    )


def unit_sheet(unit: ExecutionUnit) -> Table:
    """Return all fields of a unit."""
    return _sheet(
        ("Unit", plain(unit.id)),
        ("Name", plain(unit.unit_name)),
        ("Type", plain(unit.unit_type)),
        ("Status", unit_state_text(unit)),
        ("Load", f"{unit.current_load} of {unit.capacity}"),
        *([("Runs", plain(_abilities(support))) for support in unit.task_types] or [("Runs", plain("any task type"))]),
        ("Labels", pairs(unit.labels)),
        ("Endpoint", plain(unit.endpoint)),
        ("SDK", plain(unit.sdk)),
        ("Session", plain(unit.session_id)),
        *_times(unit, "created_at", "last_heartbeat", "updated_at"),
    )


def statistics_sheet(statistics: GetStatisticsResponse, window: str) -> Table:
    """Return the current figures, and those of a window under the user's name for the window."""
    return _sheet(
        ("Taken", local_time(statistics.taken_at)),
        *((status_name(each.status), str(each.count)) for each in statistics.tasks),
        ("Queued", str(statistics.queued)),
        ("Oldest queued", _span(statistics.oldest_queued)),
        ("Units connected", str(statistics.units_connected)),
        ("Slots used", f"{statistics.slots_used} of {statistics.slots}"),
        (f"Ended in {window}", f"{statistics.finished_per_second:.3g} a second"),
        ("of them SUCCESS", f"{statistics.success_rate:.1%}" if statistics.finished_per_second else ""),
        ("mean active time", _span(statistics.mean_active_time)),
        (f"Failures in {window}", str(statistics.failures)),
    )


def pairs(labels: Mapping[str, str]) -> Text:
    """Return labels as key=value, sorted."""
    return plain(", ".join(f"{key}={value}" for key, value in sorted(labels.items())))


def _sheet(*lines: Line) -> Table:
    """Return a line for each value that is not empty."""
    sheet = Table.grid(padding=(0, 2))
    sheet.add_column(style="bold", no_wrap=True)
    sheet.add_column(overflow="fold")
    for name, value in lines:
        if str(value):
            sheet.add_row(name, value)
    return sheet


def _times(message: Message, *names: str) -> Iterator[Line]:
    for name in names:
        if message.HasField(name):
            moment: Timestamp = getattr(message, name)
            title = name.removesuffix("_at").replace("_", " ").capitalize()
            yield title, f"{local_time(moment)} ({age_of(moment)} ago)"


def _span(duration: Duration) -> str:
    return duration_in_words(duration.ToTimedelta().total_seconds()) if duration.ToNanoseconds() else ""


def _checkpoint(task: Task) -> Iterator[Line]:
    if task.HasField("checkpoint"):
        made = f"number {task.checkpoint.number}, attempt {task.checkpoint.attempt}"
        yield "Checkpoint", f"{made}, {local_time(task.checkpoint.created_at)}"
        yield "", _json(task.checkpoint.data)


def _abilities(support: TaskTypeSupport) -> str:
    abilities = [("pause", support.can_pause), ("checkpoint", support.can_checkpoint)]
    able = [name for name, can in abilities if can]
    return f"{support.task_type} (can {' and '.join(able)})" if able else support.task_type


def _json(struct: Struct) -> Text:
    return Text(json.dumps(sorted_dict(struct), indent=2, ensure_ascii=False))
