"""The listening clock: silence of a unit or task counts only while the server could receive messages.

Downtime and stalls of the server (a stopped process, a frozen machine) do not count.
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

# Interval of checks for stalls, in seconds; a shorter delay is no stall.
TICK_SECONDS = 0.5
# Stalls that are remembered; a task that was silent for more of them is rare.
MAX_STALLS = 1_000
# A larger difference of wall clock and server clock, in seconds, is logged: the wall clock was set.
WALL_CLOCK_SECONDS = 1.0


class ListeningClock:
    """Measures silence without stalls. `run` must be running; call `check_for_stall` before a check of leases."""

    def __init__(self, registry: Registry, lease_seconds: float) -> None:
        self._registry = registry
        self._began_at = utc_now()
        # After a restart of the server, units return within a lease.
        self._lease = timedelta(seconds=lease_seconds)
        self._checked_at = monotonic()
        self._stalls: deque[tuple[datetime, timedelta]] = deque(maxlen=MAX_STALLS)
        self._wall_ahead = 0.0

    async def run(self) -> None:
        """Check for stalls, and steer the server's clock to the wall clock, forever."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.check_for_stall()
            self._steer()

    def check_for_stall(self) -> None:
        """Extend all leases by the length of a stall since the last check."""
        now = monotonic()
        stood_still = now - self._checked_at - TICK_SECONDS
        self._checked_at = now
        if stood_still > TICK_SECONDS:
            log.warning("the server stood still for %.1f s; all leases are that much longer", stood_still)
            self._stalls.append((utc_now(), timedelta(seconds=stood_still)))
            for unit in self._registry.all():
                unit.extend_lease(stood_still)

    def silent_since(self, task: Task) -> datetime:
        """Return the time from which a RUNNING task's silence counts, stalls included.

        This is the task's last sign of work. A sign from before the server's start moves to a lease after the start; a
        sign from before the unit's session moves to the start of the session. While the unit is away, its lease
        decides.
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
        """Return the first time from `when` on that is after the server's start and in no stall."""
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
