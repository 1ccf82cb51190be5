"""The mutations of tasks."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import NoReturn

from taskplane.server.core.clock import wall_now
from taskplane.server.core.command import Command, Dispatch, Verdict
from taskplane.server.core.effect import Effect
from taskplane.server.core.errors import FieldViolation, InvalidFields, TaskplaneError
from taskplane.server.core.fence import AttemptRef, is_current
from taskplane.server.core.inventory import Reconciliation, as_recorded
from taskplane.server.core.limits import Listening, expired, next_expiry
from taskplane.server.core.reports import lost, not_begun
from taskplane.server.core.retry import RetryPolicy
from taskplane.server.core.task import (
    DEFAULT_RETRIES,
    NO_LIMITS,
    Checkpoint,
    Json,
    Limits,
    Task,
    TaskStatus,
    Transition,
)
from taskplane.server.core.unit import HeldAttempt
from taskplane.server.core.verbs import CallContext, check_deletable
from taskplane.server.tasks.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """The fields of a new task; see taskplane.v1.TaskSpec."""

    task_name: str
    task_type: str
    priority: int = 0
    config: Json = field(default_factory=dict)
    max_retries: int = DEFAULT_RETRIES
    start: bool = False
    labels: Json = field(default_factory=dict)
    unit_labels: Json = field(default_factory=dict)
    limits: Limits = NO_LIMITS


_BEFORE = datetime.min.replace(tzinfo=UTC)
# The template of new tasks: a copy takes a third of the time of building a task from all its fields.
_BLANK = Task(
    id=0,
    task_name="",
    task_type="",
    status=TaskStatus.PENDING,
    created_at=_BEFORE,
    updated_at=_BEFORE,
    status_changed_at=_BEFORE,
)


@dataclass(frozen=True, slots=True)
class CreateTasks:
    """Create tasks, all or none."""

    specs: Sequence[TaskSpec]
    caller: CallContext

    def task_ids(self) -> Iterable[int]:
        return ()

    def decide(self, work: UnitOfWork) -> list[Task]:
        count = len(self.specs)
        numbered = zip(self.specs, work.new_ids(count), work.new_revisions(count), strict=True)
        tasks = [self._task(spec, task_id, revision, work.now) for spec, task_id, revision in numbered]
        return work.create(tasks, [self._transition(task) for task in tasks])

    def _task(self, spec: TaskSpec, task_id: int, revision: int, now: datetime) -> Task:
        return _BLANK.but(
            id=task_id,
            revision=revision,
            task_name=spec.task_name,
            task_type=spec.task_type,
            priority=spec.priority,
            config=spec.config,
            created_at=now,
            updated_at=now,
            status_changed_at=now,
            max_retries=spec.max_retries,
            labels=spec.labels,
            unit_labels=spec.unit_labels,
            limits=spec.limits,
            queued_at=now if spec.start else None,
            queued_by=self.caller.actor if spec.start else "",
            queued_reason=self.caller.reason if spec.start else "",
        )

    def _transition(self, task: Task) -> Transition:
        reason = self.caller.reason or "created"
        return Transition(
            task.id, None, task.status, task.created_at, self.caller.actor, reason, attempt=0, revision=task.revision
        )


@dataclass(frozen=True, slots=True)
class ChangeTask:
    """Change one task by a verb or a report: `change` gets the current task and the time."""

    task_id: int
    change: Callable[[Task, datetime], Effect]

    def task_ids(self) -> Iterable[int]:
        return (self.task_id,)

    def decide(self, work: UnitOfWork) -> Task:
        return work.apply(self.change(work.task(self.task_id), work.now))


@dataclass(frozen=True, slots=True)
class ChangeFromCheckpoint:
    """Change one task by a verb that continues from a checkpoint of the caller's choice."""

    task_id: int
    number: int
    change: Callable[[Task, datetime, Checkpoint], Effect]

    def task_ids(self) -> Iterable[int]:
        return (self.task_id,)

    def decide(self, work: UnitOfWork) -> Task:
        task = work.task(self.task_id)
        checkpoint = work.checkpoint(self.task_id, self.number)
        if checkpoint is None:
            raise InvalidFields(FieldViolation("checkpoint_number", f"task {task.id} has no checkpoint {self.number}"))
        return work.apply(self.change(task, work.now, replace(checkpoint, data=None)))


@dataclass(frozen=True, slots=True)
class ControlTasks:
    """Change several tasks independently. Returns the error of each task by id, or None."""

    # The change of each task by id, in the order of decision; None deletes the task.
    changes: Mapping[int, Callable[[Task, datetime], Effect | None]]

    def task_ids(self) -> Iterable[int]:
        return self.changes

    def decide(self, work: UnitOfWork) -> dict[int, TaskplaneError | None]:
        return {task_id: _error_of(task_id, change, work) for task_id, change in self.changes.items()}


def _error_of(
    task_id: int, change: Callable[[Task, datetime], Effect | None], work: UnitOfWork
) -> TaskplaneError | None:
    try:
        task = work.task(task_id)
        decided = change(task, work.now)
    except TaskplaneError as error:
        return error
    if decided is None:
        work.delete(task)
    else:
        work.apply(decided)
    return None


