"""The content of a transaction: rows locked, read, inserted, changed and deleted in batches.

A batch of any size costs a few statements. Statements on the hot path are written by hand.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, select, tuple_

from taskplane.server.core.command_log import CommandLogEntry
from taskplane.server.core.task import FINAL, Checkpoint, Task, TaskStatus, Transition
from taskplane.server.core.task_queue import FRONT, QueuedTask, QueueKey
from taskplane.server.store import schema
from taskplane.server.store.deletions import Deletion, note_purge
from taskplane.server.store.dialects import dialect_of
from taskplane.server.store.id_blocks import IdBlocks
from taskplane.server.store.keyed_calls import KeyedCall, find_calls
from taskplane.server.store.pending_transaction import TransactionStart
from taskplane.server.store.queue import queued_tasks
from taskplane.server.store.reading import get_checkpoint
from taskplane.server.store.records import (
    changed_values,
    checkpoint_of,
    command_values,
    json_text,
    naive,
    new_rows,
    time_text,
)
from taskplane.server.store.task_cache import TaskCache


class WriteTransaction:
    """One try of a transaction.

    Returned tasks cannot change before the commit: they are locked, or cached and checked by the commit. If a check
    fails, the retry locks all tasks.
    """

    def __init__(self, start: TransactionStart, ids: IdBlocks, task_cache: TaskCache) -> None:
        self._connection = connection = start.connection
        self._predecessor = start.predecessor
        # An earlier try failed, perhaps because a new row existed already, or a row was not as cached.
        self.is_retry = start.is_retry
        # Callbacks that undo effects on memory, if the transaction fails.
        self.on_rollback: list[Callable[[], None]] = []
        self._ids = ids
        self._ids_before = ids.snapshot()
        self._task_cache = task_cache
        self._dialect = dialect_of(connection)
        self._buffer = self._dialect.buffer(connection)
        # Loaded tasks, as stored before the transaction.
        self._loaded: dict[int, Task] = {}
        # Loaded tasks without a lock, until checked.
        self._to_check: set[int] = set()
        # Inserted and changed tasks.
        self._written: dict[int, Task] = {}
        # Id and revision of a written task, which prove the commit: revisions are unique.
        self._proof: tuple[int, int] | None = None
        self._deleted: list[int] = []
        self._request_id = ""

    @property
    def touched(self) -> set[int]:
        """Return the ids of the tasks that the transaction changes."""
        return self._written.keys() | self._deleted

    def is_stored(self, connection: Connection) -> bool:
        """Return whether the transaction was committed, asked on another connection. True without changes."""
        table = schema.tasks
        if self._proof:
            task_id, revision = self._proof
            query = select(table.c.id).where(table.c.id == task_id, table.c.revision == revision)
            return connection.execute(query).first() is not None
        if self._deleted:
            return connection.execute(select(table.c.id).where(table.c.id == self._deleted[0])).first() is None
        if self._request_id:
            return bool(find_calls(connection, [self._request_id]))
        return self._ids.are_stored(connection)

    def next_task_ids(self, count: int) -> range:
        """Return ids for new tasks."""
        return self._ids.take(self._connection, "task", count)

    def next_revisions(self, count: int) -> range:
        """Return revisions, which are the ids of history rows too."""
        return self._ids.take(self._connection, "revision", count)

    def load_tasks(self, task_ids: Iterable[int]) -> dict[int, Task]:
        """Return the tasks with these ids that exist.

        Cached tasks are not locked but checked by the commit, which saves a round trip. Other tasks are locked in the
        order of their ids, so that two writers rarely deadlock.
        """
        ids = sorted(task_ids)
        if self._predecessor and not self._predecessor.touched.isdisjoint(ids):
            self._wait_for_predecessor()
        if self._dialect.has_one_lock:
            # No other session can change the rows, and a read costs no round trip.
            marks = ", ".join([self._dialect.mark] * len(ids))
            query = f"SELECT id, revision FROM tasks WHERE id IN ({marks})"  # noqa: S608  (marks)
            return self._as_loaded(self._connection.exec_driver_sql(query, tuple(ids)))
        cached = {} if self.is_retry else {task_id: task for task_id in ids if (task := self._task_cache.get(task_id))}
        self._loaded.update(cached)
        self._to_check.update(cached)
        return cached | self._lock_and_read([task_id for task_id in ids if task_id not in cached])

    def lock_queued(
        self, task_types: Collection[str], now: datetime, limit: int, after: QueueKey = FRONT
    ) -> list[QueuedTask]:
        """Lock and return the first due queued tasks of these types after a key, without those locked elsewhere."""
        self._wait_for_predecessor()
        return queued_tasks(self._connection, task_types, now, limit, after, locks=True)

    def lock_running_on(self, unit_id: str) -> list[Task]:
        """Lock and return the RUNNING and PAUSED tasks whose last dispatch was to a unit."""
        self._wait_for_predecessor()
        table = schema.tasks
        query = select(table).where(
            table.c.execution_unit_id == unit_id, table.c.status.in_([TaskStatus.RUNNING, TaskStatus.PAUSED])
        )
        return self._lock(query.with_for_update())

    def checkpoints(self, numbers: Mapping[int, int]) -> dict[int, Checkpoint]:
        """Return stored checkpoints with their data, by task id, given one checkpoint number for each task."""
        if not numbers:
            return {}
        table = schema.task_checkpoints
        query = select(table).where(tuple_(table.c.task_id, table.c.number).in_(list(numbers.items())))
        return {row.task_id: checkpoint_of(row) for row in self._connection.execute(query)}

    def insert_tasks(self, tasks: Sequence[Task]) -> None:
        """Store new tasks."""
        self._remember(tasks)
        self._buffer.insert("tasks", *new_rows(tasks))

    def update_tasks(self, tasks: Sequence[Task]) -> None:
        """Store the changed columns of loaded tasks."""
        self._remember(tasks)
        by_columns: dict[tuple[str, ...], list[tuple[Any, ...]]] = defaultdict(list)
        for task in tasks:
            before = self._loaded[task.id]
            values = changed_values(before, task)
            by_columns[tuple(values)].append((task.id, before.revision, *values.values()))
            self._to_check.discard(task.id)
        for columns, rows in by_columns.items():
            self._buffer.update_tasks(columns, rows)

    def delete_tasks(self, task_ids: Iterable[int]) -> None:
        """Delete tasks; history and checkpoints go with them."""
        if ids := list(task_ids):
            self._check(self._to_check.intersection(ids))
            self._deleted += ids
            self._buffer.execute(f"DELETE FROM tasks WHERE id IN ({', '.join(map(str, ids))})")  # noqa: S608  (numbers of ours)

    def insert_deletions(self, deletions: Sequence[Deletion], now: datetime) -> None:
        """Store tombstones of deleted tasks."""
        self._buffer.insert(
            "deleted_tasks",
            ("revision", "task_id", "task_type", "deleted_at"),
            [(each.revision, each.task_id, each.task_type, time_text(now)) for each in deletions],
        )

    def insert_transitions(self, transitions: Sequence[Transition]) -> None:
        """Add rows to the history."""
        self._buffer.insert(
            "task_status_history",
            ("id", "task_id", "from_status", "to_status", "changed_at", "changed_by", "reason", "attempt"),
            [
                (
                    each.revision,
                    each.task_id,
                    each.from_status and each.from_status.value,
                    each.to_status.value,
                    time_text(each.changed_at),
                    each.changed_by,
                    each.reason,
                    each.attempt,
                )
                for each in transitions
            ],
        )

    def insert_checkpoints(self, checkpoints: Sequence[tuple[int, Checkpoint]]) -> None:
        """Store checkpoints, given with their task ids."""
        self._buffer.insert(
            "task_checkpoints",
            ("task_id", "number", "attempt", "data", "created_at"),
            [
                (task_id, each.number, each.attempt, json_text(each.data or {}), time_text(each.created_at))
                for task_id, each in checkpoints
            ],
        )

    def checkpoint(self, task_id: int, number: int) -> Checkpoint | None:
        """Return one checkpoint of a task, if stored."""
        return get_checkpoint(self._connection, task_id, number)

    def save_commands(self, entries: Sequence[CommandLogEntry]) -> None:
        """Write entries of the ledger, new or in place of an earlier one with the same id."""
        # The last entry of an id counts: within one statement, a row may occur only once.
        rows = [command_values(entry) for entry in {entry.command_id: entry for entry in entries}.values()]
        columns = tuple(column.name for column in schema.task_commands.columns)
        settled = ("state", "accepted_at", "settled_at", "message")
        self._buffer.upsert("task_commands", columns, rows, "command_id", settled)

    def lock_finished(self, before: datetime, limit: int) -> list[Task]:
        """Lock and return final tasks that were completed before a time.

        The index on `created_at` finds them among the tasks created before; an index for this query alone would cost
        every task more.
        """
        self._wait_for_predecessor()
        table = schema.tasks
        query = (
            select(table)
            .with_hint(table, self._dialect.index_hint("idx_created_at"))
            .where(table.c.created_at < naive(before), table.c.completed_at < naive(before))
            .where(table.c.status.in_(list(FINAL)))
            .order_by(table.c.created_at)
            .limit(limit)
        )
        return self._lock(query.with_for_update(skip_locked=True))

    def note_purge(self, revision: int) -> None:
        """Record the revision below which history may have gaps."""
        note_purge(self._connection, revision)

    def prune_checkpoints(self, task_ids: Iterable[int], keep: int) -> None:
        """Delete all but the last `keep` checkpoints of each task."""
        for task_id in task_ids:
            # MySQL deletes from a table that it also reads only if the read goes through a derived table.
            oldest_kept = (
                f"SELECT number FROM (SELECT number FROM task_checkpoints WHERE task_id = {task_id} "  # noqa: S608  (numbers of ours)
                f"ORDER BY number DESC LIMIT 1 OFFSET {keep - 1}) AS kept"
            )
            self._buffer.execute(
                f"DELETE FROM task_checkpoints WHERE task_id = {task_id} AND number < ({oldest_kept})"  # noqa: S608  (ditto)
            )

    def keyed_calls(self, request_ids: Sequence[str]) -> dict[str, KeyedCall]:
        """Return the recorded calls with these request ids."""
        if not request_ids:
            return {}
        self._wait_for_predecessor()
        return find_calls(self._connection, request_ids)

    def insert_keyed_calls(self, calls: Sequence[KeyedCall], now: datetime) -> None:
        """Record calls with idempotency keys."""
        if calls:
            self._request_id = calls[0].request_id
        self._buffer.insert(
            "task_requests",
            ("request_id", "method", "fingerprint", "task_ids", "command_id", "created_at"),
            [
                (
                    each.request_id,
                    each.method,
                    each.fingerprint,
                    each.tasks_as_json(),
                    each.command_id or None,
                    time_text(now),
                )
                for each in calls
            ],
        )

    def commit(self) -> None:
        """Send all statements, with COMMIT."""
        self._check(set(self._to_check))
        self._buffer.commit()

    def after_commit(self) -> None:
        """Cache the written tasks."""
        self._task_cache.put(self._written.values())

    def after_rollback(self) -> None:
        """Undo the effects on memory."""
        self._ids.restore(self._ids_before)
        for undo in reversed(self.on_rollback):
            undo()

    def _wait_for_predecessor(self) -> None:
        """Wait until the preceding transaction is published."""
        if self._predecessor:
            self._predecessor.block_until_published()
            self._predecessor = None

    def _check(self, task_ids: Collection[int]) -> None:
        """Let the transaction fail if one of these tasks has changed since it was cached."""
        if task_ids:
            self._buffer.check_unchanged([self._loaded[task_id] for task_id in task_ids])
            self._to_check.difference_update(task_ids)

    def _remember(self, tasks: Sequence[Task]) -> None:
        self._written.update((task.id, task) for task in tasks)
        if tasks:
            self._proof = (tasks[0].id, tasks[0].revision)

    def _as_loaded(self, rows: Iterable[Any]) -> dict[int, Task]:
        """Return the tasks of locked rows, given as (id, revision). Only tasks that are not cached are read."""
        tasks = {task_id: self._task_cache.find(task_id, revision) for task_id, revision in rows}
        cached = {task_id: task for task_id, task in tasks.items() if task}
        self._loaded.update(cached)
        return cached | self._lock_and_read([task_id for task_id in tasks if task_id not in cached])

    def _lock_and_read(self, ids: Sequence[int]) -> dict[int, Task]:
        if not ids:
            return {}
        query = select(schema.tasks).where(schema.tasks.c.id.in_(ids)).order_by(schema.tasks.c.id)
        return {task.id: task for task in self._lock(query.with_for_update())}

    def _lock(self, query: Select[Any]) -> list[Task]:
        found = self._dialect.read_tasks(self._connection, query)
        for task in found:
            # A cached task stays: decisions were based on it, and the commit checks its revision.
            self._loaded.setdefault(task.id, task)
        return found
