"""The dispatch loop: submits an empty transaction when a queued task may fit a free slot.

Slots are assigned at the end of every transaction, by tasks.dispatcher. The loop covers the cases without another
transaction: a slot has become free, or a task's delay is over.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

from taskplane.server.core.clock import utc_now
from taskplane.server.core.delayed_tasks import DelayedTasks
from taskplane.server.core.errors import DatabaseUnavailable
from taskplane.server.core.task_queue import QueuedTask
from taskplane.server.execution_units.registry import Registry
from taskplane.server.store.store import Store
from taskplane.server.tasks.state_manager import TaskStateManager
from taskplane.server.tasks.unit_of_work import CommittedEvent

log = logging.getLogger(__name__)

# Interval of checks without a wake-up, in seconds: covers transactions that have failed.
TICK_SECONDS = 1.0
# Wait before the next try after the database was unavailable, in seconds.
AWAY_SECONDS = 1.0
# Tasks with an expired delay in one transaction.
MOST_DUE = 200
# Upper bound of one wait for a delay, in seconds, since the clock and the timers drift apart.
LONGEST_WAIT_SECONDS = 60.0


class DispatchLoop:
    """Triggers dispatches. `on_commit` must receive every commit, after the registry.

    Must be built before the first transaction: it handles the delays that end from now on.
    """

    def __init__(self, states: TaskStateManager, store: Store, registry: Registry) -> None:
        self._states = states
        self._store = store
        self._slots = registry.slots
        # Set when there may be more free slots or more queued tasks.
        self._wake = registry.may_offer_more
        self._delays = DelayedTasks(utc_now())
        # Tasks with an expired delay that may fit a free slot.
        self._due: list[int] = []
        self._sleeps_until: datetime | None = None
        self._earlier = asyncio.Event()

    def on_commit(self, committed: Sequence[CommittedEvent]) -> None:
        """Wake up the loops for free slots and new delays."""
        for event in committed:
            task = event.task
            if task.queued_at and task.not_before and task.not_before > task.updated_at:
                self._delays.put(task)
                if self._sleeps_until is None or task.not_before < self._sleeps_until:
                    self._earlier.set()
        if self._slots.scan.types():
            self._wake.set()

    async def run(self) -> None:
        """Submit a transaction whenever a task may fit a free slot, forever."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            if not self._slots.scan.types() and not self._due:
                continue
            due, self._due = self._due[:MOST_DUE], self._due[MOST_DUE:]
            try:
                await self._states.fill_slots(due)
            except DatabaseUnavailable as error:
                log.debug("nothing can be dispatched: %s", error.message)
                self._due = due + self._due
                await asyncio.sleep(AWAY_SECONDS)
            if self._due:
                self._wake.set()

    async def run_delays(self) -> None:
        """Queue each delayed task when its delay is over, forever. Begins with the delays in the table."""
        while True:
            self._earlier.clear()
            if self._delays.needs_page():
                await self._read_page()
            if due := self._delays.take(utc_now(), MOST_DUE):
                self._queue_due(due)
                await asyncio.sleep(0)  # many delays that end together must not block the event loop
            else:
                await self._sleep()

    def _queue_due(self, due: Sequence[QueuedTask]) -> None:
        """Load tasks that may fit a free slot by the next transaction, wherever the scan is; queue the others."""
        for queued in due:
            if self._slots.kind_fits_now(queued.kind):
                self._due.append(queued.task_id)
            else:
                self._slots.scan.task_queue.put_if_new(queued)
        if self._due:
            self._wake.set()

    async def _read_page(self) -> None:
        limit = self._delays.begin_read()
        try:
            self._delays.learn(await self._store.delayed_tasks(self._delays.end, limit), limit)
        except DatabaseUnavailable as error:
            self._delays.give_up_read()
            log.debug("delayed tasks cannot be read: %s", error.message)
            await asyncio.sleep(AWAY_SECONDS)

    async def _sleep(self) -> None:
        """Sleep until the next delay ends, or an earlier one is added."""
        self._sleeps_until = self._delays.next_at()
        seconds = (self._sleeps_until - utc_now()).total_seconds() if self._sleeps_until else LONGEST_WAIT_SECONDS
        with suppress(TimeoutError):
            async with asyncio.timeout(min(max(seconds, 0.0), LONGEST_WAIT_SECONDS)):
                await self._earlier.wait()
