"""Delivery: sends the committed commands to the units."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from taskplane.server.core.command import Command, Dispatch, control_command, drop_command
from taskplane.server.core.errors import DropReason
from taskplane.server.core.fence import AttemptRef, drop_reason
from taskplane.server.core.task import Task, TaskStatus
from taskplane.server.execution_units.registry import Registry
from taskplane.server.tasks.unit_of_work import CommittedEvent


class Delivery:
    """Sends commands over the units' sessions. `on_commit` must receive every commit, after the registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def on_commit(self, committed: Sequence[CommittedEvent]) -> None:
        """Send the committed starts, pauses and cancels, and drops of attempts that were taken from a unit.

        A unit that is not connected receives its commands with its welcome.
        """
        latest = {event.task.id: event.task for event in committed}
        starts: dict[str, list[Dispatch]] = defaultdict(list)
        for event in committed:
            task = event.task
            if event.dispatch:
                starts[task.execution_unit_id or ""].append(event.dispatch)
                self._take_from_holder(event.dispatch)
            if event.taken_from_unit:
                self._drop(event, latest[task.id])
            if task.pending_command and not event.transition and not task.pending_command.accepted_at:
                self._deliver(task.execution_unit_id, [control_command(task, task.pending_command)])
            if event.deleted or (event.transition and task.status is not TaskStatus.RUNNING):
                self._stop_resending(task, is_paused=task.status is TaskStatus.PAUSED and not event.deleted)
        for unit_id, dispatches in starts.items():
            self._start(unit_id, dispatches)

    def _stop_resending(self, task: Task, *, is_paused: bool) -> None:
        """Stop resending commands of an attempt that no longer runs."""
        unit = self._registry.find(task.execution_unit_id)
        if unit and unit.session:
            settle = unit.session.attempt_paused if is_paused else unit.session.attempt_ended
            settle((task.id, task.attempt))

    def _drop(self, event: CommittedEvent, latest: Task) -> None:
        task = event.task
        sender = AttemptRef(task.execution_unit_id or "", task.attempt)
        # By the task's last state in this commit: after a retry the task is not over, nor is it while PAUSED.
        reason = drop_reason(latest, sender) or DropReason.SUPERSEDED
        self._deliver(task.execution_unit_id, [drop_command(task.id, task.attempt, reason)])

    def _take_from_holder(self, dispatch: Dispatch) -> None:
        released = self._registry.release(dispatch.task.id)
        if released and dispatch.held_attempt is None:
            holder, attempt = released
            self._deliver(holder.record.id, [drop_command(dispatch.task.id, attempt, DropReason.SUPERSEDED)])

    def _start(self, unit_id: str, dispatches: Iterable[Dispatch]) -> None:
        unit = self._registry.find(unit_id)
        if unit and unit.session:
            unit.session.deliver(map(unit.dispatch_command, dispatches))

    def _deliver(self, unit_id: str | None, commands: Sequence[Command]) -> None:
        unit = self._registry.find(unit_id)
        if unit and unit.session:
            unit.session.deliver(commands)
