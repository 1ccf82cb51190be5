"""What a verb or a report does to one task: a short path of steps, decided without I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self

from taskplane.server.core.task import Checkpoint, Json, Task, TaskStatus, Transition

# The server itself, in `changed_by`.
SERVER = "taskplane"
# The fields of a task that waits in the queue no more.
UNQUEUED: Mapping[str, Any] = {"queued_at": None, "queued_command_id": "", "queued_checkpoint_number": None}


@dataclass(frozen=True, slots=True)
class Step:
    """The task after one change; `transition` is None if its status stayed.

    `note` is for those who wait. `taken_from_unit`: the unit has no say in it and must be told to drop its attempt.
    """

    task: Task
    transition: Transition | None = None
    note: str = ""
    taken_from_unit: bool = False


@dataclass(frozen=True, slots=True)
class Effect:
    """A path of steps, applied together or not at all, and the checkpoint to be stored with it.

    Built up from `Effect(task)`, which changes nothing; `task` is the task as it will be.
    """

    task: Task
    steps: tuple[Step, ...] = ()
    checkpoint: Checkpoint | None = None

    def move(
        self,
        to: TaskStatus,
        *,
        now: datetime,
        by: str,
        reason: str,
        taken_from_unit: bool = False,
        **changes: Any,
    ) -> Self:
        """Add a change of status; IllegalTransition if the table forbids it."""
        after = self.task.moved(to, now=now, updated_at=now, **changes)
        transition = Transition(
            task_id=after.id,
            from_status=self.task.status,
            to_status=to,
            changed_at=now,
            changed_by=by,
            reason=reason,
            attempt=after.attempt,
        )
        return self._plus(Step(after, transition, taken_from_unit=taken_from_unit))

    def cancel(self, *, now: datetime, by: str, reason: str, taken_from_unit: bool = False) -> Self:
        """Add the end of the task by a cancel: nothing is pending or queued any more."""
        return self.move(
            TaskStatus.CANCELLED,
            now=now,
            by=by,
            reason=reason,
            taken_from_unit=taken_from_unit,
            pending_command=None,
            result=None,
            **UNQUEUED,
        )

    def finish(self, *, now: datetime, by: str, reason: str, result: Json | None) -> Self:
        """Add the end of a RUNNING task by the success of its attempt."""
        task = self.task
        return self.move(
            TaskStatus.SUCCESS,
            now=now,
            by=by,
            reason=reason,
            result=result,
            progress=replace(task.progress, fraction=1.0, reported_at=now) if task.progress else None,
            error_message=None,
            pending_command=None,
        )

    def resume_finished(self, *, now: datetime) -> Self:
        """Add what the resume of a task comes to whose work was done while it was PAUSED: RUNNING, and SUCCESS at once.

        No unit is asked, but it is an attempt as after any other resume.
        """
        task = self.task
        unit = f"unit:{task.execution_unit_id}"
        running = self.move(
            TaskStatus.RUNNING,
            now=now,
            by=task.queued_by or SERVER,
            reason="; ".join(part for part in (task.queued_reason, "its work is done already") if part),
            attempt=task.attempt + 1,
            queued_by="",
            queued_reason="",
            **UNQUEUED,
        )
        return running.finish(now=now, by=unit, reason="done while the task was paused", result=task.result)

    def edit(self, *, now: datetime, note: str = "", **changes: Any) -> Self:
        """Add a change of anything but the status."""
        return self._plus(Step(self.task.but(updated_at=now, **changes), note=note))

    def store(self, checkpoint: Checkpoint | None) -> Self:
        """Take a checkpoint along, unless it is None or a repeat."""
        if checkpoint is None:
            return self
        last = self.task.last_checkpoint_number
        checkpoint = replace(checkpoint, number=checkpoint.number or last + 1)
        if checkpoint.number <= last:
            return self
        task = self.task.but(checkpoint=checkpoint, last_checkpoint_number=checkpoint.number)
        return replace(self, task=task, checkpoint=checkpoint)

    def _plus(self, step: Step) -> Self:
        return type(self)(step.task, (*self.steps, step), self.checkpoint)
