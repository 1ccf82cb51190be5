"""The TaskStateManager: the only way to change a task, and `tasks.status` above all."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from taskplane.server.core.effect import Effect
from taskplane.server.core.errors import RepeatedRefusal, TaskNotFound, TaskplaneError
from taskplane.server.core.limits import Listening
from taskplane.server.core.retry import RetryPolicy
from taskplane.server.core.task import Checkpoint, Task
from taskplane.server.core.unit import HeldAttempt
from taskplane.server.core.verbs import CallContext
from taskplane.server.idempotency.keys import IdempotencyKey, Replay
from taskplane.server.tasks.group_commit import GroupCommit
from taskplane.server.tasks.mutations import (
    ChangeFromCheckpoint,
    ChangeTask,
    CheckUnit,
    ControlTasks,
    CreateTasks,
    DeleteTask,
    ExpireTasks,
    FillSlots,
    LeaveUnit,
    LoseAttempts,
    PurgeTasks,
    ReconciledUnit,
    ReconcileUnit,
    Refuse,
    TaskSpec,
)

T = TypeVar("T")


class TaskStateManager:
    """Applies verbs, reports and dispatches to tasks, durably and in one order.

    Each method returns when the change and its history are committed. Each raises the refusal of the decision
    (IllegalTransition, StaleAttempt, StaleRevision, TaskNotFound, …), RequestIdReused, DatabaseUnavailable or
    ServerStopping; then nothing was done. A repeat of a call with a `key` changes nothing and returns the tasks as they
    are now, unless its first response is stored; see taskplane.server.idempotency.
    """

    def __init__(self, commits: GroupCommit, retry_policy: RetryPolicy) -> None:
        self._commits = commits
        self.retry_policy = retry_policy

    async def create(
        self, specs: Sequence[TaskSpec], caller: CallContext, key: IdempotencyKey | None = None
    ) -> list[Task]:
        """Create tasks, all or none, in the given order. A repeat raises TaskNotFound if a task was deleted since."""
        result = await self._commits.submit(CreateTasks(specs, caller), key, tasks=len(specs))
        if not isinstance(result, Replay):
            return result
        if result.deleted_ids:
            raise TaskNotFound(result.deleted_ids[0])
        return result.tasks

    async def change(
        self, task_id: int, change: Callable[[Task, datetime], Effect], key: IdempotencyKey | None = None
    ) -> Task:
        """Apply a verb of `core.verbs` or a report of `core.reports` to a task.

        `change` runs on the locked task, and may run more than once.
        """
        return _the_task(task_id, await self._commits.submit(ChangeTask(task_id, change), key))

    async def command(
        self, task_id: int, change: Callable[[Task, datetime], Effect], key: IdempotencyKey | None
    ) -> tuple[Task, str | None]:
        """Apply a verb as `change` does. For a repeat, also return the id of the command that the first call issued.

        The id is empty if the first call issued no command, and None for a first call.
        """
        result = await self._commits.submit(ChangeTask(task_id, change), key)
        return _the_task(task_id, result), result.command_id if isinstance(result, Replay) else None

    def submit(self, task_id: int, change: Callable[[Task, datetime], Effect]) -> "asyncio.Future[Task]":
        """Submit a change without waiting; changes are decided in the order of calls."""
        return self._commits.submit(ChangeTask(task_id, change))

    async def change_from_checkpoint(
        self,
        task_id: int,
        number: int,
        change: Callable[[Task, datetime, Checkpoint], Effect],
        key: IdempotencyKey | None = None,
    ) -> Task:
        """Apply a verb that continues from a chosen checkpoint. Raises InvalidFields if the checkpoint is not kept."""
        result = await self._commits.submit(ChangeFromCheckpoint(task_id, number, change), key)
        return _the_task(task_id, result)

    async def control(
        self, changes: Mapping[int, Callable[[Task, datetime], Effect | None]], key: IdempotencyKey | None = None
    ) -> Mapping[int, TaskplaneError | None]:
        """Change tasks by id, or delete those whose change is None, in one transaction and independently.

        Returns the error of each task, or None. A repeat without a stored response returns the first result again,
        because the refusals are stored with the key.
        """
        return _errors_of(await self._commits.submit(ControlTasks(changes), key, tasks=len(changes)))

    async def refuse(
        self, error: TaskplaneError, key: IdempotencyKey | None = None
    ) -> Mapping[int, TaskplaneError | None]:
        """Raise an error, unless the call is a repeat of `control`, which gets the result of `control`."""
        if key is None:
            raise error
        return _errors_of(await self._commits.submit(Refuse(error), key))

    async def lose(self, unit_id: str, attempts: Mapping[int, int], why: str) -> None:
        """Take a unit's attempts (by task id) away in one transaction, unless they are no longer current."""
        await self._commits.submit(LoseAttempts(unit_id, attempts, why, self.retry_policy), tasks=len(attempts))

    async def leave(self, unit_id: str, why: str) -> None:
        """Take all attempts of a unit away; attempts that were not accepted count no retry."""
        await self._commits.submit(LeaveUnit(unit_id, why, self.retry_policy))

    async def check_unit(self, unit_id: str) -> None:
        """Correct a unit's assignments by its RUNNING tasks in the table."""
        await self._commits.submit(CheckUnit(unit_id))

    async def expire(self, task_ids: Sequence[int], listening: Listening | None = None) -> None:
        """Apply the expired time limits of these tasks; see core.limits. Deleted tasks are skipped.

        `listening` knows when the server could not hear; None: it always could.
        """
        await self._commits.submit(ExpireTasks(task_ids, self.retry_policy, listening), tasks=len(task_ids))

    async def purge(self, completed_before: datetime, limit: int) -> int:
        """Delete up to `limit` tasks that finished before a time. Returns their number."""
        return await self._commits.submit(PurgeTasks(completed_before, limit))

    async def delete(self, task_id: int, caller: CallContext, key: IdempotencyKey | None = None) -> None:
        """Delete a finished task."""
        await self._commits.submit(DeleteTask(task_id, caller), key)

    async def fill_slots(self, due: Sequence[int] = ()) -> None:
        """Give free slots to queued tasks, the `due` tasks included; listeners receive the dispatches."""
        await self._commits.submit(FillSlots(due), tasks=1 + len(due))

    async def reconcile(
        self, unit_id: str, inventory: Sequence[HeldAttempt] | None, *, is_new_process: bool
    ) -> ReconciledUnit:
        """Reconcile the inventory of a connecting unit; see core.inventory. None: the recorded inventory."""
        reconcile = ReconcileUnit(unit_id, inventory, is_new_process, self.retry_policy)
        return await self._commits.submit(reconcile, tasks=1 + len(inventory or ()))


def _the_task(task_id: int, result: Task | Replay) -> Task:
    match result:
        case Replay(tasks=[task, *_]):
            return task
        case Replay():
            raise TaskNotFound(task_id)
        case task:
            return task


def _errors_of(result: Mapping[int, TaskplaneError | None] | Replay) -> Mapping[int, TaskplaneError | None]:
    if not isinstance(result, Replay):
        return result
    errors: dict[int, TaskplaneError | None] = dict.fromkeys([*(task.id for task in result.tasks), *result.deleted_ids])
    return errors | {each.task_id: RepeatedRefusal(each.code, each.reason, each.message) for each in result.refusals}
