"""Queries for queued tasks, by the index that is in the order of dispatch."""

import json
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from taskplane.server.core.delayed_tasks import DelayedTask
from taskplane.server.core.task_queue import FRONT, QueuedTask, QueueKey, queue_key
from taskplane.server.store.dialects import dialect_of
from taskplane.server.store.records import time_text

# The driver converts none of these columns: thousands of rows are read, and texts are the fastest way to times.
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
    """Return the first due queued tasks of these types after a key, in order.

    With `locks`, lock them, and leave out tasks that other sessions have locked.

    The order must come from the index: with a sort, SKIP LOCKED would lock every row it reads, and wait where MySQL
    merges two indexes.
    """
    dialect = dialect_of(connection)
    mark, hint, lock = dialect.mark, dialect.index_hint("idx_queue"), dialect.lock_unlocked if locks else ""
    condition, position = ("", ()) if after == FRONT else _after(after, mark)
    query = (
        f"SELECT {_COLUMNS} FROM tasks {hint} WHERE queued = 1 {condition}"  # noqa: S608  (words of ours and marks)
        f" AND task_type IN ({', '.join([mark] * len(task_types))})"
        f" AND (not_before IS NULL OR not_before <= {mark})"
        f" ORDER BY priority DESC, queued_at, id LIMIT {limit} {lock}"
    )
    return [_queued(row) for row in connection.exec_driver_sql(query, (*position, *task_types, time_text(now)))]


def delayed_tasks(connection: Connection, first: DelayedTask, limit: int) -> list[tuple[datetime, QueuedTask]]:
    """Return the first queued tasks whose delay ends at `first` or later, in order, each with the end of its delay.

    Reads the whole queue. The query is rare, and an index on delays would change too often.
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


def _after(after: QueueKey, mark: str) -> tuple[str, tuple[Any, ...]]:
    """Return the condition for tasks after a key, as ranges of the index, and its parameters."""
    priority, queued_at, task_id = -after[0], time_text(after[1]), after[2]
    condition = (
        f"AND (priority < {mark} OR (priority = {mark} AND queued_at > {mark})"
        f" OR (priority = {mark} AND queued_at = {mark} AND id > {mark}))"
    )
    return condition, (priority, priority, queued_at, priority, queued_at, task_id)


def _queued(row: Sequence[Any]) -> QueuedTask:
    task_id, task_type, priority, queued_at, labels = row
    key = queue_key(priority, _time(queued_at), task_id)
    return QueuedTask(key, task_type, frozenset(json.loads(labels).items()) if labels else frozenset())


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
