"""Tasks as messages: every value equals the result of protobuf's slower conversions."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import example, given
from hypothesis import strategies as st
from support.builders import NOW, a_checkpoint, a_command, a_task, at

from taskplane.server.core.task import Limits, Progress, Task, TaskStatus, Verb
from taskplane.server.execution_units.waiting import Waiting, WaitingReason
from taskplane.server.rpc.messages import progress_message, seconds_message, task_message
from taskplane.server.services.view import TaskView
from taskplane.v1 import task_pb2

MOMENTS = st.datetimes(timezones=st.just(UTC) | st.just(timezone(timedelta(hours=5, minutes=30))))
CONFIG = {"inputPath": "/data/users.csv", "batchSize": 1000, "validationRules": ["email"]}

# A value of each optional field, and the expected content of the message field.
OPTIONAL: dict[str, tuple[Any, Any]] = {
    "execution_unit_id": ("unit-9", "unit-9"),
    "execution_unit_type": ("CONVERTER", "CONVERTER"),
    "error_message": ("disk full", "disk full"),
    "labels": ({"a": "b"}, {"a": "b"}),
    "unit_labels": ({"gpu": "yes"}, {"gpu": "yes"}),
    **{
        name: (at(index), f"2026-01-02T03:04:{5 + index:02}.678901Z")
        for index, name in enumerate(("started_at", "completed_at", "queued_at", "not_before"))
    },
    "result": ({"rows": 3}, {"rows": 3}),
    "progress": (
        Progress(0.5, "half", NOW),
        {"fraction": 0.5, "message": "half", "reported_at": "2026-01-02T03:04:05.678901Z"},
    ),
    "checkpoint": (
        a_checkpoint(7),
        {"number": "7", "attempt": 1, "created_at": "2026-01-02T03:04:05.678901Z"},
    ),
    "limits": (Limits(run_budget=timedelta(seconds=1.5)), {"run_budget": "1.500s"}),
}
ALWAYS = {
    "id": "1",
    "task_name": "convert users.csv",
    "task_type": "DATA_PROCESSING",
    "status": "TASK_STATUS_PENDING",
    "config": {},
    "max_retries": 3,
    "created_at": "2026-01-02T03:04:05.678901Z",
    "updated_at": "2026-01-02T03:04:05.678901Z",
    "active_time": "0s",
    "paused_time": "0s",
}


def test_a_new_task_says_no_more_than_it_is() -> None:
    assert _said(a_task()) == ALWAYS


@pytest.mark.parametrize("name", OPTIONAL)
def test_an_optional_field_is_told_if_it_is_there(name: str) -> None:
    value, told = OPTIONAL[name]
    assert _said(a_task(**{name: value})) == ALWAYS | {name: told}


@pytest.mark.parametrize("name", ["config", "result"])
def test_an_empty_object_is_told_from_none(name: str) -> None:
    assert task_message(_seen(a_task(**{name: {}}))).HasField(name)  # type: ignore[arg-type]


def test_a_running_task_tells_its_times_at_the_moment_it_is_looked_at() -> None:
    task = a_task(TaskStatus.RUNNING, active_seconds=10.25, paused_seconds=3.0, pending_command=a_command(Verb.PAUSE))
    message = task_message(TaskView(task, None, at(1.5)))
    assert message.active_time.ToTimedelta() == timedelta(seconds=11.75)
    assert message.paused_time.ToTimedelta() == timedelta(seconds=3)
    assert message.pending_command.verb == task_pb2.COMMAND_VERB_PAUSE


def test_a_queued_task_tells_why_it_waits() -> None:
    message = task_message(TaskView(a_task(queued_at=NOW), Waiting(WaitingReason.UNITS_BUSY, "all are full"), NOW))
    assert message.waiting_reason == task_pb2.WAITING_REASON_UNITS_BUSY
    assert message.waiting_message == "all are full"


def test_the_data_of_a_checkpoint_is_told_if_it_is_asked_for() -> None:
    task = a_task(checkpoint=a_checkpoint(data=CONFIG))
    assert not task_message(_seen(task)).checkpoint.HasField("data")
    told = task_message(_seen(task), with_checkpoint_data=True).checkpoint.data
    assert told == json_format.ParseDict(CONFIG, Struct())


@given(MOMENTS)
@example(datetime(1970, 1, 1, tzinfo=UTC))
@example(datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC))
@example(datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC))
@example(datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC))
def test_a_time_is_exact(moment: datetime) -> None:
    try:
        expected = Timestamp()
        expected.FromDatetime(moment)
    except (ValueError, OverflowError):  # in UTC outside the years 1 to 9999
        return
    message = task_message(_seen(a_task(created_at=moment)))
    assert message.created_at == expected
    assert message.HasField("created_at")
    assert progress_message(Progress(0.5, "", moment)).reported_at == expected


@given(st.floats(min_value=0, max_value=1e9))
@example(0.0)
@example(0.9999999)
@example(1.5e-6)
def test_a_duration_is_that_of_protobuf(seconds: float) -> None:
    expected = Duration()
    expected.FromTimedelta(timedelta(seconds=seconds))
    assert seconds_message(seconds) == expected
    message = task_message(_seen(a_task(paused_seconds=seconds)))
    assert message.paused_time == expected
    assert message.HasField("paused_time")


def _seen(task: Task) -> TaskView:
    return TaskView(task, None, NOW)


def _said(task: Task) -> dict[str, Any]:
    message: Message = task_message(_seen(task))
    return json_format.MessageToDict(message, preserving_proto_field_name=True)
