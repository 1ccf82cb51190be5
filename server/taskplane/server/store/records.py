"""Conversion of rows to core objects and back: the only code that knows the columns of a task."""

import json
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import JSON, Column, DateTime, Row, String, literal_column

from taskplane.server.core.command_log import CommandLogEntry, CommandState
from taskplane.server.core.limits import next_expiry
from taskplane.server.core.task import (
    Checkpoint,
    Limits,
    PendingCommand,
    Progress,
    Task,
    TaskStatus,
    Transition,
    Verb,
)
from taskplane.server.store import schema


def naive(moment: datetime | None) -> datetime | None:
    """Return a time as stored: UTC without a zone."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment else None


def aware(moment: datetime | None) -> datetime | None:
    """Return a stored time with its zone, UTC."""
    return moment.replace(tzinfo=UTC) if moment else None


def stored_time(moment: datetime) -> datetime:
    """Return a stored time with its zone, for columns without NULL."""
    return moment.replace(tzinfo=UTC)


# `json.dumps` with options would make an encoder for each call.
encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def json_text(value: Mapping[str, Any] | None) -> str | None:
    """Return the JSON text for a column; None stays NULL."""
    return None if value is None else encode(value)


def time_text(moment: datetime | None) -> str | None:
    """Return a time as text for every dialect, as SQLAlchemy's SQLite type writes it."""
    return None if moment is None else _time_text(moment)


@lru_cache(maxsize=1024)  # a transaction puts its own time into ten columns of each of its rows
def _time_text(moment: datetime) -> str:
    # All times in the server are UTC, so this is the text without its zone.
    return moment.isoformat(" ", "microseconds").removesuffix("+00:00")


_TASK_COLUMNS = tuple(schema.tasks.columns)
_TASK_NAMES = [column.name for column in _TASK_COLUMNS]
_TaskRow = namedtuple("_TaskRow", _TASK_NAMES)  # type: ignore[misc]  # noqa: PYI024  (the names are the schema's)
_TIMES = tuple(index for index, column in enumerate(_TASK_COLUMNS) if isinstance(column.type, DateTime))
_DOCUMENTS = tuple(index for index, column in enumerate(_TASK_COLUMNS) if isinstance(column.type, JSON))

# A whole row of `tasks` as one JSON array, for MySQL and MariaDB; `task_row` reads it.
# Text, because SQLAlchemy would compile each column for every query.
TASK_DOCUMENT = literal_column(f"JSON_ARRAY({', '.join(f'tasks.{name}' for name in _TASK_NAMES)})", String)


def task_row(document: Sequence[Any]) -> Any:
    """Return a row with all columns of `tasks`, for `task_of`, from a parsed TASK_DOCUMENT."""
    values = list(document)
    for index in _TIMES:
        if values[index]:
            values[index] = datetime.fromisoformat(values[index])
    for index in _DOCUMENTS:
        # MariaDB's JSON columns are texts, also within a document.
        if isinstance(values[index], str):
            values[index] = json.loads(values[index])
    return _TaskRow._make(values)


def task_of(row: Any) -> Task:
    """Build a task from a row with all columns of `tasks`."""
    return Task(
        id=row.id,
        task_name=row.task_name,
        task_type=row.task_type,
        status=TaskStatus(row.status),
        priority=row.priority,
        config=row.config or {},
        execution_unit_id=row.execution_unit_id,
        execution_unit_type=row.execution_unit_type,
        created_at=stored_time(row.created_at),
        updated_at=stored_time(row.updated_at),
        started_at=aware(row.started_at),
        completed_at=aware(row.completed_at),
        error_message=row.error_message,
        retry_count=row.retry_count,
        max_retries=row.max_retries,
        result=row.result,
        revision=row.revision,
        attempt=row.attempt,
        accepted_at=aware(row.accepted_at),
        progress=_progress_of(row),
        checkpoint=_checkpoint_of(row),
        last_checkpoint_number=row.last_checkpoint_number,
        queued_at=aware(row.queued_at),
        queued_by=row.queued_by or "",
        queued_reason=row.queued_reason or "",
        queued_command_id=row.queued_command_id or "",
        queued_checkpoint_number=row.queued_checkpoint_number,
        not_before=aware(row.not_before),
        pending_command=_pending_of(row),
        labels=row.labels or {},
        unit_labels=row.unit_labels or {},
        limits=_limits_of(row),
        active_seconds=row.active_seconds,
        paused_seconds=row.paused_seconds,
        status_changed_at=stored_time(row.status_changed_at or row.created_at),
    )


