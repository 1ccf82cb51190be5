"""Progress of running attempts, and acceptances, before they are in the database.

They are too frequent for a transaction each. Readers see the cache at once. Entries are written with the task's next
change, or once a second for all tasks together.
"""

import asyncio
import logging
from dataclasses import dataclass, replace
from datetime import datetime

from taskplane.server.core.errors import DatabaseUnavailable
from taskplane.server.core.task import Progress, Task
from taskplane.server.store.live_rows import LiveRow
from taskplane.server.store.store import Store

log = logging.getLogger(__name__)

FLUSH_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class CachedProgress:
    """The latest progress of one attempt; None: nothing new."""

    attempt: int
    progress: Progress | None = None
    accepted_at: datetime | None = None
    # The accepted command, and the time.
    command_id: str = ""
    command_accepted_at: datetime | None = None


class ProgressCache:
    """The latest progress of each running attempt, by task id."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cached: dict[int, CachedProgress] = {}
        self._dirty: set[int] = set()
        # Attempts whose acceptance is new since the last flush: most end before the next flush.
        self._accepted: set[int] = set()

    def progressed(self, task_id: int, attempt: int, progress: Progress) -> None:
        """Record progress of an attempt."""
        self._put(task_id, replace(self._of(task_id, attempt), progress=progress))

    def accepted(self, task_id: int, attempt: int, at: datetime, *, may_wait: bool = True) -> None:
        """Record that the unit accepted the attempt; `may_wait` skips one flush, if the unit keeps it too."""
        self._cached[task_id] = replace(self._of(task_id, attempt), accepted_at=at)
        (self._accepted if may_wait else self._dirty).add(task_id)

    def command_accepted(self, task_id: int, attempt: int, command_id: str, at: datetime) -> None:
        """Record that the unit accepted a pause or cancel."""
        self._put(task_id, replace(self._of(task_id, attempt), command_id=command_id, command_accepted_at=at))

    def overlay(self, task: Task) -> Task:
        """Return the task with the latest progress of its current attempt."""
        cached = self._cached.get(task.id)
        if cached is None or cached.attempt != task.attempt or task.is_final:
            return task
        pending = task.pending_command
        if pending and pending.command_id == cached.command_id and cached.command_accepted_at:
            pending = replace(pending, accepted_at=cached.command_accepted_at)
        return task.but(
            progress=cached.progress or task.progress,
            accepted_at=cached.accepted_at or task.accepted_at,
            pending_command=pending,
        )

    def forget(self, task_id: int) -> None:
        """Drop the progress of an attempt that ended: its last change has written everything."""
        self._cached.pop(task_id, None)
        self._dirty.discard(task_id)
        self._accepted.discard(task_id)

    async def close(self) -> None:
        """Write all new progress."""
        self._dirty |= self._accepted
        await self.flush()

    async def flush(self) -> None:
        """Write progress that is new since the last flush, and acceptances from before the last flush.

        Later progress waits for the next flush.
        """
        rows = [self._row(task_id, self._cached[task_id]) for task_id in self._dirty]
        taken, self._dirty, self._accepted = self._dirty, self._accepted, set()
        try:
            await self._store.save_live(rows)
        except BaseException:
            self._dirty |= taken & self._cached.keys()
            raise

    async def run(self) -> None:
        """Flush once a second, forever. While the database is away, progress accumulates."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await self.flush()
            except DatabaseUnavailable as error:
                log.debug("progress is not written: %s", error.message)

    def _of(self, task_id: int, attempt: int) -> CachedProgress:
        cached = self._cached.get(task_id)
        return cached if cached and cached.attempt == attempt else CachedProgress(attempt)

    def _put(self, task_id: int, cached: CachedProgress) -> None:
        self._cached[task_id] = cached
        self._dirty.add(task_id)

    @staticmethod
    def _row(task_id: int, cached: CachedProgress) -> LiveRow:
        return LiveRow(
            task_id,
            cached.attempt,
            cached.progress,
            cached.accepted_at,
            cached.command_id,
            cached.command_accepted_at,
        )
