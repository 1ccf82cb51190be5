"""Applies the reports of units: progress to memory, everything else by the task state manager."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial

from taskplane.server.core import reports
from taskplane.server.core.command import AttemptKey, drop_command, start_id
from taskplane.server.core.effect import Effect
from taskplane.server.core.errors import DatabaseUnavailable, DropReason, StaleAttempt, TaskNotFound
from taskplane.server.core.fence import AttemptRef, fence
from taskplane.server.core.task import Progress, Task
from taskplane.server.core.tuning import DEFAULT_TUNING, Tuning
from taskplane.server.core.unit_report import (
    Accepted,
    Cancelled,
    CheckpointMade,
    Failed,
    Paused,
    ProgressMade,
    Rejected,
    Released,
    Report,
    Succeeded,
)
from taskplane.server.execution_units.links.stream import PROBE_TASK_ID
from taskplane.server.execution_units.registry import Registry
from taskplane.server.execution_units.session import Session
from taskplane.server.execution_units.unit_entry import UnitEntry
from taskplane.server.tasks.progress_cache import ProgressCache
from taskplane.server.tasks.state_manager import TaskStateManager
from taskplane.server.tasks.watch import Progressed, WatchHub

log = logging.getLogger(__name__)

NOT_KNOWN = "unit lost: it does not know this attempt"


class ReportHandler:
    """Applies reports: first to memory (`apply_in_memory`), then by a transaction (`submit`) if the report needs one.

    Reports of one task are decided in the order in which they were submitted; see GroupCommit.submit.
    """

    def __init__(
        self,
        states: TaskStateManager,
        progress_cache: ProgressCache,
        watch: WatchHub,
        registry: Registry,
        tuning: Tuning = DEFAULT_TUNING,
    ) -> None:
        self._states = states
        self._progress_cache = progress_cache
        self._watch = watch
        self._registry = registry
        self._tuning = tuning

    async def handle(self, session: Session, report: Report) -> DropReason | None:
        """Apply a report; returns when its effect is durable. Waits while the database is unavailable.

        If the attempt is over, the unit is told to drop it, and the reason is returned.
        """
        if self.apply_in_memory(session, report):
            return None
        while True:
            submitted = self.submit(session, report)
            # Shielded: a report is applied even if its stream handler is cancelled. Its error then has no other reader.
            submitted.add_done_callback(ignore_error)
            try:
                await asyncio.shield(submitted)
            except DatabaseUnavailable as error:
                log.debug("report %s of unit %s waits: %s", report.sequence, session.unit_id, error.message)
                await asyncio.sleep(self._tuning.report_retry_seconds)
            except (StaleAttempt, TaskNotFound) as error:
                return self.handle_error(session, report, error)
            else:
                return None

    def apply_in_memory(self, session: Session, report: Report) -> bool:
        """Update the memory. Returns True if the report needs no transaction."""
        if report.task_id == PROBE_TASK_ID:
            return True  # the response to a probe, which has renewed the lease by its arrival
        match report.kind:
            case Accepted():
                return self._on_accepted(session, report)
            case ProgressMade(progress):
                self._infer_started(session, report)
                return self._on_progressed(session, report, progress)
            case Rejected():
                self._on_rejected(session, report, report.kind)
            case CheckpointMade():
                self._infer_started(session, report)
            case Paused():
                self._infer_started(session, report)
                session.attempt_paused(report.key)
                self._on_paused(session, report)
            case Released():
                self._on_released(session, report)
                session.attempt_ended(report.key)
            case Succeeded():
                # A unit does not hold an attempt after its end, even if the task is PAUSED.
                self._registry.release_if(report.task_id, session.unit_id, report.attempt)
                session.attempt_ended(report.key)
            case Failed() | Cancelled():
                session.attempt_ended(report.key)
        return False

    def submit(self, session: Session, report: Report) -> "asyncio.Future[Task]":
        """Submit the change of a report. The future is done when the change is durable, or has failed."""
        future = self._states.submit(report.task_id, self._change(session, report))
        if isinstance(report.kind, Paused | Released) and report.kind.checkpoint is None:
            future.add_done_callback(partial(self._warn_of_unsaved_work, session.unit_id, report))
        return future

    def handle_error(self, session: Session, report: Report, error: BaseException) -> DropReason:
        """Tell the unit to drop an attempt that is over, and return the reason. Raises any other error."""
        match error:
            case StaleAttempt():
                return self._drop(session, report, error.drop)
            case TaskNotFound():
                return self._drop(session, report, DropReason.DELETED)
            case _:
                raise error

    async def handle_unknown(self, unit: UnitEntry, key: AttemptKey) -> None:
        """Mark a running attempt as lost, or a paused one as no longer held: the unit does not know the attempt.

        If the database is unavailable, nothing changes; the next poll of the unit finds the attempt again.
        """
        task_id, attempt = key
        if unit.holds(task_id, attempt):
            self._registry.release(task_id)
            return
        try:
            await self._states.lose(unit.record.id, {task_id: attempt}, NOT_KNOWN)
        except DatabaseUnavailable as error:
            log.debug("attempt %s of task %s is lost, which cannot be stored yet: %s", attempt, task_id, error)

    def extend_lease(self, session: Session, seconds: float) -> None:
        """Extend the unit's lease by a time in which the server did not read the unit's stream."""
        unit = self._registry.find(session.unit_id)
        if unit and unit.session is session:
            unit.extend_lease(seconds)

    def _change(  # noqa: PLR0911  (one return for each kind)
        self, session: Session, report: Report
    ) -> Callable[[Task, datetime], Effect]:
        sender = AttemptRef(session.unit_id, report.attempt)
        match report.kind:
            case CheckpointMade(made):
                return lambda task, now: reports.checkpointed(task, sender, now, checkpoint=made)
            case Paused(checkpoint, progress):
                return lambda task, now: reports.paused(
                    task,
                    sender,
                    now,
                    checkpoint=checkpoint,
                    progress=progress,
                    can_checkpoint=self._can_checkpoint(sender.unit_id, task.task_type),
                )
            case Succeeded(result):
                return lambda task, now: reports.succeeded(task, sender, now, result=result)
            case Failed(failure):
                policy = self._states.retry_policy
                return lambda task, now: reports.failed(task, sender, now, failure=failure, policy=policy)
            case Cancelled(message):
                return lambda task, now: reports.cancelled(task, sender, now, message=message)
            case Released(checkpoint, message):
                unit = self._registry.find(sender.unit_id)
                drain = unit.record.drain if unit else None
                # An HTTP unit announces a drain by a heartbeat without slots.
                stays = not session.draining and (unit is None or unit.record.capacity > 0)
                return lambda task, now: reports.released(
                    task,
                    sender,
                    now,
                    checkpoint=checkpoint,
                    message=message,
                    drain=drain,
                    stays=stays,
                    can_checkpoint=self._can_checkpoint(sender.unit_id, task.task_type),
                )
            case Rejected() as rejected if _is_start(report):
                return lambda task, now: reports.start_rejected(task, sender, now, message=_text(rejected))
            case Rejected() as rejected:
                return lambda task, now: reports.command_rejected(
                    task,
                    sender,
                    now,
                    command_id=report.command_id,
                    reason=rejected.reason,
                    message=_text(rejected),
                )
            case Accepted() | ProgressMade():
                return lambda task, _now: _check_fence(task, sender)

    def _can_checkpoint(self, unit_id: str, task_type: str) -> bool:
        unit = self._registry.find(unit_id)
        return unit is not None and unit.record.can_checkpoint(task_type)

    def _warn_of_unsaved_work(self, unit_id: str, report: Report, settled: "asyncio.Future[Task]") -> None:
        if settled.cancelled() or settled.exception():
            return
        task = settled.result()
        progress = report.kind.progress if isinstance(report.kind, Paused) else None
        warning = reports.unsaved_work(task, report.attempt, progress)
        if warning and self._can_checkpoint(unit_id, task.task_type):
            log.warning("task %s stopped on unit %s: %s", task.id, unit_id, warning)

    def _on_paused(self, session: Session, report: Report) -> None:
        # Before the commit, so that an immediate resume returns to this unit. A late report on an older attempt must
        # not replace the held attempt.
        unit = self._registry.find(session.unit_id)
        if unit and unit.runs(report.task_id, report.attempt):
            self._registry.hold(unit, report.task_id, report.attempt)

    def _on_released(self, session: Session, report: Report) -> None:
        self._registry.release_if(report.task_id, session.unit_id, report.attempt)
        if not session.draining and not session.is_asked_to_stop(report.key):
            self._back_off(session, report)

    def _on_accepted(self, session: Session, report: Report) -> bool:
        session.mark_answered(report.command_id)
        unit = self._registry.find(session.unit_id)
        if unit is None:
            return True
        if _is_start(report):
            # If the attempt does not run here, the report needs the fence, which makes the unit drop the attempt.
            return self._mark_started(session, report)
        if unit.runs(report.task_id, report.attempt) or unit.holds(report.task_id, report.attempt):
            self._progress_cache.command_accepted(report.task_id, report.attempt, report.command_id, report.received_at)
        return True

    def _mark_started(self, session: Session, report: Report) -> bool:
        """Mark an attempt as accepted. Returns False if the attempt does not run on this unit."""
        unit = self._registry.find(session.unit_id)
        if unit is None or not unit.runs(report.task_id, report.attempt):
            return False
        unit.running[report.task_id].accepted = True
        self._registry.slots.clear_suspect(session.unit_id)
        # After a restart of the server, only a unit with a stream can repeat this, in its inventory.
        has_inventory = not unit.record.endpoint
        self._progress_cache.accepted(report.task_id, report.attempt, report.received_at, may_wait=has_inventory)
        return True

    def _infer_started(self, session: Session, report: Report) -> None:
        """Treat a report on an attempt as the missing response to the start."""
        unit = self._registry.find(session.unit_id)
        running = unit.running.get(report.task_id) if unit else None
        if running and running.attempt == report.attempt and not running.accepted:
            session.mark_answered(start_id(*report.key))
            self._mark_started(session, report)

    def _back_off(self, session: Session, report: Report) -> None:
        """Give fewer tasks to a unit that has rejected or released one, for a moment, and prefer other units.

        Otherwise the unit would receive and reject the whole queue, task by task.
        """
        unit = self._registry.find(session.unit_id)
        if unit and unit.runs(report.task_id, report.attempt):
            self._registry.withhold_slot(session.unit_id, reports.REJECTED_START_DELAY.total_seconds())
            self._registry.slots.mark_suspect(session.unit_id)

    def _on_progressed(self, session: Session, report: Report, progress: Progress) -> bool:
        unit = self._registry.find(session.unit_id)
        running = unit.running.get(report.task_id) if unit else None
        if running is None or running.attempt != report.attempt:
            # The attempt does not run here: the fence decides, and the unit receives the reason.
            return False
        self._progress_cache.progressed(report.task_id, report.attempt, progress)
        self._watch.publish_progress(Progressed(report.task_id, running.task_type, report.attempt, progress))
        return True

    def _on_rejected(self, session: Session, report: Report, rejected: Rejected) -> None:
        sent = session.mark_answered(report.command_id)
        if sent and sent.held_attempt is not None:
            # The task resumes from its checkpoint elsewhere, so the held attempt is no longer needed.
            session.deliver([drop_command(report.task_id, sent.held_attempt, DropReason.SUPERSEDED)])
        if _is_start(report):
            self._back_off(session, report)
        log.warning(
            "unit %s rejected %s of task %s: %s", session.unit_id, report.command_id, report.task_id, _text(rejected)
        )

    def _drop(self, session: Session, report: Report, reason: DropReason) -> DropReason:
        self._registry.release_if(report.task_id, session.unit_id, report.attempt)
        if _holds_its_attempt(report):
            session.deliver([drop_command(report.task_id, report.attempt, reason)])
        return reason


def _is_start(report: Report) -> bool:
    """Return True for a response to the start of the attempt."""
    return report.command_id == start_id(report.task_id, report.attempt)


def _holds_its_attempt(report: Report) -> bool:
    """Return True if the report shows that the unit has the attempt."""
    match report.kind:
        case Accepted():
            return _is_start(report)
        case Rejected():
            return False
        case _:
            return True


def _text(rejected: Rejected) -> str:
    return f"{rejected.reason}: {rejected.message}" if rejected.message else rejected.reason


def _check_fence(task: Task, sender: AttemptRef) -> Effect:
    fence(task, sender)
    return Effect(task)


def ignore_error(submitted: "asyncio.Future[Task]") -> None:
    """Retrieve the error of a future, so that asyncio does not log it as unhandled."""
    if not submitted.cancelled():
        submitted.exception()
