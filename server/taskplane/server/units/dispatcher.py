"""The dispatcher: sees to it that a transaction comes along whenever a queued task may have room.

Every transaction gives free slots to queued tasks at its end, and the unit manager hears from its commit who got what.
So the dispatcher proposes one only when nothing else may come: slots have become free, or a delay is over.
"""

import asyncio
import logging
from collections.abc import Sequence

from taskplane.server.core.errors import DatabaseUnavailable
from taskplane.server.tasks.batch import Committed
from taskplane.server.tasks.state_manager import TaskStateManager
from taskplane.server.units.registry import Registry

log = logging.getLogger(__name__)

# How often the queue is looked at without a cause: for tasks that other servers have queued.
TICK_SECONDS = 1.0


class Dispatcher:
    """Looks after the queue. `follow` must hear every commit, after the registry."""

    def __init__(self, states: TaskStateManager, registry: Registry) -> None:
        self._states = states
        self._slots = registry.slots
        # Set when there may be more to offer than before.
        self._wake = registry.may_offer_more

    def follow(self, committed: Sequence[Committed]) -> None:
        """Wake up for slots that have become free, and for tasks when their delay is over."""
        for event in committed:
            task = event.task
            if task.queued_at and task.not_before and task.not_before > task.updated_at:
                delay = (task.not_before - task.updated_at).total_seconds()
                asyncio.get_running_loop().call_later(delay, self._look_again)
        if self._slots.types_to_look_at():
            self._wake.set()

    async def run(self) -> None:
        """Look after the queue for ever."""
        while True:
            await self._pause()
            if not self._slots.types_to_look_at():
                continue
            try:
                await self._states.fill_slots()
            except DatabaseUnavailable as error:
                log.warning("nothing can be dispatched: %s", error.message)
                await asyncio.sleep(TICK_SECONDS)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(TICK_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            self._slots.look_again()
        self._wake.clear()

    def _look_again(self) -> None:
        self._slots.look_again()
        self._wake.set()
