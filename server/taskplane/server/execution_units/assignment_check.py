"""The assignment check: compares the assignments in memory with the RUNNING tasks of the table, and repairs them.

Differences arise from defects only. Without the check, a lost slot or a task without a unit would stay until the
unit's next welcome. The check also restarts the queue scan, so that no queued task is missed forever.
"""

import logging

from taskplane.server.core.assignments import Assignment
from taskplane.server.execution_units.registry import Registry
from taskplane.server.store.store import Store
from taskplane.server.tasks.state_manager import TaskStateManager

log = logging.getLogger(__name__)

# Interval in seconds. A difference that two checks have found is repaired.
CHECK_SECONDS = 30.0
UNKNOWN_UNIT = "unit lost: it is not known"

# Unit id, task id and attempt.
PlacedAttempt = tuple[str, int, int]


class AssignmentCheck:
    """Finds differences that last longer than pending transactions."""

    def __init__(self, states: TaskStateManager, store: Store, registry: Registry) -> None:
        self._states = states
        self._store = store
        self._registry = registry
        self._differed: set[PlacedAttempt] = set()

    async def check(self) -> None:
        """Compare once. A difference found last time too is corrected by a transaction that reads the table."""
        table = {(unit_id, task_id, attempt) for task_id, attempt, unit_id in await self._store.running_attempts()}
        unknown = {placed for placed in table if self._registry.find(placed[0]) is None}
        assignments = self._registry.slots.assignments
        in_slots = {_placed(each) for each in assignments.all() if each.has_slot}
        running = {_placed(each) for each in assignments.all() if each.is_running}
        differs = (table ^ in_slots) | (running - table) | unknown
        stays, self._differed = differs & self._differed, differs
        for unit_id in {placed[0] for placed in stays}:
            if self._registry.find(unit_id):
                await self._states.check_unit(unit_id)
            else:
                log.warning("tasks run on unit %s, which is not known; they are taken away", unit_id)
                await self._states.leave(unit_id, UNKNOWN_UNIT)
        self._registry.slots.scan.reset()
        self._registry.may_offer_more.set()


def _placed(assignment: Assignment) -> PlacedAttempt:
    return assignment.unit_id, assignment.task_id, assignment.attempt
