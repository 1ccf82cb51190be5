"""A unit as the server knows it at this moment: its record, its session, and what it does."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from taskplane.server.core.assignments import Assignment, UnitAssignments
from taskplane.server.core.clock import monotonic, utc_now
from taskplane.server.core.command import Command, Dispatch, dispatch_command
from taskplane.server.core.placement import Offer
from taskplane.server.core.unit import Unit, UnitStatus
from taskplane.server.execution_units.session import Session


@dataclass(slots=True)
class UnitEntry:
    """A unit, its session if it is connected, and what it does."""

    record: Unit
    # An index of core.assignments, which keeps it.
    assignments: UnitAssignments = field(default_factory=UnitAssignments)
    session: Session | None = None
    # When its session began.
    connected_at: datetime = field(default_factory=utc_now)
    # When it was last heard from; at the server's start, every unit was just now.
    heard_at: float = field(default_factory=monotonic)
    last_heartbeat: datetime | None = None
    # It has said goodbye, and not come back.
    has_left: bool = False
    # The status and load that are stored, if that is known.
    stored: tuple[UnitStatus, int] | None = None

    @property
    def running(self) -> Mapping[int, Assignment]:
        """The attempts at work, by task id, as far as listeners have heard."""
        return self.assignments.running

    @property
    def is_gone(self) -> bool:
        """Whether it is not connected and has nothing left."""
        return self.session is None and not self.running

    @property
    def is_drained(self) -> bool:
        """Whether it was asked to leave, and has."""
        return self.record.drain is not None and self.is_gone

    @property
    def last_seen(self) -> datetime:
        """When it was last heard from, also by an earlier server."""
        return self.last_heartbeat or self.record.last_heartbeat or self.record.updated_at

    def runs(self, task_id: int, attempt: int) -> bool:
        """Whether the attempt is at work here."""
        running = self.running.get(task_id)
        return running is not None and running.attempt == attempt

    def holds(self, task_id: int, attempt: int) -> bool:
        """Whether it holds the attempt paused in memory."""
        held = self.assignments.held.get(task_id)
        return held is not None and held.attempt == attempt

    def extend_lease(self, seconds: float) -> None:
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

    @property
    def is_stored(self) -> bool:
        """Whether its status and load are stored as they are."""
        return self.stored == (self._status(), len(self.running))

    def offer(self) -> Offer | None:
        """Return what the unit has to offer, or None if it takes no work."""
        if self.session is None or not self.session.accepts_work:
            return None
        return Offer(
            unit_id=self.record.id,
            unit_type=self.record.unit_type,
            capacity=self.record.capacity,
            task_types=frozenset(self.record.task_types),
            from_the_start=frozenset(each for each in self.record.task_types if not self.record.can_checkpoint(each)),
            labels=self.record.labels,
        )

    def dispatch_command(self, dispatch: Dispatch) -> Command:
        """Build the command for an attempt that it is given, without a checkpoint if it makes none of this type."""
        if not self.record.can_checkpoint(dispatch.task.task_type):
            dispatch = replace(dispatch, checkpoint=None)
        return dispatch_command(dispatch)

    def _status(self) -> UnitStatus:
        if self.session is None:
            return UnitStatus.OFFLINE
        has_slot = len(self.running) < self.record.capacity
        return UnitStatus.AVAILABLE if has_slot and not self.session.draining else UnitStatus.BUSY
