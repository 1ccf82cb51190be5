"""One verb on many tasks in one transaction. Calls do not wait for effects."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from taskplane.server.core.clock import utc_now
from taskplane.server.core.effect import Effect
from taskplane.server.core.errors import TaskNotFound, TaskplaneError, TooManyTasks
from taskplane.server.core.task import Task
from taskplane.server.core.verbs import CallContext, check_deletable
from taskplane.server.idempotency.keys import IdempotencyKey
from taskplane.server.services.verbs import VerbChanges, timed
from taskplane.server.store.reading import TaskFilter
from taskplane.server.store.store import Store
from taskplane.server.tasks.state_manager import TaskStateManager


class BatchVerb(StrEnum):
    """The verb to apply to the tasks; see taskplane.v1.BatchVerb."""

    START = "START"
    PAUSE = "PAUSE"
    RESUME = "RESUME"
    CANCEL = "CANCEL"
    RESTART = "RESTART"
    DELETE = "DELETE"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOrder:
    """A verb, and its tasks: the tasks with these ids, or up to `max_tasks` that a filter selects.

    The filter may take `seconds` to select them.
    """

    verb: BatchVerb
    tasks: tuple[int, ...] | TaskFilter
    max_tasks: int
    validate_only: bool = False
    seconds: float | None = None


class BatchControl:
    """Controls many tasks in one transaction."""

    def __init__(self, store: Store, states: TaskStateManager, changes: VerbChanges) -> None:
        self._store = store
        self._states = states
        self._changes = changes

    async def control(
        self, order: BatchOrder, caller: CallContext, key: IdempotencyKey | None
    ) -> Mapping[int, TaskplaneError | None]:
        """Apply the verb to each task independently. Returns the error of each, or None, in order of id.

        Raises TooManyTasks if the filter selects too many, ReadTooLong if the selection takes too long, and
        ResponseStored for a repeat. A repeat is recognised in its order of submission, and concerns the tasks of the
        first call, not the tasks that the filter selects now.
        """
        try:
            task_ids = await self._chosen(order)
        except TooManyTasks as error:
            errors = await self._states.refuse(error, key)
        else:
            changes = {task_id: self._change(order.verb, caller) for task_id in sorted(task_ids)}
            errors = await (self._validate(changes) if order.validate_only else self._states.control(changes, key))
        return dict(sorted(errors.items()))

    async def _chosen(self, order: BatchOrder) -> list[int]:
        if not isinstance(order.tasks, TaskFilter):
            return list(order.tasks)
        limit = order.max_tasks + 1
        found = await self._store.choose_tasks(order.tasks, limit=limit, seconds=order.seconds)
        if len(found) > order.max_tasks:
            raise TooManyTasks(order.max_tasks)
        return found

    def _change(self, verb: BatchVerb, caller: CallContext) -> Callable[[Task, datetime], Effect | None]:
        match verb:
            case BatchVerb.START:
                return timed(self._changes.start(caller))
            case BatchVerb.PAUSE:
                return timed(self._changes.pause(caller))
            case BatchVerb.RESUME:
                return timed(self._changes.resume(caller))
            case BatchVerb.CANCEL:
                return timed(self._changes.cancel(caller))
            case BatchVerb.RESTART:
                return timed(self._changes.restart(caller))
            case BatchVerb.DELETE:
                return _deletion(caller)

    async def _validate(
        self, changes: Mapping[int, Callable[[Task, datetime], Effect | None]]
    ) -> Mapping[int, TaskplaneError | None]:
        """Return the errors that the tasks would get in their present state."""
        now = utc_now()
        outcomes: dict[int, TaskplaneError | None] = {}
        task_ids = list(changes)
        while rest := task_ids[len(outcomes) :]:
            found = await self._store.tasks_that_fit(rest)
            outcomes.update((each, _outcome(each, task, changes[each], now)) for each, task in found.items())
        return outcomes


def _deletion(caller: CallContext) -> Callable[[Task, datetime], None]:
    def delete(task: Task, now: datetime) -> None:
        check_deletable(task, caller)

    return delete


def _outcome(
    task_id: int, task: Task | None, change: Callable[[Task, datetime], Effect | None], now: datetime
) -> TaskplaneError | None:
    try:
        if task is None:
            raise TaskNotFound(task_id)
        change(task, now)
    except TaskplaneError as error:
        return error
    return None
