"""Queries of the readers: one task, lists by key, history, checkpoints, units."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, LargeBinary, Select, and_, cast, func, literal, not_, or_, select

from taskplane.server.core.command_log import CommandLogEntry
from taskplane.server.core.task import Checkpoint, Task, TaskStatus, Transition
from taskplane.server.core.unit import Unit
from taskplane.server.store import schema
from taskplane.server.store.records import checkpoint_of, command_of, naive, task_of, transition_of
from taskplane.server.store.unit_rows import unit_of

# Counts stop at this number: a full count reads the whole table.
COUNT_CAP = 10_000

# A page of tasks ends when its documents reach this many bytes of JSON.
MAX_ROWS_BYTES = 4 * 1024 * 1024
# The columns that may be large.
_WIDE = ("config", "result", "error_message")


@dataclass(frozen=True, slots=True)
class TaskRows:
    """Tasks of a list."""

    tasks: Sequence[Task]
    # The id after which the list continues; None at its end.
    continue_after: int | None
    # Whether the page ends below its limit because the tasks are large.
    is_cut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """A choice of tasks that match all fields; empty fields match every task."""

    task_ids: tuple[int, ...] = ()
    statuses: tuple[TaskStatus, ...] = ()
    task_types: tuple[str, ...] = ()
    execution_unit_id: str = ""
    min_priority: int | None = None
    max_priority: int | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None
    name_contains: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


def get_task(connection: Connection, task_id: int) -> Task | None:
    """Return a task; its checkpoint is without data."""
    row = connection.execute(select(schema.tasks).where(schema.tasks.c.id == task_id)).one_or_none()
    return task_of(row) if row else None


def choose_tasks(  # noqa: PLR0913  (filter, order and window of one query)
    connection: Connection, chosen: TaskFilter, *, newest_first: bool, after_id: int | None, limit: int, skip: int = 0
) -> list[int]:
    """Return up to `limit` ids in order, after `after_id` and `skip` more ids.

    Rows are read by id afterwards: MySQL cannot sort whole rows if one of them is wide.
    """
    key = schema.tasks.c.id
    query = select(key).where(*_conditions(chosen)).limit(limit)
    query = query.order_by(key.desc() if newest_first else key)
    if after_id is not None:
        query = query.where(key < after_id if newest_first else key > after_id)
    if skip:
        query = query.offset(skip)
    return list(connection.scalars(query))


def list_tasks(  # noqa: PLR0913  (as above)
    connection: Connection,
    chosen: TaskFilter,
    *,
    newest_first: bool,
    after_id: int | None,
    limit: int,
    skip: int = 0,
    max_bytes: int = MAX_ROWS_BYTES,
) -> TaskRows:
    """Return up to `limit` tasks by id, beyond `after_id` and `skip` more; fewer if their documents are large."""
    ids = choose_tasks(connection, chosen, newest_first=newest_first, after_id=after_id, limit=limit + 1, skip=skip)
    found = tasks_that_fit(connection, ids[:limit], max_bytes)
    read = len(found)
    # Tasks deleted in between are None.
    tasks = [task for task in found.values() if task]
    return TaskRows(tasks, ids[read - 1] if read < len(ids) else None, read < min(len(ids), limit))


def tasks_that_fit(
    connection: Connection, task_ids: Sequence[int], max_bytes: int = MAX_ROWS_BYTES
) -> dict[int, Task | None]:
    """Return the first of some tasks, at least one, within `max_bytes`, in the given order; None for a missing task."""
    fitting = _as_many_as_fit(connection, task_ids, max_bytes)
    if not fitting:
        return {}
    query = select(schema.tasks).where(schema.tasks.c.id.in_(fitting))
    found = {row.id: task_of(row) for row in connection.execute(query)}
    return {task_id: found.get(task_id) for task_id in fitting}


def _as_many_as_fit(connection: Connection, task_ids: Sequence[int], max_bytes: int) -> Sequence[int]:
    """Return the first of the ids, at least one, whose rows together have at most `max_bytes`."""
    if not task_ids:
        return task_ids
    table = schema.tasks
    size = sum((func.coalesce(func.length(table.c[name]), 0) for name in _WIDE), literal(0))
    query = select(table.c.id, size.label("size")).where(table.c.id.in_(task_ids))
    sizes = {row.id: row.size for row in connection.execute(query)}
    total = 0
    for count, task_id in enumerate(task_ids):
        total += sizes.get(task_id, 0)
        if count and total > max_bytes:
            return task_ids[:count]
    return task_ids


def count_tasks(connection: Connection, chosen: TaskFilter) -> int:
    """Count tasks up to COUNT_CAP + 1."""
    some = select(schema.tasks.c.id).where(*_conditions(chosen)).limit(COUNT_CAP + 1).subquery()
    return connection.execute(select(func.count()).select_from(some)).scalar_one()


def list_transitions(connection: Connection, task_id: int, *, after_revision: int, limit: int) -> list[Transition]:
    """Return a task's history by revision, oldest first."""
    table = schema.task_status_history
    query = select(table).where(table.c.task_id == task_id, table.c.id > after_revision)
    return _transitions(connection, query, limit)


def transitions_since(
    connection: Connection, after_revision: int, *, task_ids: Sequence[int], limit: int
) -> list[Transition]:
    """Return the history of some tasks, or of all without ids, in the order of revisions."""
    table = schema.task_status_history
    query = select(table).where(table.c.id > after_revision)
    if task_ids:
        query = query.where(table.c.task_id.in_(task_ids))
    return _transitions(connection, query, limit)


