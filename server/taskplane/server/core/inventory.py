"""Reconciles the attempts that a connecting unit reports with the tasks assigned to it.

Pure: takes the unit's inventory and tasks; returns verdicts, effects and commands.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from taskplane.server.core.command import Command, Dispatch, Verdict, VerdictAction, control_command
from taskplane.server.core.effect import Effect
from taskplane.server.core.fence import AttemptRef, drop_reason
from taskplane.server.core.reports import lost, not_begun
from taskplane.server.core.retry import RetryPolicy
from taskplane.server.core.task import PendingCommand, Task, TaskStatus
from taskplane.server.core.unit import AttemptState, HeldAttempt

GONE = "unit lost: it came back without this attempt"
ANOTHER_PROCESS = "the unit came back as another process"


@dataclass(slots=True)
class Reconciliation:
    """The comparison of a unit's inventory with its assigned tasks and the tasks that the inventory names."""

    unit_id: str
    now: datetime
    policy: RetryPolicy
    # The unit was restarted after its tasks were dispatched.
    is_new_process: bool = False
    verdicts: list[Verdict] = field(default_factory=list)
    # Effects to store, and dispatches and commands to send again.
    effects: list[Effect] = field(default_factory=list)
    dispatches: list[Dispatch] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)

    def settle(self, inventory: Iterable[HeldAttempt], tasks: Mapping[int, Task]) -> None:
        """Fill the lists.

        `tasks` are the RUNNING and PAUSED tasks last dispatched to the unit, and all existing tasks of the inventory.
        An accepted attempt missing in the inventory is lost. An attempt that was not accepted is sent again to the same
        process, or dispatched to another process under a new attempt number.
        """
        # By attempt too: an older attempt may wait for its acknowledgement while a newer attempt of the task runs.
        held = {(each.task_id, each.attempt): each for each in inventory}
        self.verdicts += [self._verdict(tasks.get(each.task_id), each) for each in held.values()]
        for task in tasks.values():
            if task.execution_unit_id == self.unit_id:
                self._settle(task, held)

    def _verdict(self, task: Task | None, held: HeldAttempt) -> Verdict:
        if task and task.execution_unit_id == self.unit_id and _awaits_resume(task, held):
            return Verdict(held.task_id, held.attempt, VerdictAction.PAUSE)
        reason = drop_reason(task, AttemptRef(self.unit_id, held.attempt))
        if reason:
            return Verdict(held.task_id, held.attempt, VerdictAction.DROP, reason)
        # An ended attempt holds nothing in memory: the unit must report the end.
        may_continue = held.state is not AttemptState.ENDED
        is_paused = task is not None and task.status is TaskStatus.PAUSED and may_continue
        return Verdict(held.task_id, held.attempt, VerdictAction.PAUSE if is_paused else VerdictAction.KEEP)

    def _settle(self, task: Task, held: Mapping[tuple[int, int], HeldAttempt]) -> None:
        if (task.id, task.attempt) not in held:
            match task.status:
                case TaskStatus.RUNNING if task.accepted_at:
                    sender = AttemptRef(self.unit_id, task.attempt)
                    self.effects.append(lost(task, sender, self.now, why=GONE, policy=self.policy))
                    return
                case TaskStatus.RUNNING if self.is_new_process:
                    sender = AttemptRef(self.unit_id, task.attempt)
                    self.effects.append(not_begun(task, sender, self.now, why=ANOTHER_PROCESS))
                    return
                case TaskStatus.RUNNING:
                    before = held.get((task.id, task.attempt - 1))
                    resumed = before.attempt if before and _awaits_resume(task, before) else None
                    self.dispatches.append(Dispatch(task, held_attempt=resumed))
                case TaskStatus.PAUSED if task.pending_command:
                    self.effects.append(_cancelled_unheld(task, task.pending_command, self.now))
                    return
                case _:
                    return
        elif task.status is TaskStatus.RUNNING and task.accepted_at is None:
            # The unit holds the attempt, so it was accepted. A killed server may have lost the acceptance.
            self.effects.append(Effect(task).edit(now=self.now, accepted_at=self.now))
        if task.pending_command and not task.is_final:
            self.commands.append(control_command(task, task.pending_command))


def as_recorded(unit_id: str, tasks: Iterable[Task]) -> list[HeldAttempt]:
    """Return the inventory of a unit that reports none: all its accepted RUNNING and PAUSED attempts."""
    own = (task for task in tasks if task.execution_unit_id == unit_id)
    return [
        HeldAttempt(task.id, task.attempt, AttemptState(task.status))
        for task in own
        if task.status is TaskStatus.PAUSED or (task.status is TaskStatus.RUNNING and task.accepted_at)
    ]


def _awaits_resume(task: Task, held: HeldAttempt) -> bool:
    """Return whether the unit holds the attempt before a resume that the unit has not received."""
    return (
        task.status is TaskStatus.RUNNING
        and task.accepted_at is None
        and held.state is AttemptState.PAUSED
        and held.attempt == task.attempt - 1
    )


def _cancelled_unheld(task: Task, pending: PendingCommand, now: datetime) -> Effect:
    reason = pending.reason or "cancelled"
    return Effect(task).cancel(now=now, by=pending.actor, reason=reason)
