"""Tasks, units, offers and transitions for the server's tests, valid by default."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from taskplane.server.core.fence import AttemptRef
from taskplane.server.core.placement import Offer
from taskplane.server.core.task import TRANSITIONS, Checkpoint, PendingCommand, Task, TaskStatus, Transition, Verb
from taskplane.server.core.unit import TaskTypeSupport, Unit
from taskplane.server.core.verbs import CallContext
from taskplane.server.tasks.mutations import TaskSpec

# With microseconds, which every database must keep.
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
TASK_TYPE = "DATA_PROCESSING"
UNIT_ID = "unit-1"
OTHER_UNIT_ID = "unit-2"
# Long enough for the slowest machine; a longer wait is a failure.
PATIENCE_SECONDS = 30.0

ALICE = CallContext(actor="alice", reason="because")


def at(seconds: float) -> datetime:
    """Return the time this number of seconds after NOW."""
    return NOW + timedelta(seconds=seconds)


def a_task(status: TaskStatus = TaskStatus.PENDING, **changes: Any) -> Task:
    """Return a task with the usual history of a status: PENDING is not queued, all others ran on UNIT_ID once."""
    task = Task(
        id=1,
        task_name="convert users.csv",
        task_type=TASK_TYPE,
        status=status,
        created_at=NOW,
        updated_at=NOW,
        status_changed_at=NOW,
    )
    if status is not TaskStatus.PENDING:
        task = replace(
            task,
            attempt=1,
            execution_unit_id=UNIT_ID,
            execution_unit_type="DATA_PROCESSOR",
            started_at=NOW,
            accepted_at=NOW,
            completed_at=NOW if task.is_final else None,
        )
    return replace(task, **changes)


def a_checkpoint(number: int = 1, *, attempt: int = 1, data: Mapping[str, Any] | None = None) -> Checkpoint:
    """Return a checkpoint with its data."""
    return Checkpoint(number, attempt, NOW, {"row": number * 100} if data is None else data)


def a_command(verb: Verb, command_id: str = "command-1", **changes: Any) -> PendingCommand:
    """Return a pending pause or cancel by bob."""
    return replace(PendingCommand(verb, command_id, NOW, actor="bob", reason="as bob wishes"), **changes)


def a_spec(**changes: Any) -> TaskSpec:
    """Return the spec of a task."""
    return replace(TaskSpec(task_name="convert users.csv", task_type=TASK_TYPE), **changes)


def a_unit(unit_id: str = UNIT_ID, *task_types: str, can_pause: bool = True, **changes: Any) -> Unit:
    """Return a unit with one slot."""
    supported = task_types or (TASK_TYPE,)
    unit = Unit(
        id=unit_id,
        unit_type="DATA_PROCESSOR",
        unit_name=f"name of {unit_id}",
        created_at=NOW,
        updated_at=NOW,
        task_types={each: TaskTypeSupport(each, can_pause=can_pause, can_checkpoint=True) for each in supported},
    )
    return replace(unit, **changes)


def an_offer(unit_id: str = UNIT_ID, *, capacity: int = 1, **changes: Any) -> Offer:
    """Return the offer of a unit."""
    task_types = frozenset({TASK_TYPE})
    return replace(
        Offer(unit_id=unit_id, unit_type="DATA_PROCESSOR", capacity=capacity, task_types=task_types), **changes
    )


def attempt_ref_of(task: Task) -> AttemptRef:
    """Return the task's current attempt as the sender of reports."""
    return AttemptRef(task.execution_unit_id or "", task.attempt)


def assert_is_path(history: Iterable[Transition]) -> None:
    """Check a task's whole history against the table: it begins with creation, and each step continues the last."""
    status: TaskStatus | None = None
    attempt = revision = 0
    for step in history:
        assert step.from_status is status, f"{step} does not go on from {status}"
        assert step.to_status in TRANSITIONS[status], f"the table has no {status} → {step.to_status}"
        assert step.attempt >= attempt
        assert step.revision > revision
        status, attempt, revision = step.to_status, step.attempt, step.revision
