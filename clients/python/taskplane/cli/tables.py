"""Lists as tables: coloured and fitted on a terminal, plain and never cut in a pipe."""

import json
from collections.abc import Iterable

import typer
from rich.console import Console, RenderableType
from rich.text import Text

from taskplane.cli.document import sorted_dict
from taskplane.cli.formatting import STATUS_STYLES, age_of, clean, local_time, percent_of, state_of, status_name
from taskplane.cli.list_table import Column, ListTable
from taskplane.v1.execution_unit_pb2 import (
    EXECUTION_UNIT_STATUS_AVAILABLE,
    EXECUTION_UNIT_STATUS_BUSY,
    EXECUTION_UNIT_STATUS_OFFLINE,
    ExecutionUnit,
    ExecutionUnitStatus,
)
from taskplane.v1.task_pb2 import TASK_STATUS_UNSPECIFIED, Task, TaskCheckpoint, TaskTransition
from taskplane.v1.task_service_pb2 import BatchControlResult

# Wider than any row, so that nothing is cut or wrapped for a program that reads.
UNLIMITED_COLUMNS = 100_000

UNIT_STYLES = {
    EXECUTION_UNIT_STATUS_AVAILABLE: "green",
    EXECUTION_UNIT_STATUS_BUSY: "yellow",
    EXECUTION_UNIT_STATUS_OFFLINE: "bright_black",
}


def show(renderable: RenderableType) -> None:
    """Print to stdout: fitted to a terminal, or as wide as the rows and without trailing blanks in a pipe."""
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(renderable)
        return
    console.width = UNLIMITED_COLUMNS
    with console.capture() as captured:
        console.print(renderable)
    typer.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def task_table(tasks: Iterable[Task]) -> ListTable:
    """Return a row for each task."""
    table = ListTable(
        Column("ID"),
        Column("NAME", least=14),
        Column("TYPE", least=6),
        Column("STATUS", least=19),
        Column("PROGRESS"),
        Column("UNIT", least=8),
        Column("ATTEMPT", optional=True),
        Column("AGE"),
    )
    for task in tasks:
        table.add_row(
            str(task.id),
            plain(task.task_name),
            plain(task.task_type),
            state_text(task),
            percent_of(task),
            plain(task.execution_unit_id),
            str(task.attempt),
            age_of(task.created_at),
        )
    return table


def outcome_table(results: Iterable[BatchControlResult]) -> ListTable:
    """Return a row for each task of a batch: OK, or the reason and the message of its error."""
    table = ListTable(Column("ID"), Column("RESULT"), Column("MESSAGE", least=20, wraps=True))
    for result in results:
        table.add_row(str(result.task_id), plain(result.reason or "OK"), plain(result.message))
    return table


def unit_table(units: Iterable[ExecutionUnit]) -> ListTable:
    """Return a row for each unit."""
    table = ListTable(
        Column("ID", least=20, wraps=True),
        Column("NAME", least=8),
        Column("TYPE", least=8, optional=True),
        Column("STATUS"),
        Column("LOAD"),
        Column("TASK TYPES", least=10),
        Column("HEARD"),
        Column("SDK", optional=True),
    )
    for unit in units:
        table.add_row(
            plain(unit.id),
            plain(unit.unit_name),
            plain(unit.unit_type),
            unit_state_text(unit),
            f"{unit.current_load}/{unit.capacity}",
            plain(", ".join(support.task_type for support in unit.task_types) or "any"),
            age_of(unit.last_heartbeat) if unit.HasField("last_heartbeat") else "",
            plain(unit.sdk),
        )
    return table


def history_table(transitions: Iterable[TaskTransition]) -> ListTable:
    """Return a row for each change of status."""
    table = ListTable(
        Column("REVISION"),
        Column("WHEN"),
        Column("FROM → TO"),
        Column("ATTEMPT", optional=True),
        Column("BY", least=6),
        Column("REASON", least=12, wraps=True),
    )
    for entry in transitions:
        table.add_row(
            str(entry.revision),
            local_time(entry.changed_at),
            change_text(entry),
            str(entry.attempt),
            plain(entry.changed_by),
            plain(entry.reason),
        )
    return table


def checkpoint_table(checkpoints: Iterable[TaskCheckpoint]) -> ListTable:
    """Return a row for each checkpoint, with its data."""
    table = ListTable(Column("NUMBER"), Column("WHEN"), Column("ATTEMPT"), Column("DATA", least=20, wraps=True))
    for checkpoint in checkpoints:
        data = plain(json.dumps(sorted_dict(checkpoint.data), ensure_ascii=False))
        table.add_row(str(checkpoint.number), local_time(checkpoint.created_at), str(checkpoint.attempt), data)
    return table


def state_text(task: Task) -> Text:
    """Return the task's state in the colour of its status."""
    return Text(state_of(task), style=STATUS_STYLES.get(task.status, ""))


def unit_state_text(unit: ExecutionUnit) -> Text:
    """Return the unit's status in its colour, with "draining" during a drain."""
    name = ExecutionUnitStatus.Name(unit.status).removeprefix("EXECUTION_UNIT_STATUS_")
    return Text(f"{name}, draining" if unit.draining else name, style=UNIT_STYLES.get(unit.status, ""))


def change_text(entry: TaskTransition) -> Text:
    """Return both statuses of a change; a creation has no first one."""
    to_status = Text(status_name(entry.to_status), style=STATUS_STYLES.get(entry.to_status, ""))
    if entry.from_status == TASK_STATUS_UNSPECIFIED:
        return Text("→ ").append_text(to_status)
    return Text(f"{status_name(entry.from_status)} → ").append_text(to_status)


def plain(text: str) -> Text:
    """Return a text without markup and control characters."""
    return Text(clean(text))
