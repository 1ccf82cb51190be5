"""The registry's entry for one unit: record, session and assignments."""

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
    """A unit with its session, if connected, and its assignments."""

    record: Unit
    # An index into core.assignments, which maintains it.
    assignments: UnitAssignments = field(default_factory=UnitAssignments)
    session: Session | None = None
    # Start of the session.
    connected_at: datetime = field(default_factory=utc_now)
    # Monotonic time of the last message. At the server's start, every unit counts as just heard.
    heard_at: float = field(default_factory=monotonic)
    last_heartbeat: datetime | None = None
    # The unit has sent a goodbye and has not connected since.
    has_left: bool = False
    # Status and load in the database; None if unknown.
    stored: tuple[UnitStatus, int] | None = None

    @property
    def running(self) -> Mapping[int, Assignment]:
        """Return the running attempts by task id, as of the last commit that listeners have received."""
        return self.assignments.running

    @property
    def is_gone(self) -> bool:
        """Return True if the unit is not connected and has no running attempt."""
        return self.session is None and not self.running

    @property
    def is_drained(self) -> bool:
        """Return True if a drain was requested and the unit has left."""
        return self.record.drain is not None and self.is_gone

    @property
    def last_seen(self) -> datetime:
        """Return the time of the last message, to this server or an earlier one."""
        return self.last_heartbeat or self.record.last_heartbeat or self.record.updated_at

    def runs(self, task_id: int, attempt: int) -> bool:
        """Return True if the attempt runs on this unit."""
        running = self.running.get(task_id)
        return running is not None and running.attempt == attempt

    def holds(self, task_id: int, attempt: int) -> bool:
        """Return True if the unit holds the attempt paused in memory."""
        held = self.assignments.held.get(task_id)
        return held is not None and held.attempt == attempt

    def extend_lease(self, seconds: float) -> None:
        """Extend the lease, and the time to accept starts."""
        self.heard_at += seconds
        for attempt in self.running.values():
            attempt.since += seconds

    def view(self) -> Unit:
        """Return the record with the current status, load and session."""
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
        """Return True if the database has the current status and load."""
        return self.stored == (self._status(), len(self.running))

    def offer(self) -> Offer | None:
        """Return the unit's offer of slots; None if the unit accepts no work."""
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
        """Build the command of a dispatch; without the checkpoint if the unit cannot use one for this task type."""
        if not self.record.can_checkpoint(dispatch.task.task_type):
            dispatch = replace(dispatch, checkpoint=None)
        return dispatch_command(dispatch)

    def _status(self) -> UnitStatus:
        if self.session is None:
            return UnitStatus.OFFLINE
        has_slot = len(self.running) < self.record.capacity
        return UnitStatus.AVAILABLE if has_slot and not self.session.draining else UnitStatus.BUSY