def list_checkpoints(connection: Connection, task_id: int) -> list[Checkpoint]:
    """Return the stored checkpoints of a task with their data, newest first."""
    table = schema.task_checkpoints
    query = select(table).where(table.c.task_id == task_id).order_by(table.c.number.desc())
    return [checkpoint_of(row) for row in connection.execute(query)]


def get_checkpoint(connection: Connection, task_id: int, number: int) -> Checkpoint | None:
    """Return one checkpoint with its data."""
    table = schema.task_checkpoints
    row = connection.execute(select(table).where(table.c.task_id == task_id, table.c.number == number)).one_or_none()
    return checkpoint_of(row) if row else None


def list_commands(
    connection: Connection, task_id: int, *, before: tuple[datetime, str] | None, limit: int
) -> list[CommandLogEntry]:
    """Return a task's commands, newest first, before a command given by its time and id."""
    table = schema.task_commands
    key = table.c.issued_at, table.c.command_id
    query = select(table).where(table.c.task_id == task_id)
    if before:
        issued_at, command_id = naive(before[0]), before[1]
        query = query.where(or_(key[0] < issued_at, and_(key[0] == issued_at, key[1] < command_id)))
    # The order of an index, which saves a sort.
    query = query.order_by(key[0].desc(), key[1].desc()).limit(limit)
    return [command_of(row) for row in connection.execute(query)]


def get_command(connection: Connection, command_id: str) -> CommandLogEntry | None:
    """Return a command by its id."""
    table = schema.task_commands
    row = connection.execute(select(table).where(table.c.command_id == command_id)).one_or_none()
    return command_of(row) if row else None


def latest_revision(connection: Connection) -> int:
    """Return the highest revision ever assigned, or a higher one; deleted tasks included."""
    table = schema.id_blocks
    return int(connection.execute(select(table.c.next_id).where(table.c.name == "revision")).scalar_one()) - 1


def expired_tasks(connection: Connection, now: datetime, wall_now: datetime, limit: int) -> list[int]:
    """Return the ids of up to `limit` tasks with a limit that may have expired, in the order of expiry.

    Deadlines count on the wall clock. The clocks differ only after the wall clock was set.
    """
    expires_at, deadline_at = schema.tasks.c.expires_at, schema.tasks.c.deadline_at
    is_deadline = and_(deadline_at.is_not(None), expires_at == deadline_at)
    due = (
        select(schema.tasks.c.id)
        .where(expires_at <= naive(max(now, wall_now)))
        .where(or_(and_(expires_at <= naive(now), not_(is_deadline)), deadline_at <= naive(wall_now)))
        .order_by(expires_at)
        .limit(limit)
    )
    return list(connection.scalars(due))


def running_tasks(connection: Connection) -> list[Task]:
    """Return all tasks in RUNNING."""
    query = select(schema.tasks).where(schema.tasks.c.status == TaskStatus.RUNNING)
    return [task_of(row) for row in connection.execute(query)]


def task_types(connection: Connection) -> list[str]:
    """Return the types of all tasks in the table."""
    return list(connection.execute(select(schema.tasks.c.task_type).distinct()).scalars())


def running_attempts(connection: Connection) -> list[tuple[int, int, str]]:
    """Return the id, attempt and unit of all tasks in RUNNING."""
    table = schema.tasks
    query = select(table.c.id, table.c.attempt, table.c.execution_unit_id).where(table.c.status == TaskStatus.RUNNING)
    return [(task_id, attempt, unit_id or "") for task_id, attempt, unit_id in connection.execute(query)]


def all_units(connection: Connection) -> list[Unit]:
    """Return all units as they were last stored."""
    return [unit_of(row) for row in connection.execute(select(schema.execution_units))]


def _transitions(connection: Connection, query: Select[tuple[object, ...]], limit: int) -> list[Transition]:
    ordered = query.order_by(schema.task_status_history.c.id).limit(limit)
    return [transition_of(row) for row in connection.execute(ordered)]


def _conditions(chosen: TaskFilter) -> Sequence[ColumnElement[bool]]:
    table = schema.tasks
    conditions: list[ColumnElement[bool]] = []
    if chosen.task_ids:
        conditions.append(table.c.id.in_(chosen.task_ids))
    if chosen.statuses:
        conditions.append(table.c.status.in_([status.value for status in chosen.statuses]))
    if chosen.task_types:
        conditions.append(table.c.task_type.in_(chosen.task_types))
    if chosen.execution_unit_id:
        unit_id = table.c.execution_unit_id
        conditions += [unit_id == chosen.execution_unit_id, _is_exactly(unit_id, chosen.execution_unit_id)]
    if chosen.min_priority is not None:
        conditions.append(table.c.priority >= chosen.min_priority)
    if chosen.max_priority is not None:
        conditions.append(table.c.priority <= chosen.max_priority)
    if chosen.created_from:
        conditions.append(table.c.created_at >= naive(chosen.created_from))
    if chosen.created_before:
        conditions.append(table.c.created_at < naive(chosen.created_before))
    if chosen.name_contains:
        conditions.append(table.c.task_name.icontains(chosen.name_contains, autoescape=True))
    conditions += [_is_exactly(table.c.labels[key].as_string(), value) for key, value in chosen.labels.items()]
    return conditions


def _is_exactly(text: ColumnElement[Any], value: str) -> ColumnElement[bool]:
    """Compare bytes: MySQL and MariaDB ignore trailing spaces when they compare texts."""
    return cast(text, LargeBinary) == value.encode()
