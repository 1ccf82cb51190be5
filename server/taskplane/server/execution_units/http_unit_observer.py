"""The observer of an HTTP unit's link: turns responses into leases, reports and lost attempts."""

from collections.abc import Collection

from taskplane.server.core.clock import monotonic, utc_now
from taskplane.server.core.command import AttemptKey, Command
from taskplane.server.core.unit_report import Accepted, Outcome, Paused, Rejected, Released, Report, ReportKind, kinds
from taskplane.server.execution_units.manager import ExecutionUnitManager
from taskplane.server.execution_units.report_handler import ReportHandler
from taskplane.server.execution_units.session import Session
from taskplane.server.execution_units.unit_entry import UnitEntry

# The usual silence between two heartbeats: one interval plus some delay.
SILENT_INTERVALS = 1.2


def outcome_reports(session: Session, key: AttemptKey, outcome: Outcome) -> list[Report]:
    """Return the reports that an outcome stands for. Raises ValueError for invalid progress."""
    now = utc_now()
    return [
        Report(0, *key, command_id="", received_at=now, kind=as_release_if_draining(session, kind))
        for kind in kinds(outcome, key[1], now)
    ]


def as_release_if_draining(session: Session, kind: ReportKind) -> ReportKind:
    """Turn the pause of a draining unit into a release: the task continues on another unit."""
    if session.draining and isinstance(kind, Paused):
        return Released(kind.checkpoint, "the unit is drained")
    return kind


class HttpUnitObserver:
    """A LinkObserver for one unit."""

    def __init__(
        self,
        unit: UnitEntry,
        manager: ExecutionUnitManager,
        report_handler: ReportHandler,
    ) -> None:
        self._unit = unit
        self._manager = manager
        self._report_handler = report_handler

    def on_response(self) -> None:
        """Renew the unit's lease."""
        if self._unit.session:
            self._manager.renew_lease(self._unit.session)

    def on_no_response(self) -> None:
        """Give the unit no new work until its next response."""
        if self._unit.session:
            self._unit.session.set_flags(is_responsive=False)

    def is_silent(self) -> bool:
        """Return True if a probe is due."""
        return monotonic() - self._unit.heard_at > SILENT_INTERVALS * self._manager.intervals.heartbeat

    def lease_seconds(self) -> float:
        """Return how long a silent unit keeps its tasks."""
        return self._manager.intervals.lease

    def running_attempts(self) -> Collection[AttemptKey]:
        """Return the running attempts, accepted or not."""
        return [(task_id, each.attempt) for task_id, each in self._unit.running.items()]

    def accepted_attempts(self) -> Collection[AttemptKey]:
        """Return the attempts that the unit has accepted, running or paused."""
        running = [(task_id, each.attempt) for task_id, each in self._unit.running.items() if each.accepted]
        return [*running, *((task_id, each.attempt) for task_id, each in self._unit.assignments.held.items())]

    async def on_command_answered(self, command: Command, kind: Accepted | Rejected) -> None:
        """Report that the unit has accepted or rejected a command."""
        report = Report(0, command.task_id, command.attempt, command.command_id, utc_now(), kind)
        if self._unit.session:
            await self._report_handler.handle(self._unit.session, report)

    async def on_outcome(self, key: AttemptKey, outcome: Outcome) -> None:
        """Report the outcome of an attempt."""
        if session := self._unit.session:
            for report in outcome_reports(session, key, outcome):
                await self._report_handler.handle(session, report)

    async def on_attempt_unknown(self, key: AttemptKey) -> None:
        """Take an attempt from a unit that does not know the attempt."""
        await self._report_handler.handle_unknown(self._unit, key)