def _progress_of(row: Row[Any]) -> Progress | None:
    if row.progress_at is None:
        return None
    return Progress(row.progress or 0.0, row.progress_message or "", stored_time(row.progress_at))


def _checkpoint_of(row: Row[Any]) -> Checkpoint | None:
    if row.checkpoint_number is None:
        return None
    return Checkpoint(row.checkpoint_number, row.checkpoint_attempt, stored_time(row.checkpoint_at))


def _pending_of(row: Row[Any]) -> PendingCommand | None:
    if row.pending_verb is None:
        return None
    return PendingCommand(
        verb=Verb(row.pending_verb),
        command_id=row.pending_command_id,
        since=stored_time(row.pending_since),
        deadline=aware(row.pending_deadline),
        accepted_at=aware(row.pending_accepted_at),
        actor=row.pending_actor or "",
        reason=row.pending_reason or "",
    )


def _limits_of(row: Row[Any]) -> Limits:
    return Limits(
        run_budget=_duration(row.run_budget_seconds),
        deadline=aware(row.deadline_at),
        queue_timeout=_duration(row.queue_timeout_seconds),
        stall_timeout=_duration(row.stall_timeout_seconds),
    )


def _duration(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)


def _total_seconds(duration: timedelta | None) -> float | None:
    return duration.total_seconds() if duration else None


def _is_set(value: Any) -> int:
    return int(value is not None)


def _text_or_null(value: str) -> str | None:
    return value or None


def _plain(value: Any) -> Any:
    return value


def _part(name: str, value_of: Callable[[Any], Any] = _plain) -> Callable[[Any], Any]:
    """Return a function that stores one attribute of a value; NULL without a value."""
    return lambda value: None if value is None else value_of(getattr(value, name))


# Columns and conversions of each field, except for fields stored unchanged in one column of the same name.
_SPREAD: Mapping[str, Mapping[str, Callable[[Any], Any]]] = {
    "status": {"status": lambda status: status.value},
    "config": {"config": json_text},
    "created_at": {"created_at": time_text},
    "updated_at": {"updated_at": time_text},
    "started_at": {"started_at": time_text},
    "completed_at": {"completed_at": time_text},
    "result": {"result": json_text},
    "accepted_at": {"accepted_at": time_text},
    "progress": {
        "progress": _part("fraction"),
        "progress_message": _part("message"),
        "progress_at": _part("reported_at", time_text),
    },
    "checkpoint": {
        "checkpoint_number": _part("number"),
        "checkpoint_attempt": _part("attempt"),
        "checkpoint_at": _part("created_at", time_text),
    },
    "queued_at": {"queued": _is_set, "queued_at": time_text},
    "queued_by": {"queued_by": _text_or_null},
    "queued_reason": {"queued_reason": _text_or_null},
    "queued_command_id": {"queued_command_id": _text_or_null},
    "not_before": {"not_before": time_text},
    "pending_command": {
        "pending_verb": _part("verb", lambda verb: verb.value),
        "pending_command_id": _part("command_id"),
        "pending_since": _part("since", time_text),
        "pending_deadline": _part("deadline", time_text),
        "pending_accepted_at": _part("accepted_at", time_text),
        "pending_actor": _part("actor"),
        "pending_reason": _part("reason"),
    },
    "labels": {"labels": lambda labels: json_text(labels or None)},
    "unit_labels": {"unit_labels": lambda labels: json_text(labels or None)},
    "status_changed_at": {"status_changed_at": time_text},
    "limits": {
        "run_budget_seconds": _part("run_budget", _total_seconds),
        "deadline_at": _part("deadline", time_text),
        "queue_timeout_seconds": _part("queue_timeout", _total_seconds),
        "stall_timeout_seconds": _part("stall_timeout", _total_seconds),
    },
    # Stored only as part of `expires_at`.
    "silent_since": {},
}