@dataclass(frozen=True, slots=True)
class Refuse:
    """Refuse a call in its order of submission, unless it is a repeat."""

    error: TaskplaneError

    def task_ids(self) -> Iterable[int]:
        return ()

    def decide(self, work: UnitOfWork) -> NoReturn:
        raise self.error


@dataclass(frozen=True, slots=True)
class LoseAttempts:
    """Take attempts away from a lost unit, unless they are no longer current."""

    unit_id: str
    # Attempts by task id.
    attempts: Mapping[int, int]
    why: str
    policy: RetryPolicy

    def task_ids(self) -> Iterable[int]:
        return self.attempts

    def decide(self, work: UnitOfWork) -> None:
        for task_id, attempt in self.attempts.items():
            task, sender = work.find(task_id), AttemptRef(self.unit_id, attempt)
            if task and task.status is TaskStatus.RUNNING and is_current(task, sender):
                work.apply(lost(task, sender, work.now, why=self.why, policy=self.policy))


@dataclass(frozen=True, slots=True)
class LeaveUnit:
    """Take all attempts away from a leaving unit: after the goodbye no start was decided."""

    unit_id: str
    why: str
    policy: RetryPolicy

    def task_ids(self) -> Iterable[int]:
        return ()

    def decide(self, work: UnitOfWork) -> None:
        for task in work.lock_running_on(self.unit_id):
            sender = AttemptRef(self.unit_id, task.attempt)
            if task.status is not TaskStatus.RUNNING:
                continue
            if task.accepted_at:
                work.apply(lost(task, sender, work.now, why=self.why, policy=self.policy))
            else:
                work.apply(not_begun(task, sender, work.now, why=self.why))


@dataclass(frozen=True, slots=True)
class CheckUnit:
    """Read the tasks that run on a unit, so that the dispatcher corrects the unit's assignments."""

    unit_id: str

    def task_ids(self) -> Iterable[int]:
        return ()

    def decide(self, work: UnitOfWork) -> None:
        work.lock_running_on(self.unit_id)


@dataclass(frozen=True, slots=True)
class ExpireTasks:
    """Apply expired time limits to tasks that the table lists as due."""

    due: Sequence[int]
    policy: RetryPolicy
    listening: Listening | None = None

    def task_ids(self) -> Iterable[int]:
        return self.due

    def decide(self, work: UnitOfWork) -> None:
        for task in filter(None, map(work.find, self.due)):
            effect = expired(task, work.now, self.policy, wall_now=wall_now(), listening=self.listening)
            if effect.steps:
                work.apply(effect)
            elif next_expiry(task):
                # Time is left, because of progress or a deaf server: store the new expiry.
                work.apply(effect.edit(now=work.now))


@dataclass(frozen=True, slots=True)
class PurgeTasks:
    """Delete old finished tasks. Returns their number."""

    completed_before: datetime
    limit: int

    def task_ids(self) -> Iterable[int]:
        return ()

    def decide(self, work: UnitOfWork) -> int:
        old = work.lock_finished(self.completed_before, self.limit)
        work.purge(old)
        return len(old)


@dataclass(frozen=True, slots=True)
class DeleteTask:
    """Delete a finished task."""

    task_id: int
    caller: CallContext

    def task_ids(self) -> Iterable[int]:
        return (self.task_id,)

    def decide(self, work: UnitOfWork) -> None:
        task = work.task(self.task_id)
        check_deletable(task, self.caller)
        work.delete(task)


@dataclass(frozen=True, slots=True)
class FillSlots:
    """An empty mutation: every transaction gives free slots to queued tasks.

    Tasks that have just become due are named, so that the dispatcher considers them even if the queue in memory lacks
    them.
    """

    due: Sequence[int] = ()

    def task_ids(self) -> Iterable[int]:
        return self.due

    def decide(self, work: UnitOfWork) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class ReconciledUnit:
    """The result for a connecting unit."""

    verdicts: Sequence[Verdict]
    dispatches: Sequence[Dispatch]
    commands: Sequence[Command]
    # The unit's RUNNING tasks.
    running: Sequence[Task]


@dataclass(frozen=True, slots=True)
class ReconcileUnit:
    """Reconcile a unit's inventory with its assigned tasks; see core.inventory. None: the recorded inventory."""

    unit_id: str
    inventory: Sequence[HeldAttempt] | None
    is_new_process: bool
    policy: RetryPolicy

    def task_ids(self) -> Iterable[int]:
        return [each.task_id for each in self.inventory or ()]

    def decide(self, work: UnitOfWork) -> ReconciledUnit:
        own = {task.id: task for task in work.lock_running_on(self.unit_id)}
        inventory = as_recorded(self.unit_id, own.values()) if self.inventory is None else self.inventory
        named = {each.task_id: task for each in inventory if (task := work.find(each.task_id))}
        outcome = Reconciliation(self.unit_id, work.now, self.policy, self.is_new_process)
        outcome.settle(inventory, own | named)
        for effect in outcome.effects:
            work.apply(effect)
        after = [task for task_id in own if (task := work.find(task_id))]
        running = [task for task in after if task.status is TaskStatus.RUNNING]
        return ReconciledUnit(outcome.verdicts, work.with_checkpoints(outcome.dispatches), outcome.commands, running)
