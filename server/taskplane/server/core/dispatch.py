"""What a dispatch does to a task, and what the unit needs to know to begin."""

from dataclasses import dataclass, replace
from datetime import datetime

from taskplane.server.core.effect import SERVER, UNQUEUED, Effect
from taskplane.server.core.placement import Placement
from taskplane.server.core.task import Checkpoint, Task, TaskStatus


@dataclass(frozen=True, slots=True)
class Dispatch:
    """A durable placement: what the unit is told. `checkpoint` has its data; `held_attempt` may go on from memory."""

    task: Task
    checkpoint: Checkpoint | None = None
    held_attempt: int | None = None


def dispatched(placement: Placement, now: datetime, chosen: Checkpoint | None = None) -> Effect:
    """PENDING or PAUSED → RUNNING under a new attempt, which may go on from a checkpoint that was chosen for it."""
    task, unit = placement.task, placement.offer
    return Effect(task).move(
        TaskStatus.RUNNING,
        now=now,
        by=task.queued_by or SERVER,
        reason="; ".join(part for part in (task.queued_reason, _how(placement)) if part),
        attempt=task.attempt + 1,
        execution_unit_id=unit.unit_id,
        execution_unit_type=unit.unit_type,
        accepted_at=None,
        progress=task.progress if _goes_on(placement) else None,
        checkpoint=replace(chosen, data=None) if chosen else task.checkpoint,
        started_at=task.started_at or now,
        queued_by="",
        queued_reason="",
        **UNQUEUED,
    )


def without_checkpoint(task: Task, now: datetime) -> Effect:
    """Take a task out of the queue whose checkpoint is gone: to begin anew would lose work without a word."""
    why = "the checkpoint that it was to go on from is not in the table any more; choose another"
    return Effect(task).edit(now=now, error_message=why, note=why, **UNQUEUED)


def _goes_on(placement: Placement) -> bool:
    """Whether the attempt goes on from memory or a checkpoint, or begins from scratch."""
    task = placement.task
    can_go_on = task.next_checkpoint_number is not None and task.task_type not in placement.offer.from_the_start
    return can_go_on or placement.held_attempt is not None


def _how(placement: Placement) -> str:
    where = f"dispatched to {placement.offer.unit_id}"
    if placement.held_attempt is not None:
        return f"{where}, which holds it in memory"
    number = placement.task.next_checkpoint_number
    if number and not _goes_on(placement):
        return f"{where} from the start, as it makes no checkpoints"
    return f"{where} from checkpoint {number}" if number else where
