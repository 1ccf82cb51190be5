"""States, times and fractions as text, without control characters."""

from collections.abc import Mapping
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from taskplane.v1.task_pb2 import (
    COMMAND_VERB_CANCEL,
    COMMAND_VERB_PAUSE,
    TASK_STATUS_CANCELLED,
    TASK_STATUS_FAILED,
    TASK_STATUS_PAUSED,
    TASK_STATUS_PENDING,
    TASK_STATUS_RUNNING,
    TASK_STATUS_SUCCESS,
    CommandVerb,
    Task,
    TaskStatus,
    WaitingReason,
)

STATUS_STYLES: Mapping[TaskStatus.ValueType, str] = {
    TASK_STATUS_PENDING: "yellow",
    TASK_STATUS_RUNNING: "blue",
    TASK_STATUS_SUCCESS: "green",
    TASK_STATUS_FAILED: "red",
    TASK_STATUS_PAUSED: "magenta",
    TASK_STATUS_CANCELLED: "bright_black",
}

FINAL_STATUSES = frozenset({TASK_STATUS_SUCCESS, TASK_STATUS_FAILED, TASK_STATUS_CANCELLED})

IN_BETWEEN: Mapping[CommandVerb.ValueType, str] = {
    COMMAND_VERB_PAUSE: "pausing",
    COMMAND_VERB_CANCEL: "cancelling",
}

MINUTE, HOUR, DAY = 60, 3_600, 86_400  # seconds


def status_name(status: TaskStatus.ValueType) -> str:
    """Return the name without prefix, such as RUNNING."""
    return TaskStatus.Name(status).removeprefix("TASK_STATUS_")


def state_of(task: Task) -> str:
    """Return the status or the state between two: "pausing", "PENDING, units busy", "PAUSED, resuming, units busy"."""
    if task.HasField("pending_command"):
        return IN_BETWEEN.get(task.pending_command.verb, status_name(task.status))
    if not task.HasField("queued_at"):
        return status_name(task.status)
    resuming = ["resuming"] if task.status == TASK_STATUS_PAUSED else []
    return ", ".join([status_name(task.status), *resuming, _waiting_for(task)])


def _waiting_for(task: Task) -> str:
    name = WaitingReason.Name(task.waiting_reason).removeprefix("WAITING_REASON_")
    return "queued" if name == "UNSPECIFIED" else name.lower().replace("_", " ")


def percent_of(task: Task) -> str:
    """Return the progress, such as 42%; empty if none was reported."""
    return f"{task.progress.fraction:.0%}" if task.HasField("progress") else ""


def age_of(moment: Timestamp) -> str:
    """Return the time since a moment, by the clock of this machine."""
    return duration_in_words((now() - moment.ToDatetime(UTC)).total_seconds())


def now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def duration_in_words(seconds: float) -> str:
    """Return a rounded duration: 7s, 3m05s, 2h10m, 4d3h."""
    whole = max(0, round(seconds))
    if whole < MINUTE:
        return f"{whole}s"
    if whole < HOUR:
        return f"{whole // MINUTE}m{whole % MINUTE:02}s"
    if whole < DAY:
        return f"{whole // HOUR}h{whole % HOUR // MINUTE:02}m"
    return f"{whole // DAY}d{whole % DAY // HOUR}h"


def local_time(moment: Timestamp) -> str:
    """Return a moment in local time, to the millisecond."""
    local = moment.ToDatetime(UTC).astimezone()
    return f"{local:%Y-%m-%d %H:%M:%S}.{local.microsecond // 1000:03}"


def clean(text: str) -> str:
    """Return a text on one line, without characters that move the cursor or colour the terminal."""
    return "".join(character if character.isprintable() else " " for character in text).strip()
