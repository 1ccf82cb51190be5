"""The registry: all known units with their sessions, and the reason why a task is waiting.

The database is the truth about tasks. core.assignments maps tasks to units; every commit updates it here.
"""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial

from taskplane.server.core.clock import monotonic, utc_now
from taskplane.server.core.placement import MAX_ORDERS, Slots
from taskplane.server.core.task import Task, TaskStatus
from taskplane.server.core.task_queue import Kind, kind_of
from taskplane.server.core.unit import Unit, UnitStatus
from taskplane.server.execution_units.session import Session
from taskplane.server.execution_units.unit_entry import UnitEntry
from taskplane.server.execution_units.waiting import Waiting, WaitingReason, explain_waiting
from taskplane.server.tasks.unit_of_work import CommittedEvent


class Registry:
    """The known units by id."""

    def __init__(self, units: Iterable[Unit] = (), running: Iterable[Task] = ()) -> None:
        self.slots = Slots()
        # Set when slots may have become free.
        self.may_offer_more = asyncio.Event()
        self._assignments = self.slots.assignments
        self._units = {
            unit.id: UnitEntry(unit, self._assignments.of(unit.id), has_left=unit.status is UnitStatus.OFFLINE)
            for unit in units
        }
        # Reasons by kind of task; cleared by every change of a unit.
        self._reasons: dict[Kind, Waiting] = {}
        for task in running:
            self._assignments.started(task)

    def find(self, unit_id: str | None) -> UnitEntry | None:
        """Return a unit, or None."""
        return self._units.get(unit_id or "")

    def add(self, record: Unit) -> UnitEntry:
        """Add a unit, or replace its record."""
        known = self._units.get(record.id)
        if known is None:
            known = self._units[record.id] = UnitEntry(record, self._assignments.of(record.id))
        known.record = record
        self._update_offer(known)
        return known

    def remove(self, unit_id: str) -> None:
        """Remove a unit."""
        if unit := self._units.pop(unit_id, None):
            self.detach_session(unit)
            self.slots.clear_suspect(unit_id)
            self._assignments.forget_unit(unit_id)

    def attach_session(self, unit: UnitEntry, session: Session) -> None:
        """Connect a unit by a session. Changes of the session's flags update the unit's offer."""
        unit.session = session
        unit.heard_at = monotonic()
        unit.connected_at = utc_now()
        for each in unit.running.values():
            each.since = unit.heard_at  # unaccepted starts are sent again
        session.on_change = partial(self._update_offer, unit)
        self._update_offer(unit)

    def detach_session(self, unit: UnitEntry) -> None:
        """Disconnect a unit: its session ends, and no attempt counts as held in its memory."""
        unit.session = None
        self._update_offer(unit)
        for task_id in [*unit.assignments.held]:
            self._assignments.release(task_id)

    def all(self) -> list[UnitEntry]:
        """Return all units in order of id."""
        return [self._units[unit_id] for unit_id in sorted(self._units)]

    def on_commit(self, committed: Sequence[CommittedEvent]) -> None:
        """Update the assignments by committed events."""
        for event in committed:
            task = event.task
            if event.transition and task.status is TaskStatus.RUNNING:
                self._assignments.started(task)
            elif event.transition or event.deleted:
                stays_held = task.status is TaskStatus.PAUSED and not event.deleted
                self._assignments.ended(task.id, task.attempt, stays_held=stays_held)

    def withhold_slot(self, unit_id: str, seconds: float) -> None:
        """Withhold one slot of a unit from all tasks for some time."""
        self._assignments.withhold(unit_id, 1)

        def restore() -> None:
            self._assignments.withhold(unit_id, -1)
            self.may_offer_more.set()

        asyncio.get_running_loop().call_later(seconds, restore)

    def hold(self, unit: UnitEntry, task_id: int, attempt: int) -> None:
        """Mark an attempt as held: the unit keeps it paused in memory."""
        self._assignments.hold(task_id, attempt, unit.record.id)

    def release(self, task_id: int) -> tuple[UnitEntry, int] | None:
        """Mark a task as no longer held. Returns the unit and the attempt that it held."""
        held = self._assignments.release(task_id)
        holder = self.find(held.unit_id) if held else None
        return (holder, held.attempt) if held and holder else None

    def release_if(self, task_id: int, unit_id: str, attempt: int) -> None:
        """Mark an attempt as no longer held, if this unit holds it."""
        unit = self.find(unit_id)
        if unit and unit.holds(task_id, attempt):
            self.release(task_id)

    def can_pause(self, task: Task) -> bool:
        """Return True if the task's unit can pause this task type."""
        unit = self.find(task.execution_unit_id)
        return unit is not None and unit.record.can_pause(task.task_type)

    def is_held(self, task: Task) -> bool:
        """Return True if the task's unit is connected and holds the attempt paused in memory."""
        unit = self.find(task.execution_unit_id)
        return unit is not None and unit.session is not None and unit.holds(task.id, task.attempt)

    def waiting(self, task: Task, now: datetime) -> Waiting | None:
        """Return why a queued task is waiting; None for a task that is not queued."""
        if task.queued_at is None:
            return None
        if task.not_before and task.not_before > now:
            when = task.not_before.isoformat(timespec="milliseconds")
            return Waiting(WaitingReason.RETRY_BACKOFF, f"next try not before {when}")
        if self.slots.fits_now(task):
            return Waiting(WaitingReason.DISPATCHING, "about to be dispatched")
        kind = kind_of(task)
        if len(self._reasons) > MAX_ORDERS:
            self._reasons.clear()
        if kind not in self._reasons:
            self._reasons[kind] = explain_waiting(task, self._units.values())
        return self._reasons[kind]

    def _update_offer(self, unit: UnitEntry) -> None:
        """Update the slots after a change of a unit."""
        self._reasons.clear()
        if offer := unit.offer():
            self.slots.offer(offer)
            self.may_offer_more.set()
        else:
            self.slots.withdraw(unit.record.id)
