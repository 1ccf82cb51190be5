"""Statistics of tasks: counts by status now, and endings within a window."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, func, select, true

from taskplane.server.core.task import FINAL, TaskStatus
from taskplane.server.store import schema
from taskplane.server.store.records import aware, naive

# The count of a status stops here: a full count reads the whole table.
STATUS_COUNT_CAP = 1_000_000


@dataclass(frozen=True, slots=True)
class Queue:
    """Length of the queue, and the time since which the oldest task is queued."""

    length: int
    oldest_at: datetime | None


@dataclass(frozen=True, slots=True)
class Ended:
    """Number of ended tasks, number of successes, and the sum of active seconds."""

    tasks: int
    successes: int
    active_seconds: float


@dataclass(frozen=True, slots=True)
class TaskStatistics:
    """Statistics of all tasks, or of one type."""

    # Every status, counted up to STATUS_COUNT_CAP.
    by_status: Mapping[TaskStatus, int]
    queue: Queue
    # Since the beginning of the window.
    ended: Ended
    # Attempts that have failed since then, including retried ones.
    failures: int


def task_statistics(connection: Connection, since: datetime, task_type: str) -> TaskStatistics:
    """Return the statistics with a window that begins at `since`; an empty type stands for all types."""
    of_type = [schema.tasks.c.task_type == task_type] if task_type else []
    return TaskStatistics(
        by_status=_by_status(connection, of_type),
        queue=_queue(connection, of_type),
        ended=_ended(connection, since, of_type),
        failures=_failures(connection, since, of_type),
    )


def _by_status(connection: Connection, of_type: list[ColumnElement[bool]]) -> dict[TaskStatus, int]:
    """Count in one statement, so that a task that changes its status is counted exactly once."""
    tasks = schema.tasks
    counts = []
    for status in TaskStatus:
        some = select(tasks.c.id).where(tasks.c.status == status.value, *of_type).limit(STATUS_COUNT_CAP).subquery()
        counts.append(select(func.count()).select_from(some).scalar_subquery())
    return dict(zip(TaskStatus, connection.execute(select(*counts)).one(), strict=True))


def _queue(connection: Connection, of_type: list[ColumnElement[bool]]) -> Queue:
    tasks = schema.tasks
    query = select(func.count(), func.min(tasks.c.queued_at)).where(tasks.c.queued == true(), *of_type)
    length, oldest_at = connection.execute(query).one()
    return Queue(length, aware(oldest_at))


def _ended(connection: Connection, since: datetime, of_type: list[ColumnElement[bool]]) -> Ended:
    """Find ended tasks by their history, which has an index by time. Restarted tasks do not count."""
    tasks, history = schema.tasks, schema.task_status_history
    final = [status.value for status in FINAL]
    # Distinct, because a task may have ended twice. A subquery, because a join might read all final tasks.
    moved = select(history.c.task_id).distinct()
    moved = moved.where(history.c.changed_at >= naive(since), history.c.to_status.in_(final))
    recent = moved.subquery()
    query = (
        select(tasks.c.status, func.count(), func.sum(tasks.c.active_seconds))
        .select_from(recent.join(tasks, tasks.c.id == recent.c.task_id))
        .where(tasks.c.completed_at >= naive(since), *of_type)
        .group_by(tasks.c.status)
    )
    rows = connection.execute(query).all()
    return Ended(
        tasks=sum(count for _, count, _ in rows),
        successes=sum(count for status, count, _ in rows if status == TaskStatus.SUCCESS),
        active_seconds=sum(seconds for _, _, seconds in rows),
    )


def _failures(connection: Connection, since: datetime, of_type: list[ColumnElement[bool]]) -> int:
    tasks, history = schema.tasks, schema.task_status_history
    query = select(func.count()).select_from(history)
    query = query.where(history.c.changed_at >= naive(since), history.c.to_status == TaskStatus.FAILED.value)
    if of_type:
        query = query.join(tasks, tasks.c.id == history.c.task_id).where(*of_type)
    return connection.execute(query).scalar_one()
