"""The TaskService: a method for each verb. It waits for effects; the core decides them."""

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractContextManager, aclosing
from dataclasses import replace
from datetime import datetime
from functools import partial

from taskplane.server.core import verbs
from taskplane.server.core.clock import monotonic, utc_now
from taskplane.server.core.command_log import CommandLogEntry, CommandState
from taskplane.server.core.effect import Effect
from taskplane.server.core.errors import (
    CommandPending,
    CommandRejected,
    DatabaseUnavailable,
    FieldViolation,
    IllegalTransition,
    InvalidFields,
    TaskNotFound,
)
from taskplane.server.core.task import Checkpoint, Task, Transition
from taskplane.server.core.verbs import CallContext, Update
from taskplane.server.execution_units.registry import Registry
from taskplane.server.execution_units.waiting import WaitingReason
from taskplane.server.idempotency.keys import IdempotencyKey
from taskplane.server.services.pages import (
    NOT_ISSUED_HERE,
    Page,
    TaskPage,
    TaskQuery,
    read_page_token,
    read_text_page_token,
)
from taskplane.server.services.verbs import (
    CommandTimeLimits,
    VerbChanges,
    check_not_lost,
    is_cancelled,
    is_dispatched,
    is_paused,
    timed,
)
from taskplane.server.services.view import TaskView
from taskplane.server.store.store import Store
from taskplane.server.tasks.mutations import TaskSpec
from taskplane.server.tasks.progress_cache import ProgressCache
from taskplane.server.tasks.state_manager import TaskStateManager
from taskplane.server.tasks.unit_of_work import CommittedEvent
from taskplane.server.tasks.watch import Subscriber, WatchHub

log = logging.getLogger(__name__)

# Whether the effect of a command holds for a task; takes the task and the last note.
EffectTest = Callable[[Task, str], bool]


