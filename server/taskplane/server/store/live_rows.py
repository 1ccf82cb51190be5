"""Progress and acknowledgements of running attempts, stored apart from transactions of tasks; never a status."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from taskplane.server.core.task import Progress
from taskplane.server.store.dialects import dialect_of
from taskplane.server.store.dialects.dialect import BulkUpdate, ValueType
from taskplane.server.store.records import time_text


class LiveRow(NamedTuple):
    """The latest of one attempt; see tasks.progress_cache. None leaves a column unchanged."""

    task_id: int
    attempt: int
    progress: Progress | None
    accepted_at: datetime | None
    command_id: str
    command_accepted_at: datetime | None


# A pause with newer progress may have been committed first. "Or equal", because MySQL may have assigned progress_at
# before it compares.
_IS_NEWER = "COALESCE(given.progress_at >= tasks.progress_at, given.progress_at IS NOT NULL)"
_LIVE_STATUSES = "status IN ('RUNNING', 'PAUSED')"
_PROGRESS = {
    "progress": ValueType.REAL,
    "progress_message": ValueType.TEXT,
    "progress_at": ValueType.TIME,
}
_LIVE = BulkUpdate(
    "tasks",
    {
        "id": ValueType.INTEGER,
        "attempt": ValueType.INTEGER,
        **_PROGRESS,
        "accepted_at": ValueType.TIME,
        "command_id": ValueType.TEXT,
        "command_accepted_at": ValueType.TIME,
    },
    {
        **{name: f"CASE WHEN {_IS_NEWER} THEN given.{name} ELSE tasks.{name} END" for name in _PROGRESS},
        "accepted_at": "COALESCE(given.accepted_at, tasks.accepted_at)",
        "pending_accepted_at": "CASE WHEN tasks.pending_command_id = given.command_id"
        " THEN given.command_accepted_at ELSE tasks.pending_accepted_at END",
    },
    f"tasks.id = given.id AND tasks.attempt = given.attempt AND tasks.{_LIVE_STATUSES}",
)


def save_live(connection: Connection, rows: Sequence[LiveRow]) -> None:
    """Store the latest of running attempts.

    Rows of an ended or superseded attempt change nothing, nor does older progress.
    """
    dialect_of(connection).update_rows(connection, _LIVE, [_values(row) for row in rows])


def _values(row: LiveRow) -> dict[str, Any]:
    progress = row.progress
    return {
        "id": row.task_id,
        "attempt": row.attempt,
        "progress": progress and progress.fraction,
        "progress_message": progress and progress.message,
        "progress_at": progress and time_text(progress.reported_at),
        "accepted_at": time_text(row.accepted_at),
        "command_id": row.command_id,
        "command_accepted_at": time_text(row.command_accepted_at),
    }
