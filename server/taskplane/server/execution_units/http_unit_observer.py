"""What an HTTP link hears of its unit, put into the words of sessions and reports."""

import logging
from collections.abc import Collection

from taskplane.server.core.clock import monotonic, utc_now
from taskplane.server.core.command import Command
from taskplane.server.core.errors import DatabaseUnavailable
from taskplane.server.core.unit_report import Accepted, Outcome, Paused, Rejected, Released, Report, ReportKind, kinds
from taskplane.server.execution_units.links.poll_schedule import Key
from taskplane.server.execution_units.manager import ExecutionUnitManager
from taskplane.server.execution_units.registry import Registry
from taskplane.server.execution_units.report_handler import ReportHandler
from taskplane.server.execution_units.session import Session
from taskplane.server.execution_units.unit_entry import UnitEntry
from taskplane.server.tasks.state_manager import TaskStateManager

log = logging.getLogger(__name__)

# A unit that sends heartbeats by itself is silent for one interval, and a little more, between two of them.
SILENT_INTERVALS = 1.2
NOT_KNOWN = "unit lost: it does not know this attempt (any more)"


def outcome_reports(session: Session, key: Key, outcome: Outcome) -> list[Report]:
    """Return what an outcome reports. Raises ValueError for progress that is none."""
    now = utc_now()
    return [
        Report(0, *key, command_id="", received_at=now, kind=as_release_if_draining(session, kind))
        for kind in kinds(outcome, key[1], now)
    ]


def as_release_if_draining(session: Session, kind: ReportKind) -> ReportKind:
    """Take a pause of a unit that is drained for what it is: the attempt is given back, and goes on elsewhere."""
    if session.draining and isinstance(kind, Paused):
        return Released(kind.checkpoint, "the unit is drained")
    return kind


class HttpUnitObserver:
    """The listener of one unit's link."""

    def __init__(
        self,
        unit: UnitEntry,
        registry: Registry,
        manager: ExecutionUnitManager,
        report_handler: ReportHandler,
        states: TaskStateManager,
    ) -> None:
        self._unit = unit
        self._registry = registry
        self._manager = manager
        self._report_handler = report_handler
        self._states = states

    def on_response(self) -> None:
        """Renew the lease."""
        if self._unit.session:
            self._manager.renew_lease(self._unit.session)

    def on_no_response(self) -> None:
        """Give it nothing new until it is heard from."""
        if self._unit.session:
            self._unit.session.set_flags(is_responsive=False)

    def is_silent(self) -> bool:
        """Whether it is time to ask for a sign of life."""
        return monotonic() - self._unit.heard_at > SILENT_INTERVALS * self._manager.intervals.heartbeat

    def lease_seconds(self) -> float:
        """Return how long a silent unit keeps its tasks."""
        return self._manager.intervals.lease

    def running_attempts(self) -> Collection[Key]:
        """Return the attempts at work, accepted or not."""
        return [(task_id, each.attempt) for task_id, each in self._unit.running.items()]

    def accepted_attempts(self) -> Collection[Key]:
        """Return the attempts that it has accepted, at work or paused."""
        running = [(task_id, each.attempt) for task_id, each in self._unit.running.items() if each.accepted]
        return [*running, *((task_id, each.attempt) for task_id, each in self._unit.assignments.held.items())]

    async def on_command_answered(self, command: Command, kind: Accepted | Rejected) -> None:
        """Report the answer to a command."""
        report = Report(0, command.task_id, command.attempt, command.command_id, utc_now(), kind)
        if self._unit.session:
            await self._report_handler.handle(self._unit.session, report)

    async def on_outcome(self, key: Key, outcome: Outcome) -> None:
        """Report what the unit says of an attempt."""
        if session := self._unit.session:
            for report in outcome_reports(session, key, outcome):
                await self._report_handler.handle(session, report)

    async def on_attempt_unknown(self, key: Key) -> None:
        """Take the attempt away, or only the memory of it if it is paused. What fails now is noticed again."""
        task_id, attempt = key
        if self._unit.holds(task_id, attempt):
            self._registry.release(task_id)
            return
        try:
            await self._states.lose(self._unit.record.id, {task_id: attempt}, NOT_KNOWN)
        except DatabaseUnavailable as error:
            log.debug("attempt %s of task %s is lost, which cannot be stored yet: %s", attempt, task_id, error)