class TaskService:
    """Verbs and queries over tasks. Methods raise the errors of `core.errors`, as taskplane.v1.TaskService documents.

    A verb waits for its effect until `wait_until` by `core.clock.monotonic`, including the time to record the verb.
    With None, the verb returns as soon as it is recorded.
    """

    def __init__(  # noqa: PLR0913  (the composition root builds it)
        self,
        store: Store,
        states: TaskStateManager,
        registry: Registry,
        progress_cache: ProgressCache,
        watch: WatchHub,
        *,
        time_limits: CommandTimeLimits,
    ) -> None:
        self._store = store
        self._states = states
        self._registry = registry
        self._progress_cache = progress_cache
        self._watch = watch
        self._changes = VerbChanges(registry, time_limits)

    async def create(
        self, specs: Sequence[TaskSpec], caller: CallContext, key: IdempotencyKey | None
    ) -> list[TaskView]:
        """Create tasks, all or none. Does not wait for a unit."""
        return [self.view(task) for task in await self._states.create(specs, caller, key)]

    async def start(
        self, task_id: int, caller: CallContext, key: IdempotencyKey | None, wait_until: float | None
    ) -> TaskView:
        """Queue a PENDING task, and wait as long as a free slot is available for the task."""
        return await self._queue(task_id, self._changes.start(caller), key, wait_until)

    async def pause(
        self, task_id: int, caller: CallContext, key: IdempotencyKey | None, wait_until: float | None
    ) -> TaskView:
        """Pause a RUNNING task, and wait for the unit's checkpoint."""
        return await self._command(task_id, self._changes.pause(caller), key, wait_until, is_paused)

    async def resume(
        self,
        task_id: int,
        caller: CallContext,
        key: IdempotencyKey | None,
        wait_until: float | None,
        checkpoint_number: int = 0,
    ) -> TaskView:
        """Queue a PAUSED task to continue, from a chosen checkpoint if a number is given; waits as `start` does."""
        return await self._queue(task_id, self._changes.resume(caller), key, wait_until, checkpoint_number)

    async def cancel(
        self, task_id: int, caller: CallContext, key: IdempotencyKey | None, wait_until: float | None
    ) -> TaskView:
        """Cancel a task, and wait until the unit has cleaned up."""
        return await self._command(task_id, self._changes.cancel(caller), key, wait_until, is_cancelled)

    async def restart(
        self,
        task_id: int,
        caller: CallContext,
        key: IdempotencyKey | None,
        wait_until: float | None,
        checkpoint_number: int = 0,
    ) -> TaskView:
        """Queue a FAILED or CANCELLED task again, from scratch or a chosen checkpoint; waits as `start` does."""
        return await self._queue(task_id, self._changes.restart(caller), key, wait_until, checkpoint_number)

    async def update(self, task_id: int, caller: CallContext, key: IdempotencyKey | None, new: Update) -> TaskView:
        """Change priority, retries, labels or limits of a live task."""
        change = partial(verbs.update, caller=caller, new=new)
        return self.view(await self._states.change(task_id, timed(change), key))

    async def delete(self, task_id: int, caller: CallContext, key: IdempotencyKey | None) -> None:
        """Delete a finished task with its history."""
        await self._states.delete(task_id, caller, key)

    async def get(self, task_id: int) -> TaskView:
        """Return a task with the data of its newest checkpoint."""
        task = await self._existing(task_id)
        return self.view(await self._with_checkpoint(task))

    async def list(self, query: TaskQuery) -> TaskPage:
        """Return a page of tasks. Raises InvalidFields for a token of another list, ReadTooLong, TooManyReads."""
        after_id = read_page_token(query.page_token, query.fingerprint)
        until = None if query.seconds is None else monotonic() + query.seconds
        found = await self._store.list_tasks(
            query.filter,
            newest_first=query.newest_first,
            after_id=after_id,
            limit=query.page_size,
            skip=query.skip,
            max_bytes=query.max_bytes,
            seconds=query.seconds,
        )
        total = None
        if query.include_total:
            total = await self._store.count_tasks(query.filter, None if until is None else until - monotonic())
        token = "" if found.continue_after is None else query.token_after(found.continue_after)
        return TaskPage([self.view(task) for task in found.tasks], token, total, found.is_cut)

    async def transitions(self, task_id: int, page_size: int, token: str) -> Page[Transition]:
        """Return a page of a task's history, oldest first. Raises TaskNotFound."""
        fingerprint = f"transitions:{task_id}"
        after = read_page_token(token, fingerprint) or 0
        await self._existing(task_id)
        found = await self._store.list_transitions(task_id, after_revision=after, limit=page_size + 1)
        is_last = len(found) <= page_size
        return Page(found[:page_size], is_last, fingerprint, lambda count: found[count - 1].revision)

    async def commands(self, task_id: int, page_size: int, token: str) -> Page[CommandLogEntry]:
        """Return a page of a task's commands, newest first. Raises TaskNotFound."""
        fingerprint = f"commands:{task_id}"
        before = _command_key(read_text_page_token(token, fingerprint))
        task = self._progress_cache.overlay(await self._existing(task_id))
        found = await self._store.list_commands(task_id, before=before, limit=page_size + 1)
        items = [_with_acceptance(entry, task) for entry in found[:page_size]]
        return Page(items, len(found) <= page_size, fingerprint, lambda count: _text_key(items[count - 1]))

    async def checkpoints(self, task_id: int, number: int = 0) -> Sequence[Checkpoint]:
        """Return the kept checkpoints of a task, newest first, or only one by number. Raises TaskNotFound."""
        await self._existing(task_id)
        if number:
            one = await self._store.get_checkpoint(task_id, number)
            return [one] if one else []
        return await self._store.list_checkpoints(task_id)

    async def check_database(self) -> None:
        """Raise DatabaseUnavailable if the database does not respond. Does not queue behind callers' reads."""
        await self._store.latest_revision()

    def view(self, task: Task) -> TaskView:
        """Return a task as callers see it now."""
        now = utc_now()
        task = self._progress_cache.overlay(task)
        return TaskView(task, self._registry.waiting(task, now), now)

    async def _queue(
        self,
        task_id: int,
        change: Callable[..., Effect],
        key: IdempotencyKey | None,
        wait_until: float | None,
        checkpoint_number: int = 0,
    ) -> TaskView:
        with self._subscribe(task_id) as subscriber:
            if checkpoint_number:
                chosen = partial(_from_checkpoint, change)
                task = await self._states.change_from_checkpoint(task_id, checkpoint_number, chosen, key)
            else:
                task = await self._states.change(task_id, timed(change), key)
            if wait_until is not None:
                task = await self._while_about_to_run(subscriber, task, wait_until)
            return self.view(task)

    async def _while_about_to_run(self, subscriber: Subscriber, task: Task, wait_until: float) -> Task:
        async with aclosing(_later_changes(subscriber, task, wait_until)) as changes:
            # A dispatch in the transaction of the verb has taken the slot already.
            while not is_dispatched(task) and (
                subscriber.has_change_after(task.revision) or self._is_about_to_run(task)
            ):
                event = await anext(changes, None)
                if event is None:
                    break
                task = event.task
        return task

    async def _command(
        self,
        task_id: int,
        change: Callable[..., Effect],
        key: IdempotencyKey | None,
        wait_until: float | None,
        effect: EffectTest,
    ) -> TaskView:
        with self._subscribe(task_id) as subscriber:
            task, repeated = await self._states.command(task_id, timed(change), key)
            try:
                if repeated is not None and await self._is_applied(task, repeated):
                    task = await self._existing(task_id)
                elif wait_until is not None and not effect(task, ""):
                    task = await self._until(subscriber, effect, task, wait_until)
            except (CommandRejected, IllegalTransition):
                if key:
                    await self._forget(key)
                raise
            return self.view(await self._with_checkpoint(task))

    async def _is_applied(self, task: Task, command_id: str) -> bool:
        """Return whether the command of an earlier call has taken effect. Raises the reason if it never will."""
        entry = await self._store.get_command(command_id) if command_id else None
        if entry is None:
            return True
        check_not_lost(entry, task)
        return entry.state is CommandState.APPLIED

    async def _forget(self, key: IdempotencyKey) -> None:
        """Free the key of a call whose command came to nothing, so that the call can be made again."""
        try:
            await self._store.forget_call(key.request_id)
        except DatabaseUnavailable as error:
            log.debug("request id %s is not forgotten: %s", key.request_id, error.message)

    async def _until(self, subscriber: Subscriber, effect: EffectTest, task: Task, wait_until: float) -> Task:
        async with aclosing(_later_changes(subscriber, task, wait_until)) as changes:
            async for event in changes:
                if event.deleted:
                    raise TaskNotFound(task.id)
                task = event.task
                if effect(task, event.note):
                    return task
        verb = task.pending_command.verb.lower() if task.pending_command else "command"
        raise CommandPending(
            f"{verb} of task {task.id} has not taken effect in time; it stays pending",
            metadata={"task_id": str(task.id)},
        )

    def _subscribe(self, task_id: int) -> AbstractContextManager[Subscriber]:
        return self._watch.subscribe([task_id], lambda event: isinstance(event, CommittedEvent))

    def _is_about_to_run(self, task: Task) -> bool:
        waiting = self._registry.waiting(task, utc_now())
        return waiting is not None and waiting.reason is WaitingReason.DISPATCHING

    async def _existing(self, task_id: int) -> Task:
        task = await self._store.get_task(task_id)
        if task is None:
            raise TaskNotFound(task_id)
        return task

    async def _with_checkpoint(self, task: Task) -> Task:
        if task.checkpoint is None or task.checkpoint.data is not None:
            return task
        # The checkpoint may have been pruned or deleted since the task was read.
        checkpoint = await self._store.get_checkpoint(task.id, task.checkpoint.number)
        return task.but(checkpoint=checkpoint or task.checkpoint)


