"""The dispatch loop: sees to it that a transaction comes along whenever something that is queued may have room.

The dispatcher gives out slots at the end of every transaction; see tasks.dispatcher. So the loop proposes one only when
nothing else may come: slots have become free, a delay is over, or another server has queued something.
"""

import asyncio
import logging
from collections.abc import Collection, Sequence
from functools import partial

from taskplane.server.core.backlog import FRONT, Queued, Turn
from taskplane.server.core.clock import utc_now
from taskplane.server.core.errors import DatabaseUnavailable
from taskplane.server.store.store import Store
from taskplane.server.tasks.batch import Committed
from taskplane.server.tasks.dispatcher import LARGEST_PAGE
from taskplane.server.tasks.state_manager import TaskStateManager
from taskplane.server.units.registry import Registry

log = logging.getLogger(__name__)

# How often the table is looked at for what others have queued.
TICK_SECONDS = 1.0


class DispatchLoop:
    """Looks after the queue. `follow` must hear every commit, after the registry."""

    def __init__(self, states: TaskStateManager, store: Store, registry: Registry) -> None:
        self._states = states
        self._store = store
        self._slots = registry.slots
        # Set when there may be more to offer than before, or more that waits.
        self._wake = registry.may_offer_more

    def follow(self, committed: Sequence[Committed]) -> None:
        """Wake up for slots that have become free, and for tasks when their delay is over."""
        for event in committed:
            task = event.task
            if task.queued_at and task.not_before and task.not_before > task.updated_at:
                delay = (task.not_before - task.updated_at).total_seconds()
                asyncio.get_running_loop().call_later(delay, partial(self._found, [Queued.of(task)]))
        if self._slots.looks.types():
            self._wake.set()

    async def run(self) -> None:
        """Propose a transaction whenever there is something to give out, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not self._slots.looks.types():
                continue
            try:
                await self._states.fill_slots()
            except DatabaseUnavailable as error:
                log.warning("nothing can be dispatched: %s", error.message)
                await asyncio.sleep(TICK_SECONDS)

    async def look_at_table(self) -> None:
        """Look for what others have queued, for ever: a page at a time, and after the last one the first again."""
        # What waits for room in vain must not hide what has it.
        with_room = without_room = FRONT
        while True:
            await asyncio.sleep(TICK_SECONDS)
            types = set(self._slots.looks.backlog.types())
            has_room = {each for each in types if self._slots.free([each])}
            try:
                with_room = await self._look_at_page(has_room, with_room)
                without_room = await self._look_at_page(types - has_room, without_room)
            except DatabaseUnavailable as error:
                log.debug("the queue is not looked at: %s", error.message)
            # Also for what a transaction that has failed would have given out.
            self._wake.set()

    async def _look_at_page(self, types: Collection[str], after: Turn) -> Turn:
        """Look at what waits behind `after` of some types. Returns how far, or the front again at the end."""
        found = await self._store.queued_tasks(types, utc_now(), LARGEST_PAGE, after) if types else []
        self._found(found)
        return found[-1].turn if len(found) == LARGEST_PAGE else FRONT

    def _found(self, waiting: Sequence[Queued]) -> None:
        self._slots.looks.came(waiting)
        self._wake.set()
