"""The store: every read and write of the server, named by intent."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection, delete, select

from taskplane.server.core.command_log import CommandLogEntry
from taskplane.server.core.delayed_tasks import DelayedTask
from taskplane.server.core.task import Checkpoint, Task, Transition
from taskplane.server.core.task_queue import QueuedTask
from taskplane.server.core.unit import Unit
from taskplane.server.store import deletions, reading, schema
from taskplane.server.store.database import Database
from taskplane.server.store.deletions import Deletion
from taskplane.server.store.id_blocks import IdBlocks
from taskplane.server.store.keyed_calls import compressed, save_responses
from taskplane.server.store.live_rows import LiveRow, save_live
from taskplane.server.store.pending_transaction import PendingTransaction
from taskplane.server.store.queue import delayed_tasks
from taskplane.server.store.reading import TaskFilter, TaskRows
from taskplane.server.store.records import naive
from taskplane.server.store.statistics import TaskStatistics, task_statistics
from taskplane.server.store.task_cache import TaskCache
from taskplane.server.store.transaction import WriteTransaction
from taskplane.server.store.unit_rows import save_heartbeats, save_units

T = TypeVar("T")


class Store:
    """Durable tasks, history, checkpoints and units. Every method raises DatabaseUnavailable when the database is away.

    Only `begin` changes the status of tasks, and only group commit calls it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ids = IdBlocks()
        self._task_cache = TaskCache()
        # Writes of units are serialised, so that an older state never overwrites a newer one.
        self._unit_writes = asyncio.Lock()

    def begin(self, decide: Callable[[WriteTransaction], T]) -> PendingTransaction[T]:
        """Begin a transaction whose writes `decide` chooses. See Database.begin."""
        return self._database.begin(lambda start: WriteTransaction(start, self._ids, self._task_cache), decide)

    async def return_unused_ids(self) -> None:
        """Return the rests of id blocks to the database. Call it after the last transaction."""
        spans: dict[str, range] = {}

        def return_unused(connection: Connection) -> None:
            spans.update(self._ids.release())  # empty in a retry
            self._ids.return_unused(connection, spans)

        await self._database.write(return_unused)

    async def save_live(self, rows: Sequence[LiveRow]) -> None:
        """Store progress and acknowledgements of running attempts; never a status."""

        def save(connection: Connection) -> None:
            self._task_cache.evict(row.task_id for row in rows)
            save_live(connection, rows)

        if rows:
            await self._database.write(save)

    async def save_responses(self, responses: Mapping[str, bytes]) -> None:
        """Store the responses to calls with idempotency keys, by request id."""
        if responses:
            rows = await asyncio.to_thread(compressed, responses)
            await self._database.write_unordered(lambda connection: save_responses(connection, rows))

    async def get_task(self, task_id: int) -> Task | None:
        """Return a task; its checkpoint is without data. Raises TooManyReads."""
        return await self._database.read_rows(lambda connection: reading.get_task(connection, task_id))

    async def choose_tasks(
        self, chosen: TaskFilter, *, limit: int, after_id: int = 0, seconds: float | None = None
    ) -> list[int]:
        """Return up to `limit` ids of tasks beyond `after_id`, in their order. Raises ReadTooLong, TooManyReads."""
        return await self._database.scan(
            lambda connection: reading.choose_tasks(
                connection, chosen, newest_first=False, after_id=after_id, limit=limit
            ),
            seconds,
        )

    async def list_tasks(  # noqa: PLR0913  (filter, order and window of one query)
        self,
        chosen: TaskFilter,
        *,
        newest_first: bool,
        after_id: int | None,
        limit: int,
        skip: int = 0,
        max_bytes: int = reading.MAX_ROWS_BYTES,
        seconds: float | None = None,
    ) -> TaskRows:
        """Return up to `limit` tasks by id, beyond `after_id` and `skip` more; fewer if they are large.

        Raises ReadTooLong if that takes longer than `seconds`, and TooManyReads.
        """
        return await self._database.scan(
            lambda connection: reading.list_tasks(
                connection,
                chosen,
                newest_first=newest_first,
                after_id=after_id,
                limit=limit,
                skip=skip,
                max_bytes=max_bytes,
            ),
            seconds,
        )

    async def tasks_that_fit(self, task_ids: Sequence[int]) -> dict[int, Task | None]:
        """Return the first of some tasks, at least one, in the given order; None for a task that does not exist.

        The caller continues with the remaining ids. Raises TooManyReads.
        """
        return await self._database.read_rows(lambda connection: reading.tasks_that_fit(connection, task_ids))

    async def page_for_watch(self, chosen: TaskFilter, *, after_id: int, limit: int, max_bytes: int) -> TaskRows:
        """Return the next tasks of a snapshot, in the order of their ids. Raises ReadTooLong."""
        return await self._database.read_for_watch(
            lambda connection: reading.list_tasks(
                connection, chosen, newest_first=False, after_id=after_id, limit=limit, max_bytes=max_bytes
            )
        )

    async def count_tasks(self, chosen: TaskFilter, seconds: float | None = None) -> int:
        """Count tasks up to COUNT_CAP + 1. Raises ReadTooLong, TooManyReads."""
        return await self._database.scan(lambda connection: reading.count_tasks(connection, chosen), seconds)

    async def task_statistics(self, since: datetime, task_type: str, seconds: float | None = None) -> TaskStatistics:
        """Return figures of the tasks of a type, or of all types if empty, with a window that begins at `since`.

        Raises ReadTooLong, TooManyReads.
        """
        return await self._database.scan(lambda connection: task_statistics(connection, since, task_type), seconds)

    async def list_transitions(self, task_id: int, *, after_revision: int, limit: int) -> list[Transition]:
        """Return a task's history, oldest first. Raises TooManyReads."""
        return await self._database.read_rows(
            lambda connection: reading.list_transitions(connection, task_id, after_revision=after_revision, limit=limit)
        )

    async def transitions_since(self, after_revision: int, *, task_ids: Sequence[int], limit: int) -> list[Transition]:
        """Return the history of some tasks, or of all without ids, oldest first. Raises ReadTooLong."""
        return await self._database.read_for_watch(
            lambda connection: reading.transitions_since(connection, after_revision, task_ids=task_ids, limit=limit)
        )

    async def deletions_since(self, after_revision: int, *, task_ids: Sequence[int], limit: int) -> list[Deletion]:
        """Return the stored deletions of some tasks, or of all without ids, oldest first. Raises ReadTooLong."""
        return await self._database.read_for_watch(
            lambda connection: deletions.deletions_since(connection, after_revision, task_ids=task_ids, limit=limit)
        )

    async def list_checkpoints(self, task_id: int) -> list[Checkpoint]:
        """Return a task's checkpoints, newest first. Raises TooManyReads."""
        return await self._database.read_rows(lambda connection: reading.list_checkpoints(connection, task_id))

    async def get_checkpoint(self, task_id: int, number: int) -> Checkpoint | None:
        """Return one checkpoint with its data. Raises TooManyReads."""
        return await self._database.read_rows(lambda connection: reading.get_checkpoint(connection, task_id, number))

    async def list_commands(
        self, task_id: int, *, before: tuple[datetime, str] | None, limit: int
    ) -> list[CommandLogEntry]:
        """Return a task's commands, newest first, before the one with this time and id. Raises TooManyReads."""
        return await self._database.read_rows(
            lambda connection: reading.list_commands(connection, task_id, before=before, limit=limit)
        )

    async def get_command(self, command_id: str) -> CommandLogEntry | None:
        """Return a command by its id. Raises TooManyReads."""
        return await self._database.read_rows(lambda connection: reading.get_command(connection, command_id))

    async def purged_revision(self) -> int:
        """Return the revision up to which history may have gaps. Raises TooManyReads."""
        return await self._database.read_rows(deletions.purged_revision)

    async def latest_revision(self) -> int:
        """Return the highest revision ever assigned, or a higher one."""
        return await self._database.read(reading.latest_revision)

    async def take_over(self, address: str) -> None:
        """Become the owner; see Database.take_over."""
        await self._database.take_over(address)

    async def renew_lease(self) -> None:
        """Renew the owner's lease."""
        await self._database.renew_lease()

    async def expired_tasks(self, now: datetime, limit: int, wall_now: datetime | None = None) -> list[int]:
        """Return the ids of tasks one of whose limits may have expired; deadlines count on the wall clock."""
        wall_now = wall_now or now
        return await self._database.read(lambda connection: reading.expired_tasks(connection, now, wall_now, limit))

    async def check_readable(self) -> None:
        """Read one row of every table."""

        def read(connection: Connection) -> None:
            for table in schema.metadata.sorted_tables:
                connection.execute(select(*table.primary_key.columns).limit(1)).first()

        await self._database.read(read)

    async def running_tasks(self) -> list[Task]:
        """Return all tasks in RUNNING."""
        return await self._database.read(reading.running_tasks)

    async def running_attempts(self) -> list[tuple[int, int, str]]:
        """Return the id, attempt and unit of all tasks in RUNNING."""
        return await self._database.read(reading.running_attempts)

    async def task_types(self) -> list[str]:
        """Return the types of all tasks in the table."""
        return await self._database.read(reading.task_types)

    async def delayed_tasks(self, first: DelayedTask, limit: int) -> list[tuple[datetime, QueuedTask]]:
        """Return the first queued tasks whose delay ends at `first` or later, in order, with the end of each delay."""
        return await self._database.read(lambda connection: delayed_tasks(connection, first, limit))

    async def all_units(self) -> list[Unit]:
        """Return all units as they were last stored."""
        return await self._database.read(reading.all_units)

    async def save_units(self, units: Sequence[Unit]) -> None:
        """Store units, new or changed."""
        async with self._unit_writes:
            await self._database.write(lambda connection: save_units(connection, units))

    async def save_heartbeats(self, units: Sequence[Unit]) -> None:
        """Store status, load and last heartbeat of connected units."""
        if units:
            async with self._unit_writes:
                await self._database.write_unordered(lambda connection: save_heartbeats(connection, units))

    async def forget_calls(self, before: datetime) -> None:
        """Forget the calls with idempotency keys that were made before a time."""
        table = schema.task_requests
        old = delete(table).where(table.c.created_at < naive(before))
        await self._database.write_unordered(lambda connection: connection.execute(old))

    async def forget_call(self, request_id: str) -> None:
        """Forget a call with an idempotency key, unless its response is stored."""
        table = schema.task_requests
        without_response = delete(table).where(table.c.request_id == request_id, table.c.answer.is_(None))
        await self._database.write_unordered(lambda connection: connection.execute(without_response))

    async def forget_deletions(self, before: datetime) -> None:
        """Delete the tombstones before a time; `purged_revision` becomes the revision of the newest."""
        newest = await self._database.read(lambda connection: deletions.newest_deletion(connection, before))
        if newest is None:
            return
        # In this order: after a crash in between, no tombstone is missing without a record.
        await self._database.write(lambda connection: deletions.note_purge(connection, newest))
        await self._database.write_unordered(lambda connection: deletions.drop_deletions(connection, newest))

    async def delete_unit(self, unit_id: str) -> None:
        """Delete a unit."""
        table = schema.execution_units
        async with self._unit_writes:
            await self._database.write(
                lambda connection: connection.execute(delete(table).where(table.c.id == unit_id))
            )
