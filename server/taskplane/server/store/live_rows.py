"""What is written of running attempts beside the transactions of tasks: progress, what was accepted; no status."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from taskplane.server.core.task import Progress
from taskplane.server.store.records import time_text

# What JSON_TABLE makes of a text is by default in the character set of the database, which may not know all of it.
_UTF8 = "CHARACTER SET utf8mb4"


class LiveRow(NamedTuple):
    """The latest of one attempt; see tasks.progress_cache. None leaves a column as it is."""

    task_id: int
    attempt: int
    progress: Progress | None
    accepted_at: datetime | None
    command_id: str
    command_accepted_at: datetime | None


def save_live(connection: Connection, rows: Sequence[LiveRow]) -> None:
    """Store what is new of running attempts.

    Rows of an attempt that is over, or is not the task's current one, change nothing, nor does older progress.
    """
    if not rows:
        return
    values = [_live_values(row) for row in rows]
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_LIVE_BY_ROW, values)
    else:
        connection.exec_driver_sql(_LIVE_FROM_JSON, (json.dumps(values, ensure_ascii=False),))


def _live_values(row: LiveRow) -> dict[str, Any]:
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


_LIVE_STATUSES = "status IN ('RUNNING', 'PAUSED')"


def _live_assignments(target: str, source: str) -> str:
    # Older progress may come late: a pause with newer progress was committed while it was on its way. "Or equal",
    # since MySQL may have assigned progress_at before it compares.
    is_newer = f"COALESCE({source}progress_at >= tasks.progress_at, {source}progress_at IS NOT NULL)"
    progress = ", ".join(
        f"{target}{name} = CASE WHEN {is_newer} THEN {source}{name} ELSE tasks.{name} END"
        for name in ("progress", "progress_message", "progress_at")
    )
    return (
        f"{progress}, {target}accepted_at = COALESCE({source}accepted_at, tasks.accepted_at),"
        f" {target}pending_accepted_at = CASE WHEN tasks.pending_command_id = {source}command_id"
        f" THEN {source}command_accepted_at ELSE tasks.pending_accepted_at END"
    )


_LIVE_BY_ROW = (
    f"UPDATE tasks SET {_live_assignments('', ':')}"  # noqa: S608  (names of ours)
    f" WHERE id = :id AND attempt = :attempt AND {_LIVE_STATUSES}"
)
_LIVE_FROM_JSON = (
    "UPDATE tasks JOIN JSON_TABLE(%s, '$[*]' COLUMNS ("  # noqa: S608  (names of ours)
    "id BIGINT PATH '$.id', attempt INT PATH '$.attempt', progress DOUBLE PATH '$.progress', "
    f"progress_message VARCHAR(1000) {_UTF8} PATH '$.progress_message', progress_at DATETIME(6) PATH '$.progress_at', "
    "accepted_at DATETIME(6) PATH '$.accepted_at', command_id VARCHAR(64) PATH '$.command_id', "
    "command_accepted_at DATETIME(6) PATH '$.command_accepted_at')) AS live "
    f"ON tasks.id = live.id AND tasks.attempt = live.attempt AND tasks.{_LIVE_STATUSES} "
    f"SET {_live_assignments('tasks.', 'live.')}"
)
