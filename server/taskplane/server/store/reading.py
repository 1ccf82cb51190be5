"""The readers' queries: one task, lists by key, history, checkpoints, units."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, LargeBinary, Select, cast, func, select

from taskplane.server.core.ledger import LedgerEntry
from taskplane.server.core.task import Checkpoint, Task, TaskStatus, Transition
from taskplane.server.core.unit import Unit
from taskplane.server.store import schema
from taskplane.server.store.records import checkpoint_of, command_of, naive, task_of, transition_of, unit_of

# Counts stop here: a full count reads the whole table.
COUNT_CAP = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """Which tasks; fields restrict together, empty ones do not restrict."""

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


def list_tasks(  # noqa: PLR0913  (filter, order and window of one query)
    connection: Connection, chosen: TaskFilter, *, newest_first: bool, after_id: int | None, limit: int, skip: int = 0
) -> list[Task]:
    """Return up to `limit` tasks by id, beyond `after_id` in the direction of the order and `skip` more."""
    key = schema.tasks.c.id
    query = select(schema.tasks).where(*_conditions(chosen)).limit(limit)
    query = query.order_by(key.desc() if newest_first else key)
    if after_id is not None:
        query = query.where(key < after_id if newest_first else key > after_id)
    if skip:
        query = query.offset(skip)
    return [task_of(row) for row in connection.execute(query)]


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
    """Return the history of some tasks, or of all if no ids are given, by revision, oldest first."""
    table = schema.task_status_history
    query = select(table).where(table.c.id > after_revision)
    if task_ids:
        query = query.where(table.c.task_id.in_(task_ids))
    return _transitions(connection, query, limit)


def list_checkpoints(connection: Connection, task_id: int) -> list[Checkpoint]:
    """Return the checkpoints that are kept of a task, newest first, with data."""
    table = schema.task_checkpoints
    query = select(table).where(table.c.task_id == task_id).order_by(table.c.number.desc())
    return [checkpoint_of(row) for row in connection.execute(query)]


def get_checkpoint(connection: Connection, task_id: int, number: int) -> Checkpoint | None:
    """Return one checkpoint with its data."""
    table = schema.task_checkpoints
    row = connection.execute(select(table).where(table.c.task_id == task_id, table.c.number == number)).one_or_none()
    return checkpoint_of(row) if row else None


def list_commands(connection: Connection, task_id: int, *, skip: int, limit: int) -> list[LedgerEntry]:
    """Return a task's commands, newest first, after `skip` of them."""
    table = schema.task_commands
    query = select(table).where(table.c.task_id == task_id).order_by(table.c.issued_at.desc(), table.c.command_id)
    return [command_of(row) for row in connection.execute(query.offset(skip).limit(limit))]


def get_command(connection: Connection, command_id: str) -> LedgerEntry | None:
    """Return a command by its id."""
    table = schema.task_commands
    row = connection.execute(select(table).where(table.c.command_id == command_id)).one_or_none()
    return command_of(row) if row else None


def latest_revision(connection: Connection) -> int:
    """Return a revision that none ever given out is above, that of a deleted task neither."""
    table = schema.id_blocks
    return int(connection.execute(select(table.c.next_id).where(table.c.name == "revision")).scalar_one()) - 1


def server_number(connection: Connection) -> int:
    """Return the number of the server that has begun to serve last."""
    table = schema.id_blocks
    return int(connection.execute(select(table.c.next_id).where(table.c.name == "server")).scalar_one())


def expired_tasks(connection: Connection, now: datetime, limit: int) -> list[int]:
    """Return the ids of up to `limit` tasks one of whose limits may have expired, the first to do so first."""
    expires_at = schema.tasks.c.expires_at
    due = select(schema.tasks.c.id).where(expires_at <= naive(now)).order_by(expires_at).limit(limit)
    return list(connection.scalars(due))


def running_tasks(connection: Connection) -> list[Task]:
    """Return all tasks in RUNNING."""
    query = select(schema.tasks).where(schema.tasks.c.status == TaskStatus.RUNNING)
    return [task_of(row) for row in connection.execute(query)]


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
    """Compare byte by byte: as texts, MySQL and MariaDB take two that differ in spaces at the end for the same."""
    return cast(text, LargeBinary) == value.encode()
