"""Tombstones of deleted tasks, for watches that resume; and the revision up to which history may have gaps.

A deletion has a revision, as a transition has. Before old tombstones or purged tasks are deleted, their highest
revision is recorded: a watch that resumes reads history first, and the recorded revision afterwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from taskplane.server.store import schema
from taskplane.server.store.records import naive


@dataclass(frozen=True, slots=True)
class Deletion:
    """A task was deleted."""

    revision: int
    task_id: int
    task_type: str


def deletions_since(
    connection: Connection, after_revision: int, *, task_ids: Sequence[int], limit: int
) -> list[Deletion]:
    """Return the deletions of some tasks, or of all without ids, in the order of revisions."""
    table = schema.deleted_tasks
    query = select(table.c.revision, table.c.task_id, table.c.task_type).where(table.c.revision > after_revision)
    if task_ids:
        query = query.where(table.c.task_id.in_(task_ids))
    return [Deletion(*row) for row in connection.execute(query.order_by(table.c.revision).limit(limit))]


def newest_deletion(connection: Connection, before: datetime) -> int | None:
    """Return the revision of the newest deletion before a time, or None."""
    table = schema.deleted_tasks
    query = select(func.max(table.c.revision)).where(table.c.deleted_at < naive(before))
    newest: int | None = connection.execute(query).scalar_one()
    return newest


def drop_deletions(connection: Connection, up_to_revision: int) -> None:
    """Delete the tombstones up to a revision, which must have been recorded before."""
    table = schema.deleted_tasks
    connection.execute(table.delete().where(table.c.revision <= up_to_revision))


def note_purge(connection: Connection, revision: int) -> None:
    """Record the revision up to which transitions or deletions may be missing."""
    table = schema.id_blocks
    later = (table.c.name == "purged") & (table.c.next_id < revision)
    connection.execute(table.update().where(later).values(next_id=revision))


def purged_revision(connection: Connection) -> int:
    """Return the revision up to which transitions or deletions may be missing."""
    table = schema.id_blocks
    return int(connection.execute(select(table.c.next_id).where(table.c.name == "purged")).scalar_one())
