"""The effect of a verb or a report on one task: a short path of steps, decided without I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self

from taskplane.server.core.task import Checkpoint, Json, Task, TaskStatus, Transition

# The server itself, in `changed_by`.
SERVER = "taskplane"
# The field values of a task that leaves the queue.
UNQUEUED: Mapping[str, Any] = {"queued_at": None, "queued_command_id": "", "queued_checkpoint_number": None}


@dataclass(frozen=True, slots=True)
class Step:
    """The task after one step; `transition` is None if the status stayed.

    `note` is for waiting callers. `taken_from_unit`: the attempt is no longer current, and its unit must drop it.
    """

    task: Task
    transition: Transition | None = None
    note: str = ""
    taken_from_unit: bool = False


@dataclass(frozen=True, slots=True)
class Effect:
    """A path of steps, applied together or not at all, and a checkpoint to store with the path.

    Built from `Effect(task)`, which changes nothing; `task` is the task after all steps.
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
        """Add a change of status. Raises IllegalTransition if the table forbids the change."""
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
        """Add the end of the task by a cancel; nothing stays pending or queued."""
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
        """Add the resume of a task that finished its work while PAUSED: RUNNING, then SUCCESS at once.

        No unit takes part, but the resume counts as an attempt.
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
        """Add a change of fields other than the status."""
        return self._plus(Step(self.task.but(updated_at=now, **changes), note=note))

    def store(self, checkpoint: Checkpoint | None) -> Self:
        """Add a checkpoint, unless it is None or a repeat."""
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