def _text_key(entry: CommandLogEntry) -> str:
    """Return the key of a command for a page token."""
    return f"{entry.issued_at.isoformat()} {entry.command_id}"


def _command_key(text: str) -> tuple[datetime, str] | None:
    """Read the key of a command; None: the beginning of the list. Raises InvalidFields."""
    if not text:
        return None
    issued_at, _, command_id = text.partition(" ")
    try:
        return datetime.fromisoformat(issued_at), command_id
    except ValueError as error:
        raise InvalidFields(FieldViolation("page_token", NOT_ISSUED_HERE)) from error


def _with_acceptance(entry: CommandLogEntry, task: Task) -> CommandLogEntry:
    """Add the acceptance of a pending command, which is stored only when the command is settled."""
    pending = task.pending_command
    if pending is None or pending.command_id != entry.command_id or not pending.accepted_at:
        return entry
    return replace(entry, state=CommandState.ACCEPTED, accepted_at=pending.accepted_at)


async def _later_changes(subscriber: Subscriber, task: Task, wait_until: float) -> AsyncGenerator[CommittedEvent]:
    """Yield the changes after the given task until the time is over; already queued changes always."""
    while event := await subscriber.next_change(max(0.0, wait_until - monotonic())):
        # Events committed between the subscription and the verb are older than the verb's result.
        if event.task.revision > task.revision:
            yield event


def _from_checkpoint(change: Callable[..., Effect], task: Task, now: datetime, checkpoint: Checkpoint) -> Effect:
    return change(task, now=now, checkpoint=checkpoint)
