"""Leases: a unit that is silent for a lease loses its tasks, and an unaccepted start goes to another unit.

Unanswered pauses and cancels are sent again. All times are monotonic. The server's start renews the lease of
every unit.
"""

import asyncio
import logging
from collections.abc import Awaitable, Iterator

from taskplane.server.core import reports
from taskplane.server.core.clock import monotonic
from taskplane.server.core.errors import DatabaseUnavailable, LeaseExpired, StaleAttempt, TaskNotFound
from taskplane.server.core.fence import AttemptRef
from taskplane.server.core.tuning import DEFAULT_TUNING, Tuning
from taskplane.server.execution_units.listening_clock import ListeningClock
from taskplane.server.execution_units.registry import Registry
from taskplane.server.execution_units.unit_entry import UnitEntry
from taskplane.server.tasks.state_manager import TaskStateManager

log = logging.getLogger(__name__)


class Leases:
    """Takes tasks from silent units, and unaccepted starts from all units."""

    def __init__(
        self,
        states: TaskStateManager,
        registry: Registry,
        lease_seconds: float,
        listening_clock: ListeningClock | None = None,
        tuning: Tuning = DEFAULT_TUNING,
    ) -> None:
        self._states = states
        self._registry = registry
        self._lease_seconds = lease_seconds
        self._listening_clock = listening_clock or ListeningClock(registry, lease_seconds)
        self._tuning = tuning

    async def run(self) -> None:
        """Check forever. While the database is unavailable, tasks stay where they are."""
        while True:
            await asyncio.sleep(self._tuning.lease_check_seconds)
            try:
                await self.check()
            except DatabaseUnavailable as error:
                log.debug("leases cannot be settled: %s", error.message)

    async def check(self) -> None:
        """Take the tasks of every silent unit, and every unaccepted start.

        All changes are submitted together, so that a thousand lost units need few transactions.
        """
        self._listening_clock.check_for_stall()
        now = monotonic()
        taken: list[Awaitable[None]] = []
        for unit in self._registry.all():
            if now - unit.heard_at > self._lease_seconds:
                taken += self._lose(unit)
            elif unit.session:
                unit.session.resend_unanswered(now - self._tuning.accept_seconds)
                taken += self._take_unaccepted(unit, now)
        for outcome in await asyncio.gather(*taken, return_exceptions=True):
            if outcome:
                raise outcome

    def _lose(self, unit: UnitEntry) -> Iterator[Awaitable[None]]:
        if unit.session:
            log.warning("unit %s is silent for its lease of %g s", unit.record.id, self._lease_seconds)
            unit.session.set_flags(is_responsive=False)  # so that the lost tasks are not dispatched to it again at once
            unit.session.link.end(LeaseExpired(unit.record.id, self._lease_seconds))
        if unit.running:
            attempts = {task_id: each.attempt for task_id, each in unit.running.items()}
            why = f"unit lost: not heard from for {self._lease_seconds:g} s"
            yield self._states.lose(unit.record.id, attempts, why)

    def _take_unaccepted(self, unit: UnitEntry, now: float) -> Iterator[Awaitable[None]]:
        for task_id, each in unit.running.items():
            if each.accepted or now - each.since <= self._tuning.accept_seconds:
                continue
            if unit.session and unit.session.link.may_have_started((task_id, each.attempt)):
                continue
            log.warning("unit %s has not accepted attempt %s of task %s", unit.record.id, each.attempt, task_id)
            if unit.session:
                unit.session.set_flags(is_responsive=False)
            self._registry.slots.mark_suspect(unit.record.id)
            yield self._take_start(unit.record.id, task_id, each.attempt)

    async def _take_start(self, unit_id: str, task_id: int, attempt: int) -> None:
        sender, seconds = AttemptRef(unit_id, attempt), self._tuning.accept_seconds
        try:
            await self._states.change(
                task_id, lambda task, now: reports.not_accepted(task, sender, now, seconds=seconds)
            )
        except (StaleAttempt, TaskNotFound):
            log.info("attempt %s of task %s is over already", attempt, task_id)
