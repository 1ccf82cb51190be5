"""Statistics for operators: tasks from the database, units and slots from memory."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from taskplane.server.core.clock import utc_now
from taskplane.server.core.unit import Unit, UnitStatus
from taskplane.server.execution_units.manager import ExecutionUnitManager
from taskplane.server.store.statistics import TaskStatistics
from taskplane.server.store.store import Store


@dataclass(frozen=True, slots=True)
class UnitFigures:
    """The number of connected units, of their slots, and of slots with a RUNNING task."""

    connected: int
    slots: int
    slots_used: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """Statistics of one moment, and of the window before it."""

    taken_at: datetime
    window: timedelta
    tasks: TaskStatistics
    units: UnitFigures

    @property
    def oldest_queued(self) -> timedelta | None:
        """Return the longest wait of a queued task; None without queued tasks."""
        oldest_at = self.tasks.queue.oldest_at
        return max(self.taken_at - oldest_at, timedelta()) if oldest_at else None

    @property
    def success_rate(self) -> float:
        """Return the share of SUCCESS among the finished tasks, 0 to 1; 0 without finished tasks."""
        ended = self.tasks.ended
        return ended.successes / ended.tasks if ended.tasks else 0.0

    @property
    def mean_active_seconds(self) -> float:
        """Return the mean seconds in RUNNING of the finished tasks; 0 without finished tasks."""
        ended = self.tasks.ended
        return ended.active_seconds / ended.tasks if ended.tasks else 0.0

    @property
    def finished_per_second(self) -> float:
        """Return the number of finished tasks for each second."""
        return self.tasks.ended.tasks / self.window.total_seconds()


class StatisticsService:
    """Reads statistics. Raises DatabaseUnavailable, ReadTooLong, TooManyReads."""

    def __init__(self, store: Store, units: ExecutionUnitManager) -> None:
        self._store = store
        self._units = units

    async def take(self, window: timedelta, task_type: str, seconds: float | None = None) -> Statistics:
        """Return the statistics of a task type (empty: all types) and of the units that accept the type.

        The database may take `seconds`.
        """
        taken_at = utc_now()
        tasks = await self._store.task_statistics(taken_at - window, task_type, seconds)
        units = (unit for unit in self._units.units() if not task_type or unit.accepts(task_type))
        return Statistics(taken_at, window, tasks, unit_figures(units))


def unit_figures(units: Iterable[Unit]) -> UnitFigures:
    """Return the statistics of the connected units among these."""
    connected = [unit for unit in units if unit.status is not UnitStatus.OFFLINE]
    return UnitFigures(
        connected=len(connected),
        slots=sum(unit.capacity for unit in connected),
        slots_used=sum(unit.current_load for unit in connected),
    )
