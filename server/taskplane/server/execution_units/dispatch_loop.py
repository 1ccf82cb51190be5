"""The dispatch loop: sees to it that a transaction comes along whenever a queued task may have room.

The dispatcher gives out slots at the end of every transaction; see tasks.dispatcher. So the loop proposes one only when
nothing else may come: slots have become free, or a task's delay is over.
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

# How often the loop looks without being woken: for what a transaction that has failed would have given out.
TICK_SECONDS = 1.0
# How long to wait before asking a database again that is away.
AWAY_SECONDS = 1.0
# Tasks whose delay is over that are loaded in one transaction.
MOST_DUE = 200
# No wait for a delay is longer, so that the clock and the timers do not part.
LONGEST_WAIT_SECONDS = 60.0


class DispatchLoop:
    """Looks after the queue. `on_commit` must hear every commit, after the registry.

    To be built before the first transaction: delays that end from now on are its concern.
    """

    def __init__(self, states: TaskStateManager, store: Store, registry: Registry) -> None:
        self._states = states
        self._store = store
        self._slots = registry.slots
        # Set when there may be more to offer than before, or more that waits.
        self._wake = registry.may_offer_more
        self._delays = DelayedTasks(utc_now())
        # Tasks whose delay is over and that may have room.
        self._due: list[int] = []
        self._sleeps_until: datetime | None = None
        self._earlier = asyncio.Event()

    def on_commit(self, committed: Sequence[CommittedEvent]) -> None:
        """Wake up for slots that have become free, and for tasks when their delay is over."""
        for event in committed:
            task = event.task
            if task.queued_at and task.not_before and task.not_before > task.updated_at:
                self._delays.put(task)
                if self._sleeps_until is None or task.not_before < self._sleeps_until:
                    self._earlier.set()
        if self._slots.scan.types():
            self._wake.set()

    async def run(self) -> None:
        """Propose a transaction whenever there is something to give out, forever."""
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
        """Offer each delayed task a slot when its time comes, forever. Begins with what the table has."""
        while True:
            self._earlier.clear()
            if self._delays.needs_page():
                await self._read_page()
            if due := self._delays.take(utc_now(), MOST_DUE):
                self._offer(due)
                await asyncio.sleep(0)  # many that are due at once do not hold up others
            else:
                await self._sleep()

    def _offer(self, due: Sequence[QueuedTask]) -> None:
        """Let what may have room go into the next transaction, wherever the look at the backlog is; the rest waits."""
        for queued in due:
            if self._slots.may_have_room(queued.kind):
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
        """Sleep until the next delay is over, or one comes that is over earlier."""
        self._sleeps_until = self._delays.next_at()
        seconds = (self._sleeps_until - utc_now()).total_seconds() if self._sleeps_until else LONGEST_WAIT_SECONDS
        with suppress(TimeoutError):
            async with asyncio.timeout(min(max(seconds, 0.0), LONGEST_WAIT_SECONDS)):
                await self._earlier.wait()
