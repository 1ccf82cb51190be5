"""How long the server has been listening: only then is silence of a unit or of a task a sign of trouble.

A server that is down, or stands still (it was stopped, its machine was frozen), cannot hear. Such time counts against
nobody.
"""

import asyncio
import logging
from collections import deque
from datetime import datetime, timedelta

from taskplane.server.core.clock import SERVER_CLOCK, monotonic, utc_now
from taskplane.server.core.limits import last_sign_of_work
from taskplane.server.core.task import Task
from taskplane.server.execution_units.registry import Registry

log = logging.getLogger(__name__)

# How often the server looks whether it has stood still; a delay of no more than this is no standstill.
TICK_SECONDS = 0.5
# Standstills that are remembered; tasks that have been silent for longer than all of these are rare.
MAX_STALLS = 1_000
# A wall clock that is further away than this has been set.
WALL_CLOCK_SECONDS = 1.0


class ListeningClock:
    """Tells from when on silence counts. `run` must run, and `check_for_stall` be called before leases are judged."""

    def __init__(self, registry: Registry, lease_seconds: float) -> None:
        self._registry = registry
        self._began_at = utc_now()
        # Units need so long at most to come back after a restart.
        self._lease = timedelta(seconds=lease_seconds)
        self._checked_at = monotonic()
        self._stalls: deque[tuple[datetime, timedelta]] = deque(maxlen=MAX_STALLS)
        self._wall_ahead = 0.0

    async def run(self) -> None:
        """Look twice a second, forever, and let the server's clock follow the wall clock."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.check_for_stall()
            self._steer()

    def check_for_stall(self) -> None:
        """Find out whether the server has stood still since the last look; all leases are longer by that then."""
        now = monotonic()
        stood_still = now - self._checked_at - TICK_SECONDS
        self._checked_at = now
        if stood_still > TICK_SECONDS:
            log.warning("the server stood still for %.1f s; all leases are that much longer", stood_still)
            self._stalls.append((utc_now(), timedelta(seconds=stood_still)))
            for unit in self._registry.all():
                unit.extend_lease(stood_still)

    def silent_since(self, task: Task) -> datetime:
        """Return from when on a RUNNING task's silence counts.

        Silence counts from the task's last sign of work. A sign from before the server's start counts as if it came a
        lease after the start, and a sign from before the unit's session as if it came with the session. While the unit
        is away, its lease decides.
        """
        self.check_for_stall()
        unit = self._registry.find(task.execution_unit_id)
        connected_at = unit.connected_at if unit and unit.session else utc_now()
        sign = last_sign_of_work(task)
        if sign < self._began_at:
            sign = self._began_at + self._lease
        since = max(sign, connected_at)
        return since + sum((seconds for at, seconds in self._stalls if at > since), timedelta())

    def listening_from(self, when: datetime) -> datetime:
        """Return the first time from `when` on at which the server could hear: after its start, and no standstill."""
        self.check_for_stall()
        if when < self._began_at:
            return self._began_at
        return next((at for at, seconds in self._stalls if at - seconds <= when < at), when)

    def _steer(self) -> None:
        ahead = SERVER_CLOCK.steer()
        if abs(ahead - self._wall_ahead) > WALL_CLOCK_SECONDS:
            log.warning(
                "the wall clock is %.1f s ahead of the server's clock, which follows slowly; a restart follows at once",
                ahead,
            )
            self._wall_ahead = ahead
