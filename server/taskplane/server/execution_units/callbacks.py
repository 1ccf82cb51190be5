"""Reports of HTTP units by calls: the callback of the REST API, and ReportTaskStatus."""

from dataclasses import dataclass, replace

from taskplane.server.core.clock import utc_now
from taskplane.server.core.command import AttemptKey, Verdict, VerdictAction, start_id
from taskplane.server.core.errors import DropReason, FieldViolation, InvalidFields, NeverDispatched, TaskNotFound
from taskplane.server.core.fence import AttemptRef, drop_reason
from taskplane.server.core.task import Task, TaskStatus
from taskplane.server.core.unit_report import Accepted, Cancelled, Failed, Outcome, Report, ReportKind, Succeeded
from taskplane.server.execution_units.http_unit_observer import as_release_if_draining, outcome_reports
from taskplane.server.execution_units.http_units import HttpUnits
from taskplane.server.execution_units.links.http import HttpLink
from taskplane.server.execution_units.registry import Registry
from taskplane.server.execution_units.report_handler import ReportHandler
from taskplane.server.execution_units.session import Session
from taskplane.server.store.store import Store


@dataclass(frozen=True, slots=True)
class CallbackResponse:
    """The verdict on the reported attempt, and the task after the report.

    DROP: the report has changed nothing. A repeated report of the attempt's end does not count as DROP.
    """

    verdict: Verdict
    task: Task


class Callbacks:
    """Handles the calls. All methods return when the report is durable.

    All methods raise TaskNotFound, UnitNotFound, UnitHasStream, UnitDrained, InvalidFields and DatabaseUnavailable.
    """

    def __init__(self, store: Store, registry: Registry, units: HttpUnits, report_handler: ReportHandler) -> None:
        self._store = store
        self._registry = registry
        self._units = units
        self._report_handler = report_handler

    async def report_outcome(self, task_id: int, outcome: Outcome, *, unit_id: str = "") -> CallbackResponse:
        """Apply the outcome of an attempt; by default of the task's current attempt, from the task's unit.

        Raises NeverDispatched if the task has no attempt.
        """
        task = await self._task(task_id)
        if not task.attempt:
            raise NeverDispatched(task_id)
        attempt = task.attempt if outcome.attempt is None else outcome.attempt
        session = await self._units.session_of(unit_id or task.execution_unit_id or "")
        try:
            reports = outcome_reports(session, (task_id, attempt), outcome)
        except ValueError as error:
            raise InvalidFields(FieldViolation("progress", str(error))) from error
        return await self._handle(session, (task_id, attempt), reports)

    async def report(self, unit_id: str, report: Report) -> CallbackResponse:
        """Apply one report."""
        await self._task(report.task_id)
        session = await self._units.session_of(unit_id)
        report = replace(report, kind=as_release_if_draining(session, report.kind))
        return await self._handle(session, (report.task_id, report.attempt), [report])

    async def _handle(self, session: Session, key: AttemptKey, reports: list[Report]) -> CallbackResponse:
        await self._infer_accepted(session, key)
        if isinstance(session.link, HttpLink):
            session.link.note_callback(key)
        drop = None
        for report in reports:
            drop = await self._report_handler.handle(session, report) or drop
        task = await self._task(key[0])
        if all(isinstance(report.kind, Accepted) for report in reports):
            # Such a report passes no fence. The unit asks if the attempt is still its own.
            drop = drop or drop_reason(task, AttemptRef(session.unit_id, key[1]))
        if drop and any(_repeats_end(task, session, report) for report in reports):
            drop = None
        return CallbackResponse(_verdict(task, key, drop), task)

    async def _infer_accepted(self, session: Session, key: AttemptKey) -> None:
        """Accept the attempt: the unit has reported on it, perhaps before its response to the start."""
        unit = self._registry.find(session.unit_id)
        running = unit.running.get(key[0]) if unit else None
        if running and running.attempt == key[1] and not running.accepted:
            await self._report_handler.handle(session, Report(0, *key, start_id(*key), utc_now(), Accepted()))

    async def _task(self, task_id: int) -> Task:
        task = await self._store.get_task(task_id)
        if task is None:
            raise TaskNotFound(task_id)
        return task


def _verdict(task: Task, key: AttemptKey, drop: DropReason | None) -> Verdict:
    if drop:
        return Verdict(*key, VerdictAction.DROP, drop)
    return Verdict(*key, VerdictAction.PAUSE if task.status is TaskStatus.PAUSED else VerdictAction.KEEP)


def _repeats_end(task: Task, session: Session, report: Report) -> bool:
    """Return True if the report repeats the end of its attempt."""
    ended = {Succeeded: TaskStatus.SUCCESS, Failed: TaskStatus.FAILED, Cancelled: TaskStatus.CANCELLED}
    kind: type[ReportKind] = type(report.kind)
    is_its_own = (task.execution_unit_id, task.attempt) == (session.unit_id, report.attempt)
    return is_its_own and ended.get(kind) is task.status
