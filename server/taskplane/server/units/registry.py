"""All units that are known, and what each is doing at this moment.

The database is the truth about tasks; this is its shadow in memory, kept up by every commit. Which slots are free is
known one step earlier, in the transaction that is decided: see core.placement.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import partial

from taskplane.server.core.backlog import Kind, kind_of
from taskplane.server.core.clock import monotonic
from taskplane.server.core.placement import MAX_QUEUES, Offer, Slots, suits
from taskplane.server.core.task import Task, TaskStatus
from taskplane.server.core.unit import DrainOrder, Unit, UnitStatus
from taskplane.server.tasks.batch import Committed
from taskplane.server.units.session import Session


class WaitingReason(StrEnum):
    """Why a task that wants to run does not; see taskplane/v1/task.proto."""

    DISPATCHING = "DISPATCHING"
    NO_UNIT_FOR_TYPE = "NO_UNIT_FOR_TYPE"
    NO_UNIT_WITH_LABELS = "NO_UNIT_WITH_LABELS"
    UNITS_BUSY = "UNITS_BUSY"
    UNITS_DRAINING = "UNITS_DRAINING"
    RETRY_BACKOFF = "RETRY_BACKOFF"


@dataclass(frozen=True, slots=True)
class Waiting:
    """The reason, and a text for people that says what would help."""

    reason: WaitingReason
    message: str


@dataclass(slots=True)
class RunningAttempt:
    """What a unit does in one of its slots: since when, and whether it has accepted it."""

    attempt: int
    task_type: str
    accepted: bool
    since: float


@dataclass(slots=True)
class KnownUnit:
    """A unit, its session if it is connected, and its attempts by task id: at work, and held paused in memory."""

    record: Unit
    session: Session | None = None
    running: dict[int, RunningAttempt] = field(default_factory=dict)
    held: dict[int, int] = field(default_factory=dict)
    # When it was last heard from; at the server's start, every unit was just now.
    heard_at: float = field(default_factory=monotonic)
    last_heartbeat: datetime | None = None
    # What an operator has asked of the process that is, or was, connected.
    drain: DrainOrder | None = None

    @property
    def is_gone(self) -> bool:
        """Whether it is not connected and has nothing left."""
        return self.session is None and not self.running

    @property
    def last_seen(self) -> datetime:
        """When it was last heard from, also by an earlier server."""
        return self.last_heartbeat or self.record.last_heartbeat or self.record.updated_at

    def runs(self, task_id: int, attempt: int) -> bool:
        """Whether the attempt is at work here."""
        running = self.running.get(task_id)
        return running is not None and running.attempt == attempt

    def forgive(self, seconds: float) -> None:
        """Count so much less time as silence."""
        self.heard_at += seconds
        for attempt in self.running.values():
            attempt.since += seconds

    def view(self) -> Unit:
        """Return the record as it is now."""
        return replace(
            self.record,
            status=self._status(),
            last_heartbeat=self.last_heartbeat or self.record.last_heartbeat,
            current_load=len(self.running),
            session_id=self.session.session_id if self.session else "",
            draining=self.session.draining if self.session else False,
        )

    def offer(self) -> Offer | None:
        """Return what the unit has to offer, or None if it takes no work."""
        if self.session is None or not self.session.takes_work:
            return None
        return Offer(
            unit_id=self.record.id,
            unit_type=self.record.unit_type,
            capacity=self.record.capacity,
            task_types=frozenset(self.record.task_types),
            labels=self.record.labels,
        )

    def _status(self) -> UnitStatus:
        if self.session is None:
            return UnitStatus.OFFLINE
        has_slot = len(self.running) < self.record.capacity
        return UnitStatus.AVAILABLE if has_slot and not self.session.draining else UnitStatus.BUSY


class Registry:
    """The known units by id."""

    def __init__(self, units: Iterable[Unit] = (), running: Iterable[Task] = ()) -> None:
        self.slots = Slots()
        # Set when there may be more to offer than before: somebody who looks for slots should look again.
        self.may_offer_more = asyncio.Event()
        self._units = {unit.id: KnownUnit(unit) for unit in units}
        # Where each RUNNING task is, so that it can be taken away from there.
        self._unit_of: dict[int, str] = {}
        self._holder_of: dict[int, str] = {}
        # Why a kind of task finds no room, until a unit comes, goes or changes.
        self._reasons: dict[Kind, Waiting] = {}
        for task in running:
            self._assign(task)

    def find(self, unit_id: str | None) -> KnownUnit | None:
        """Return a unit if it is known."""
        return self._units.get(unit_id or "")

    def add(self, record: Unit) -> KnownUnit:
        """Take a unit on, or its new record."""
        known = self._units.setdefault(record.id, KnownUnit(record))
        known.record = record
        self._look_at(known)
        return known

    def remove(self, unit_id: str) -> None:
        """Forget a unit."""
        if unit := self._units.pop(unit_id, None):
            self.disconnected(unit)
            self.slots.trust(unit_id)

    def connected(self, unit: KnownUnit, session: Session) -> None:
        """Take that a unit has a session, whose changes are followed from now on."""
        unit.session = session
        unit.heard_at = monotonic()
        for each in unit.running.values():
            each.since = unit.heard_at  # what it has not accepted it will be sent again
        session.on_change = partial(self._look_at, unit)
        self._look_at(unit)

    def disconnected(self, unit: KnownUnit) -> None:
        """Take that a unit has no session."""
        unit.session = None
        self._look_at(unit)

    def all(self) -> list[KnownUnit]:
        """Return all units, by id."""
        return [self._units[unit_id] for unit_id in sorted(self._units)]

    def follow(self, committed: Sequence[Committed]) -> None:
        """Keep up with durable changes."""
        for event in committed:
            if event.transition or event.deleted:
                self._follow(event.task, deleted=event.deleted)

    def withhold_slot(self, unit_id: str, seconds: float) -> None:
        """Give one slot of a unit to nobody for some time."""
        number = self.slots.withhold(unit_id)

        def give_back() -> None:
            self.slots.vacate(number)
            self.may_offer_more.set()

        asyncio.get_running_loop().call_later(seconds, give_back)

    def hold(self, unit: KnownUnit, task_id: int, attempt: int) -> None:
        """Take that a unit holds an attempt paused in memory."""
        unit.held[task_id] = attempt
        self._holder_of[task_id] = unit.record.id
        self.slots.hold(task_id, unit.record.id, attempt)

    def release_all(self, unit: KnownUnit) -> None:
        """Take that a unit holds nothing any more that could be resumed from memory."""
        for task_id in unit.held:
            self._holder_of.pop(task_id, None)
            self.slots.let_go(task_id)
        unit.held.clear()

    def release(self, task_id: int) -> tuple[KnownUnit, int] | None:
        """Take that nobody holds the task any more. Returns who held which attempt."""
        self.slots.let_go(task_id)
        holder = self.find(self._holder_of.pop(task_id, None))
        if holder is None or task_id not in holder.held:
            return None
        return holder, holder.held.pop(task_id)

    def release_if(self, task_id: int, unit_id: str, attempt: int) -> None:
        """Take that a unit does not hold this attempt any more, if it did."""
        unit = self.find(unit_id)
        if unit and unit.held.get(task_id) == attempt:
            self.release(task_id)

    def can_pause(self, task: Task) -> bool:
        """Whether the task's unit said that it can pause this type."""
        unit = self.find(task.execution_unit_id)
        return unit is not None and unit.record.can_pause(task.task_type)

    def is_held(self, task: Task) -> bool:
        """Whether the task's unit is connected and holds its attempt paused in memory."""
        unit = self.find(task.execution_unit_id)
        return unit is not None and unit.session is not None and unit.held.get(task.id) == task.attempt

    def waiting(self, task: Task, now: datetime) -> Waiting | None:
        """Tell why a queued task does not run, or None if it does not want to."""
        if task.queued_at is None:
            return None
        if task.not_before and task.not_before > now:
            when = task.not_before.isoformat(timespec="milliseconds")
            return Waiting(WaitingReason.RETRY_BACKOFF, f"next try not before {when}")
        if self.slots.has_room(task):
            return Waiting(WaitingReason.DISPATCHING, "about to be dispatched")
        kind = kind_of(task)
        if len(self._reasons) > MAX_QUEUES:
            self._reasons.clear()
        if kind not in self._reasons:
            self._reasons[kind] = self._why_not(task)
        return self._reasons[kind]

    def _why_not(self, task: Task) -> Waiting:
        connected = [unit for unit in self._units.values() if unit.session]
        of_type = [unit for unit in connected if task.task_type in unit.record.task_types]
        if not of_type:
            message = f"no connected unit accepts {task.task_type}; start one"
            return Waiting(WaitingReason.NO_UNIT_FOR_TYPE, message)
        suitable = [unit for unit in of_type if suits(unit.record.task_types, unit.record.labels, kind_of(task))]
        if not suitable:
            wanted = ", ".join(f"{key}={value}" for key, value in sorted(task.unit_labels.items()))
            return Waiting(WaitingReason.NO_UNIT_WITH_LABELS, f"no unit for {task.task_type} has the labels {wanted}")
        staying = [unit for unit in suitable if unit.session and not unit.session.draining]
        if not staying:
            return Waiting(WaitingReason.UNITS_DRAINING, f"every unit for {task.task_type} is about to leave")
        if not any(unit.session and unit.session.takes_work for unit in staying):
            return Waiting(WaitingReason.UNITS_BUSY, f"no unit for {task.task_type} answers at the moment")
        slots = sum(unit.record.capacity for unit in staying)
        return Waiting(WaitingReason.UNITS_BUSY, f"all {slots} slots for {task.task_type} are in use")

    def _look_at(self, unit: KnownUnit) -> None:
        """Take what has changed about a unit over into the slots."""
        self._reasons.clear()
        if offer := unit.offer():
            self.slots.offer(offer)
            self.may_offer_more.set()
        else:
            self.slots.withdraw(unit.record.id)

    def _follow(self, task: Task, *, deleted: bool) -> None:
        if before := self.find(self._unit_of.pop(task.id, None)):
            before.running.pop(task.id, None)
        if task.is_final or deleted:
            self.release(task.id)
        elif task.status is TaskStatus.RUNNING:
            self._assign(task)

    def _assign(self, task: Task) -> None:
        if unit := self.find(task.execution_unit_id):
            accepted = task.accepted_at is not None
            unit.running[task.id] = RunningAttempt(task.attempt, task.task_type, accepted, monotonic())
            self._unit_of[task.id] = unit.record.id
            self.slots.occupy(task.id, unit.record.id)
