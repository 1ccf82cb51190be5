"""What becomes of the attempts that a connecting unit holds, and of those it should hold and does not.

Pure: the unit's inventory and its tasks in, verdicts, changes and commands out.
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
    """What a unit holds, compared with the tasks that are its own or that it names."""

    unit_id: str
    now: datetime
    policy: RetryPolicy
    # The unit has been restarted since its tasks were dispatched.
    is_new_process: bool = False
    verdicts: list[Verdict] = field(default_factory=list)
    # What is to be stored, and what is to be sent again.
    changes: list[Effect] = field(default_factory=list)
    dispatches: list[Dispatch] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)

    def settle(self, inventory: Iterable[HeldAttempt], tasks: Mapping[int, Task]) -> None:
        """Fill the lists.

        `tasks` are the RUNNING and PAUSED ones last dispatched to the unit, and all of the inventory that exist. An
        attempt that the unit lacks is lost if the unit had accepted it. If not, it is sent again to the same process;
        another one gets it under a new attempt.
        """
        # By attempt too: of one task, an older attempt can wait for its acknowledgement while a newer one runs.
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
        # Of an attempt that has ended there is nothing to hold: the report of its end is wanted.
        may_go_on = held.state is not AttemptState.ENDED
        is_paused = task is not None and task.status is TaskStatus.PAUSED and may_go_on
        return Verdict(held.task_id, held.attempt, VerdictAction.PAUSE if is_paused else VerdictAction.KEEP)

    def _settle(self, task: Task, held: Mapping[tuple[int, int], HeldAttempt]) -> None:
        if (task.id, task.attempt) not in held:
            match task.status:
                case TaskStatus.RUNNING if task.accepted_at:
                    sender = AttemptRef(self.unit_id, task.attempt)
                    self.changes.append(lost(task, sender, self.now, why=GONE, policy=self.policy))
                    return
                case TaskStatus.RUNNING if self.is_new_process:
                    sender = AttemptRef(self.unit_id, task.attempt)
                    self.changes.append(not_begun(task, sender, self.now, why=ANOTHER_PROCESS))
                    return
                case TaskStatus.RUNNING:
                    before = held.get((task.id, task.attempt - 1))
                    resumed = before.attempt if before and _awaits_resume(task, before) else None
                    self.dispatches.append(Dispatch(task, held_attempt=resumed))
                case TaskStatus.PAUSED if task.pending_command:
                    self.changes.append(_cancelled_unheld(task, task.pending_command, self.now))
                    return
                case _:
                    return
        elif task.status is TaskStatus.RUNNING and task.accepted_at is None:
            # It has it, so it has accepted it; a server that was killed may have forgotten.
            self.changes.append(Effect(task).edit(now=self.now, accepted_at=self.now))
        if task.pending_command and not task.is_final:
            self.commands.append(control_command(task, task.pending_command))


def as_recorded(unit_id: str, tasks: Iterable[Task]) -> list[HeldAttempt]:
    """Return the inventory of a unit that does not tell it: all that it has accepted, running or paused."""
    own = (task for task in tasks if task.execution_unit_id == unit_id)
    return [
        HeldAttempt(task.id, task.attempt, AttemptState(task.status))
        for task in own
        if task.status is TaskStatus.PAUSED or (task.status is TaskStatus.RUNNING and task.accepted_at)
    ]


def _awaits_resume(task: Task, held: HeldAttempt) -> bool:
    """Whether the unit holds the attempt before a resume that it has not heard of."""
    return (
        task.status is TaskStatus.RUNNING
        and task.accepted_at is None
        and held.state is AttemptState.PAUSED
        and held.attempt == task.attempt - 1
    )


def _cancelled_unheld(task: Task, pending: PendingCommand, now: datetime) -> Effect:
    """Finish a cancel that waited for a unit that no longer holds the task."""
    reason = pending.reason or "cancelled"
    return Effect(task).cancel(now=now, by=pending.actor, reason=reason)
