"""The dispatcher: whenever a task is queued or a slot is free, it claims tasks for the free slots.

One claim at a time, so that no slot is given away twice. Nothing is decided in memory: the claim is a proposal to the
state manager like any other, and only what it committed is sent.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from taskplane.server.core.dispatch import Dispatch
from taskplane.server.core.errors import DatabaseUnavailable
from taskplane.server.core.task import TaskStatus
from taskplane.server.tasks.batch import Committed
from taskplane.server.tasks.state_manager import TaskStateManager
from taskplane.server.units.registry import Registry

log = logging.getLogger(__name__)

# How often the queue is looked at without a cause: for tasks whose backoff ends, and those that others have queued.
TICK_SECONDS = 1.0


class Dispatcher:
    """Claims for the registry's free slots and hands what was claimed to `send`."""

    def __init__(
        self, states: TaskStateManager, registry: Registry, send: Callable[[Sequence[Dispatch]], None]
    ) -> None:
        self._states = states
        self._registry = registry
        self._send = send
        # Set for whatever may fill or need a slot.
        self._wake = registry.may_offer_more

    def follow(self, committed: Sequence[Committed]) -> None:
        """Wake up for whatever may fill or need a slot."""
        for event in committed:
            frees_a_slot = event.transition is not None and event.transition.from_status is TaskStatus.RUNNING
            if frees_a_slot or event.task.queued_at:
                self._wake.set()
            if event.task.queued_at and event.task.not_before:
                delay = (event.task.not_before - event.task.updated_at).total_seconds()
                asyncio.get_running_loop().call_later(max(0.0, delay), self._wake.set)

    async def run(self) -> None:
        """Claim for ever."""
        while True:
            await self._pause()
            if offers := self._registry.offers():
                try:
                    self._send(await self._states.claim(offers))
                except DatabaseUnavailable as error:
                    log.warning("nothing can be dispatched: %s", error.message)
                    await asyncio.sleep(TICK_SECONDS)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(TICK_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()
