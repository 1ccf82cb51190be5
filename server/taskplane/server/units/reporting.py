"""What becomes of a unit's reports: most are proposed to the state manager, the frequent and small are kept live."""

import asyncio
import logging
from functools import partial

from taskplane.server.core import reports
from taskplane.server.core.change import Change
from taskplane.server.core.command import drop_command, start_id
from taskplane.server.core.errors import DatabaseUnavailable, DropReason, StaleAttempt, TaskNotFound
from taskplane.server.core.report import (
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
from taskplane.server.core.reports import Speaker
from taskplane.server.core.task import Progress, Task
from taskplane.server.tasks.live import LiveAttempts
from taskplane.server.tasks.state_manager import TaskStateManager
from taskplane.server.tasks.watch import Progressed, WatchHub
from taskplane.server.units.registry import Registry
from taskplane.server.units.session import Session

log = logging.getLogger(__name__)

# How soon a report is proposed again that the database could not take.
RETRY_SECONDS = 0.5


class ReportDesk:
    """Settles reports, one at a time for each call; calls for the same task are decided in the order they were made."""

    def __init__(self, states: TaskStateManager, live: LiveAttempts, watch: WatchHub, registry: Registry) -> None:
        self._states = states
        self._live = live
        self._watch = watch
        self._registry = registry

    async def settle(self, session: Session, report: Report) -> DropReason | None:
        """Return when what was reported is durable, or of no consequence.

        While the database is away, reports wait here, and the unit's stream stays up. A unit that speaks for an attempt
        that is over is told to drop it; why is returned too.
        """
        try:
            await self._settle_patiently(session, report)
        except StaleAttempt as stale:
            return self._drop(session, report, stale.drop)
        except TaskNotFound:
            return self._drop(session, report, DropReason.DELETED)
        return None

    async def _settle_patiently(self, session: Session, report: Report) -> None:
        speaker = Speaker(session.unit_id, report.attempt)
        while True:
            try:
                return await self._settle(session, speaker, report)
            except DatabaseUnavailable as error:
                log.warning("report %s of unit %s waits: %s", report.sequence, session.unit_id, error.message)
                await asyncio.sleep(RETRY_SECONDS)

    async def _settle(self, session: Session, speaker: Speaker, report: Report) -> None:
        match report.kind:
            case Accepted():
                self._accepted(session, report)
            case ProgressMade(progress):
                await self._progressed(speaker, report, progress)
            case Rejected():
                await self._rejected(session, speaker, report, report.kind)
            case Paused():
                await self._paused(session, speaker, report, report.kind)
            case _:
                await self._change(report, speaker)

    async def _change(self, report: Report, speaker: Speaker) -> Task:
        match report.kind:
            case CheckpointMade(checkpoint):
                change = partial(reports.checkpointed, checkpoint=checkpoint)
            case Succeeded(result):
                change = partial(reports.succeeded, result=result)
            case Failed(failure):
                change = partial(reports.failed, failure=failure, policy=self._states.retry_policy)
            case Cancelled(message):
                change = partial(reports.cancelled, message=message)
            case Released(checkpoint, message):
                change = partial(reports.released, checkpoint=checkpoint, message=message)
            case other:
                raise TypeError(f"{other} does not change a task")
        return await self._states.change(report.task_id, lambda task, now: change(task, speaker, now))

    async def _paused(self, session: Session, speaker: Speaker, report: Report, paused: Paused) -> None:
        # The unit holds it from now on, whatever becomes of the task; so a resume right after finds its way back. A
        # late word of an older attempt says nothing about the one that is held.
        unit = self._registry.find(session.unit_id)
        if unit and unit.runs(report.task_id, report.attempt):
            self._registry.hold(unit, report.task_id, report.attempt)
        await self._states.change(
            report.task_id,
            lambda task, now: reports.paused(
                task, speaker, now, checkpoint=paused.checkpoint, progress=paused.progress
            ),
        )

    def _accepted(self, session: Session, report: Report) -> None:
        session.answered(report.command_id)
        unit = self._registry.find(session.unit_id)
        if unit is None:
            return
        running = unit.running.get(report.task_id)
        if report.command_id == start_id(report.task_id, report.attempt):
            if running and running.attempt == report.attempt:
                running.accepted = True
                self._live.accepted(report.task_id, report.attempt, report.received_at)
        elif unit.runs(report.task_id, report.attempt) or unit.held.get(report.task_id) == report.attempt:
            self._live.command_accepted(report.task_id, report.attempt, report.command_id, report.received_at)

    async def _progressed(self, speaker: Speaker, report: Report, progress: Progress) -> None:
        unit = self._registry.find(speaker.unit_id)
        running = unit.running.get(report.task_id) if unit else None
        if running is None or running.attempt != speaker.attempt:
            # Not known to run here: ask the fence, so that the unit hears why.
            await self._states.change(report.task_id, lambda task, now: _fenced(task, speaker))
            return
        self._live.progressed(report.task_id, report.attempt, progress)
        self._watch.publish_progress(Progressed(report.task_id, running.task_type, report.attempt, progress))

    async def _rejected(self, session: Session, speaker: Speaker, report: Report, rejected: Rejected) -> None:
        session.answered(report.command_id)
        message = f"{rejected.reason}: {rejected.message}" if rejected.message else rejected.reason
        log.warning("unit %s rejected %s of task %s: %s", session.unit_id, report.command_id, report.task_id, message)
        if report.command_id == start_id(report.task_id, report.attempt):
            change = partial(reports.start_rejected, message=message)
        else:
            change = partial(reports.command_rejected, command_id=report.command_id, message=message)
        await self._states.change(report.task_id, lambda task, now: change(task, speaker, now))

    def _drop(self, session: Session, report: Report, reason: DropReason) -> DropReason:
        self._registry.release_if(report.task_id, session.unit_id, report.attempt)
        if not isinstance(report.kind, Accepted | Rejected | Cancelled | Succeeded | Failed | Released):
            session.deliver([drop_command(report.task_id, report.attempt, reason)])
        return reason


def _fenced(task: Task, speaker: Speaker) -> Change:
    reports.fence(task, speaker)
    return Change(task)
