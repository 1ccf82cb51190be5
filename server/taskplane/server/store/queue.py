"""What waits for a slot, as the table has it: by the index that has it in the order in which slots are given out."""

import json
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from taskplane.server.core.delayed_tasks import DelayedTask
from taskplane.server.core.task_queue import FRONT, QueuedTask, QueueKey, queue_key
from taskplane.server.store.dialects import dialect_of
from taskplane.server.store.records import time_text

# None is converted by the driver: thousands are read, and a text is the fastest way to a time.
_COLUMNS = "id, task_type, priority, CAST(queued_at AS CHAR), unit_labels"


def queued_tasks(  # noqa: PLR0913  (filter and window of one query)
    connection: Connection,
    task_types: Collection[str],
    now: datetime,
    limit: int,
    after: QueueKey = FRONT,
    *,
    locks: bool = False,
) -> list[QueuedTask]:
    """Return the first behind `after` that are queued and due of these types, in order.

    If it `locks`, they are locked, and those that others have locked are left out.

    The order must come from the index: with a sort, SKIP LOCKED would lock every row it reads, and where MySQL merges
    two indexes it would even wait.
    """
    dialect = dialect_of(connection)
    mark, hint, lock = dialect.mark, dialect.index_hint("idx_queue"), dialect.lock_unlocked if locks else ""
    behind, position = ("", ()) if after == FRONT else _behind(after, mark)
    query = (
        f"SELECT {_COLUMNS} FROM tasks {hint} WHERE queued = 1 {behind}"  # noqa: S608  (words of ours and marks)
        f" AND task_type IN ({', '.join([mark] * len(task_types))})"
        f" AND (not_before IS NULL OR not_before <= {mark})"
        f" ORDER BY priority DESC, queued_at, id LIMIT {limit} {lock}"
    )
    return [_queued(row) for row in connection.exec_driver_sql(query, (*position, *task_types, time_text(now)))]


def delayed_tasks(connection: Connection, first: DelayedTask, limit: int) -> list[tuple[datetime, QueuedTask]]:
    """Return the first queued tasks whose delay ends at `first` or later, in order, each with the end of its delay.

    It reads the whole queue: delays come and go too often for an index of their own, and this is done rarely.
    """
    dialect = dialect_of(connection)
    mark, hint = dialect.mark, dialect.index_hint("idx_queue")
    query = (
        f"SELECT {_COLUMNS}, CAST(not_before AS CHAR) FROM tasks {hint} WHERE queued = 1"  # noqa: S608  (words of ours)
        f" AND (not_before > {mark} OR (not_before = {mark} AND id >= {mark}))"
        f" ORDER BY not_before, id LIMIT {limit}"
    )
    begin = time_text(first.not_before)
    rows = connection.exec_driver_sql(query, (begin, begin, first.task_id))
    return [(_time(not_before), _queued(row)) for *row, not_before in rows]


def _behind(after: QueueKey, mark: str) -> tuple[str, tuple[Any, ...]]:
    """Return the condition for what is behind a turn, as ranges of the index, and what its marks stand for."""
    priority, queued_at, task_id = -after[0], time_text(after[1]), after[2]
    condition = (
        f"AND (priority < {mark} OR (priority = {mark} AND queued_at > {mark})"
        f" OR (priority = {mark} AND queued_at = {mark} AND id > {mark}))"
    )
    return condition, (priority, priority, queued_at, priority, queued_at, task_id)


def _queued(row: Sequence[Any]) -> QueuedTask:
    task_id, task_type, priority, queued_at, labels = row
    whose = queue_key(priority, _time(queued_at), task_id)
    return QueuedTask(whose, task_type, frozenset(json.loads(labels).items()) if labels else frozenset())


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