def _default(column: Column[Any]) -> int | str | None:
    """Return the default value of a column, if it is the same for all rows."""
    given = getattr(column.server_default, "arg", None)
    if isinstance(given, str):
        return int(given) if given.isdigit() else str(given)
    return None


_DEFAULTS = {column.name: _default(column) for column in _TASK_COLUMNS}


def new_rows(tasks: Sequence[Task]) -> tuple[Sequence[str], Sequence[tuple[Any, ...]]]:
    """Return the columns and rows of new tasks, as driver values: texts and numbers.

    Columns with the default in all rows are left out: three out of four, and each sent value costs time.
    """
    spread = [_new_values(task) for task in tasks]
    names = list(dict.fromkeys(name for values in spread for name in values))
    return names, [tuple(values.get(name, _DEFAULTS[name]) for name in names) for values in spread]


def _spread(named: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in named.items():
        if name in _SPREAD:
            for column, value_of in _SPREAD[name].items():
                values[column] = value_of(value)
        else:
            values[name] = value
    return values


def _is_by_default(name: str, value: Any) -> bool:
    return all(_DEFAULTS[column] == stored for column, stored in _spread({name: value}).items())


# Default values of fields whose columns have the same defaults.
_LEFT_OUT: Mapping[str, Any] = {
    each.name: each.default
    for each in fields(Task)
    if each.default is not MISSING and _is_by_default(each.name, each.default)
}


def _new_values(task: Task) -> dict[str, Any]:
    # Most fields are identical to the default object, a fast check.
    named = {name: value for name, value in vars(task).items() if value is not _LEFT_OUT.get(name, MISSING)}
    values = {"expires_at": time_text(next_expiry(task))} | _spread(named)
    return {column: value for column, value in values.items() if value != _DEFAULTS[column]}


def changed_values(before: Task, after: Task) -> dict[str, Any]:
    """Return the columns of `tasks` in which two versions of a task differ, with the values of the later one."""
    old = vars(before)
    # Most fields are identical objects, a fast check.
    changed = {name: value for name, value in vars(after).items() if value is not old[name] and value != old[name]}
    values = _spread(changed)
    # Without a value, MySQL would set its own time.
    values["updated_at"] = time_text(after.updated_at)
    expires_at = next_expiry(after)
    # Live progress does not update `expires_at`, so with a stall timeout the row may have an earlier time.
    if expires_at != next_expiry(before) or after.limits.stall_timeout:
        values["expires_at"] = time_text(expires_at)
    return values


def transition_of(row: Row[Any]) -> Transition:
    """Build a transition from a row of `task_status_history`."""
    return Transition(
        task_id=row.task_id,
        from_status=TaskStatus(row.from_status) if row.from_status else None,
        to_status=TaskStatus(row.to_status),
        changed_at=stored_time(row.changed_at),
        changed_by=row.changed_by or "",
        reason=row.reason or "",
        attempt=row.attempt,
        revision=row.id,
    )


def checkpoint_of(row: Row[Any]) -> Checkpoint:
    """Build a checkpoint, with its data, from a row of `task_checkpoints`."""
    return Checkpoint(row.number, row.attempt, stored_time(row.created_at), row.data or {})


def command_of(row: Row[Any]) -> CommandLogEntry:
    """Build an entry of the command log from a row of `task_commands`."""
    return CommandLogEntry(
        command_id=row.command_id,
        task_id=row.task_id,
        attempt=row.attempt,
        verb=Verb(row.verb),
        state=CommandState(row.state),
        actor=row.actor or "",
        reason=row.reason or "",
        issued_at=stored_time(row.issued_at),
        accepted_at=aware(row.accepted_at),
        settled_at=aware(row.settled_at),
        message=row.message or "",
    )


def command_values(entry: CommandLogEntry) -> tuple[Any, ...]:
    """Return the columns of `task_commands` for an entry, as driver values."""
    return (
        entry.command_id,
        entry.task_id,
        entry.attempt,
        entry.verb.value,
        entry.state.value,
        entry.actor,
        entry.reason,
        time_text(entry.issued_at),
        time_text(entry.accepted_at),
        time_text(entry.settled_at),
        entry.message,
    )
