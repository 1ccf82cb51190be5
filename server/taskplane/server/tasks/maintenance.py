"""Periodic work: expire time limits, purge old rows."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from taskplane.server.core.clock import utc_now, wall_now
from taskplane.server.core.errors import DatabaseUnavailable, ServerStopping
from taskplane.server.core.limits import Listening
from taskplane.server.core.tuning import DEFAULT_TUNING, Tuning
from taskplane.server.store.store import Store
from taskplane.server.tasks.state_manager import TaskStateManager

log = logging.getLogger(__name__)

EXPIRE_SECONDS = 0.5
# Small enough not to delay other commits.
BATCH = 200
# The API promises one day for idempotency keys.
KEYS_KEPT = timedelta(days=2)


class Maintenance:
    """The loops that keep tasks within their limits and the tables small."""

    def __init__(
        self,
        states: TaskStateManager,
        store: Store,
        retention: timedelta | None,
        listening: Listening | None = None,
        tuning: Tuning = DEFAULT_TUNING,
    ) -> None:
        self._states = states
        self._store = store
        self._retention = retention
        self._listening = listening
        self._tuning = tuning

    async def expire_forever(self) -> None:
        """Apply time limits twice a second."""
        await repeat(EXPIRE_SECONDS, self.expire)

    async def purge_forever(self) -> None:
        """Delete what is old once a minute."""
        await repeat(self._tuning.purge_seconds, self.purge)

    async def expire(self) -> None:
        """Apply all time limits that have expired."""
        there_may_be_more = True
        while there_may_be_more:
            # Read outside of transactions: the result is nearly always empty.
            if due := await self._store.expired_tasks(utc_now(), BATCH, wall_now()):
                await self._states.expire(due, self._listening)
            there_may_be_more = len(due) == BATCH

    async def purge(self) -> None:
        """Delete finished tasks after their retention, and old idempotency keys and deletions."""
        now = utc_now()
        if self._retention is not None:
            while await self._states.purge(now - self._retention, BATCH) == BATCH:
                pass
        await self._store.forget_calls(now - KEYS_KEPT)
        await self._store.forget_deletions(now - self._tuning.deletions_kept)


async def repeat(seconds: float, job: Callable[[], Awaitable[None]]) -> None:
    """Run a job at this interval until the server stops; after an outage the job runs at the next interval."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await job()
        except DatabaseUnavailable as error:
            log.debug("maintenance waits: %s", error.message)
        except ServerStopping:
            return
