"""Tables on a terminal of 80 columns."""

import io
from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console

from taskplane.cli.list_table import Column, ListTable
from taskplane.cli.tables import checkpoint_table, history_table, outcome_table, task_table, unit_table
from taskplane.client import to_struct
from taskplane.v1.execution_unit_pb2 import EXECUTION_UNIT_STATUS_AVAILABLE, ExecutionUnit, TaskTypeSupport
from taskplane.v1.task_pb2 import (
    TASK_STATUS_CANCELLED,
    TASK_STATUS_PENDING,
    TASK_STATUS_RUNNING,
    WAITING_REASON_UNITS_BUSY,
    Progress,
    Task,
    TaskCheckpoint,
    TaskTransition,
)
from taskplane.v1.task_service_pb2 import BatchControlResult

NOW = Timestamp(seconds=int(datetime.now(UTC).timestamp()))


def lines(table: ListTable, width: int = 80) -> list[str]:
    screen = io.StringIO()
    Console(file=screen, force_terminal=True, width=width, color_system=None, _environ={}).print(table)
    printed = screen.getvalue().splitlines()
    assert all(len(line) <= width for line in printed)
    return printed


def test_a_row_of_a_task_fits() -> None:
    task = Task(
        id=1_234_567,
        task_name="a long name for a nightly import",
        task_type="DATA_PROCESSING",
        status=TASK_STATUS_PENDING,
        queued_at=NOW,
        waiting_reason=WAITING_REASON_UNITS_BUSY,
        progress=Progress(fraction=0.42),
        execution_unit_id="data-processing-unit-17",
        created_at=NOW,
    )
    header, row = lines(task_table([task]))
    assert header.split() == ["ID", "NAME", "TYPE", "STATUS", "PROGRESS", "UNIT", "AGE"]
    assert row.startswith("1234567  a long name f…")
    assert "  PENDING, units busy  42% " in row


def test_a_row_of_a_unit_fits_and_its_id_is_whole() -> None:
    unit = ExecutionUnit(
        id="u" * 36,
        unit_name="data-processing-unit",
        unit_type="DATA_PROCESSOR",
        status=EXECUTION_UNIT_STATUS_AVAILABLE,
        capacity=100,
        task_types=[TaskTypeSupport(task_type="DATA_PROCESSING"), TaskTypeSupport(task_type="DATABASE_BACKUP")],
        last_heartbeat=NOW,
        sdk="taskplane-python 0.1.0",
    )
    header, *rows = lines(unit_table([unit]))
    assert header.split() == ["ID", "NAME", "STATUS", "LOAD", "TASK", "TYPES", "HEARD"]
    assert "".join(row.split()[0] for row in rows) == "u" * 36
    assert all(text in rows[0] for text in ("AVAILABLE", "0/100"))


def test_reasons_messages_and_data_wrap_and_lose_nothing() -> None:
    words = [f"word{number}" for number in range(30)]
    text = " ".join(words)
    change = TaskTransition(
        revision=10**9,
        from_status=TASK_STATUS_RUNNING,
        to_status=TASK_STATUS_CANCELLED,
        changed_at=NOW,
        changed_by="operator@example.com",
        reason=text,
    )
    result = BatchControlResult(task_id=7, code=9, reason="ILLEGAL_TRANSITION", message=text)
    checkpoint = TaskCheckpoint(number=7, created_at=NOW, data=to_struct({"text": text}))
    for table in (history_table([change]), outcome_table([result]), checkpoint_table([checkpoint])):
        printed = lines(table)
        assert all(word in "\n".join(printed) for word in words)
    assert "RUNNING → CANCELLED" in "\n".join(lines(history_table([change])))


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (40, ["KEY  TEXT        EXTRA", "1    abcdefghij  x"]),
        (21, ["KEY  TEXT", "1    abcdefghij"]),
        (13, ["KEY  TEXT", "1    abcdefg…"]),
        (9, ["KEY  TEXT", "1    abc…"]),
    ],
)
def test_optional_columns_go_before_others_are_cut(width: int, expected: list[str]) -> None:
    table = ListTable(Column("KEY"), Column("TEXT", least=4), Column("EXTRA", optional=True))
    table.add_row("1", "abcdefghij", "x")
    assert [line.rstrip() for line in lines(table, width)] == expected


def test_a_table_without_rows_has_its_titles() -> None:
    assert lines(ListTable(Column("ID"), Column("NAME", least=4)))[0].split() == ["ID", "NAME"]
