"""Rows to core objects and back. The only place that knows how a task is spread over columns."""

import json
from collections import namedtuple
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import JSON, DateTime, Row, String, literal_column

from taskplane.server.core.ledger import CommandState, LedgerEntry
from taskplane.server.core.limits import next_expiry
from taskplane.server.core.task import Checkpoint, Limits, PendingCommand, Progress, Task, TaskStatus, Transition, Verb
from taskplane.server.core.unit import TaskTypeSupport, Unit, UnitStatus
from taskplane.server.store import schema


def naive(moment: datetime | None) -> datetime | None:
    """UTC without a zone, as the database keeps it."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment else None


def aware(moment: datetime | None) -> datetime | None:
    """UTC with its zone, as the code uses it."""
    return moment.replace(tzinfo=UTC) if moment else None


def _known(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC)


_TASK_COLUMNS = tuple(schema.tasks.columns)
_TASK_NAMES = [column.name for column in _TASK_COLUMNS]
_TaskRow = namedtuple("_TaskRow", _TASK_NAMES)  # type: ignore[misc]  # noqa: PYI024  (the names are the schema's)
_TIMES = tuple(index for index, column in enumerate(_TASK_COLUMNS) if isinstance(column.type, DateTime))
_DOCUMENTS = tuple(index for index, column in enumerate(_TASK_COLUMNS) if isinstance(column.type, JSON))

# A whole row of `tasks` as one JSON array, for MySQL and MariaDB; `task_row` reads it.
# Text, since SQLAlchemy would look at each of the columns again for every query.
TASK_DOCUMENT = literal_column(f"JSON_ARRAY({', '.join(f'tasks.{name}' for name in _TASK_NAMES)})", String)


def task_row(document: Sequence[Any]) -> Any:
    """Return a row with all columns of `tasks`, as `task_of` takes it, from a TASK_DOCUMENT that was loaded."""
    values = list(document)
    for index in _TIMES:
        if values[index]:
            values[index] = datetime.fromisoformat(values[index])
    for index in _DOCUMENTS:
        # MariaDB, whose JSON columns are texts, nests them as such.
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
        created_at=_known(row.created_at),
        updated_at=_known(row.updated_at),
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
        not_before=aware(row.not_before),
        pending_command=_pending_of(row),
        labels=row.labels or {},
        unit_labels=row.unit_labels or {},
        limits=_limits_of(row),
        active_seconds=row.active_seconds,
        paused_seconds=row.paused_seconds,
        status_changed_at=_known(row.status_changed_at or row.created_at),
    )


def _progress_of(row: Row[Any]) -> Progress | None:
    if row.progress_at is None:
        return None
    return Progress(row.progress or 0.0, row.progress_message or "", _known(row.progress_at))


def _checkpoint_of(row: Row[Any]) -> Checkpoint | None:
    if row.checkpoint_number is None:
        return None
    return Checkpoint(row.checkpoint_number, row.checkpoint_attempt, _known(row.checkpoint_at))


def _pending_of(row: Row[Any]) -> PendingCommand | None:
    if row.pending_verb is None:
        return None
    return PendingCommand(
        verb=Verb(row.pending_verb),
        command_id=row.pending_command_id,
        since=_known(row.pending_since),
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


def task_values(task: Task) -> dict[str, Any]:
    """Spread a task over the columns of `tasks`, as plain driver values: texts, numbers and None."""
    progress, checkpoint, pending = task.progress, task.checkpoint, task.pending_command
    return {
        "id": task.id,
        "task_name": task.task_name,
        "task_type": task.task_type,
        "status": task.status.value,
        "priority": task.priority,
        "config": json_text(task.config),
        "execution_unit_id": task.execution_unit_id,
        "execution_unit_type": task.execution_unit_type,
        "created_at": time_text(task.created_at),
        "updated_at": time_text(task.updated_at),
        "started_at": time_text(task.started_at),
        "completed_at": time_text(task.completed_at),
        "error_message": task.error_message,
        "retry_count": task.retry_count,
        "max_retries": task.max_retries,
        "result": json_text(task.result),
        "revision": task.revision,
        "attempt": task.attempt,
        "accepted_at": time_text(task.accepted_at),
        "progress": progress.fraction if progress else None,
        "progress_message": progress.message if progress else None,
        "progress_at": time_text(progress.reported_at) if progress else None,
        "checkpoint_number": checkpoint.number if checkpoint else None,
        "checkpoint_attempt": checkpoint.attempt if checkpoint else None,
        "checkpoint_at": time_text(checkpoint.created_at) if checkpoint else None,
        "last_checkpoint_number": task.last_checkpoint_number,
        "queued": int(task.queued_at is not None),
        "queued_at": time_text(task.queued_at),
        "queued_by": task.queued_by or None,
        "queued_reason": task.queued_reason or None,
        "queued_command_id": task.queued_command_id or None,
        "not_before": time_text(task.not_before),
        "pending_verb": pending.verb.value if pending else None,
        "pending_command_id": pending.command_id if pending else None,
        "pending_since": time_text(pending.since) if pending else None,
        "pending_deadline": time_text(pending.deadline) if pending else None,
        "pending_accepted_at": time_text(pending.accepted_at) if pending else None,
        "pending_actor": pending.actor if pending else None,
        "pending_reason": pending.reason if pending else None,
        "labels": json_text(task.labels or None),
        "unit_labels": json_text(task.unit_labels or None),
        "active_seconds": task.active_seconds,
        "paused_seconds": task.paused_seconds,
        "status_changed_at": time_text(task.status_changed_at),
        "run_budget_seconds": _total_seconds(task.limits.run_budget),
        "deadline_at": time_text(task.limits.deadline),
        "queue_timeout_seconds": _total_seconds(task.limits.queue_timeout),
        "stall_timeout_seconds": _total_seconds(task.limits.stall_timeout),
        "expires_at": time_text(next_expiry(task)),
    }


def transition_of(row: Row[Any]) -> Transition:
    """Build a transition from a row of `task_status_history`."""
    return Transition(
        task_id=row.task_id,
        from_status=TaskStatus(row.from_status) if row.from_status else None,
        to_status=TaskStatus(row.to_status),
        changed_at=_known(row.changed_at),
        changed_by=row.changed_by or "",
        reason=row.reason or "",
        attempt=row.attempt,
        revision=row.id,
    )


def checkpoint_of(row: Row[Any]) -> Checkpoint:
    """Build a checkpoint, with its data, from a row of `task_checkpoints`."""
    return Checkpoint(row.number, row.attempt, _known(row.created_at), row.data or {})


def command_of(row: Row[Any]) -> LedgerEntry:
    """Build an entry of the ledger from a row of `task_commands`."""
    return LedgerEntry(
        command_id=row.command_id,
        task_id=row.task_id,
        attempt=row.attempt,
        verb=Verb(row.verb),
        state=CommandState(row.state),
        actor=row.actor or "",
        reason=row.reason or "",
        issued_at=_known(row.issued_at),
        accepted_at=aware(row.accepted_at),
        settled_at=aware(row.settled_at),
        message=row.message or "",
    )


def command_values(entry: LedgerEntry) -> tuple[Any, ...]:
    """Spread an entry over the columns of `task_commands`, as plain driver values."""
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


def unit_of(row: Row[Any]) -> Unit:
    """Build a unit from a row of `execution_units`."""
    return Unit(
        id=row.id,
        unit_type=row.unit_type,
        unit_name=row.unit_name,
        status=UnitStatus(row.status),
        capacity=row.capacity,
        current_load=row.current_load,
        endpoint=row.endpoint,
        config=row.config or {},
        last_heartbeat=aware(row.last_heartbeat),
        created_at=_known(row.created_at),
        updated_at=_known(row.updated_at),
        task_types=_task_types_of(row.task_types or []),
        labels=row.labels or {},
        sdk=row.sdk or "",
        boot_id=row.boot_id or "",
    )


def unit_values(unit: Unit) -> dict[str, Any]:
    """Spread a unit over the columns of `execution_units`, as SQLAlchemy takes them."""
    return {
        "id": unit.id,
        "unit_type": unit.unit_type,
        "unit_name": unit.unit_name,
        "status": unit.status.value,
        "capacity": unit.capacity,
        "current_load": unit.current_load,
        "endpoint": unit.endpoint,
        "config": dict(unit.config),
        "last_heartbeat": naive(unit.last_heartbeat),
        "created_at": naive(unit.created_at),
        "updated_at": naive(unit.updated_at),
        "task_types": [
            {"task_type": each.task_type, "can_pause": each.can_pause, "can_checkpoint": each.can_checkpoint}
            for each in unit.task_types.values()
        ],
        "labels": dict(unit.labels),
        "sdk": unit.sdk,
        "boot_id": unit.boot_id,
    }


def _task_types_of(stored: list[dict[str, Any]]) -> Mapping[str, TaskTypeSupport]:
    return {each["task_type"]: TaskTypeSupport(**each) for each in stored}


def json_text(value: Mapping[str, Any] | None) -> str | None:
    """JSON for a JSON column; None stays NULL."""
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def time_text(moment: datetime | None) -> str | None:
    """A time as every database here reads it, and as SQLAlchemy's SQLite type writes it."""
    if moment is None:
        return None
    # Times are UTC all over the server, so this is the text without its zone; a row has up to ten of them.
    return moment.isoformat(" ", "microseconds").removesuffix("+00:00")
