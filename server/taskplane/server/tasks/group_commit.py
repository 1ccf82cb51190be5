"""Group commit: mutations submitted while a transaction is pending share the next transaction.

There is no timer: without a pending transaction a single mutation is committed at once. Under load the next transaction
is decided while the last is on its way to the disk.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from taskplane.server.core.clock import utc_now
from taskplane.server.core.errors import DatabaseRefused, DatabaseUnavailable, ServerStopping, TaskplaneError
from taskplane.server.core.placement import Slots
from taskplane.server.core.task import Task
from taskplane.server.idempotency.calls import KeyedCalls
from taskplane.server.idempotency.keys import IdempotencyKey, Replay, ResponseStored
from taskplane.server.store.pending_transaction import PendingTransaction
from taskplane.server.store.store import Store
from taskplane.server.store.transaction import WriteTransaction
from taskplane.server.tasks.dispatcher import Dispatcher
from taskplane.server.tasks.progress_cache import ProgressCache
from taskplane.server.tasks.unit_of_work import CommittedEvent, Mutation, UnitOfWork

log = logging.getLogger(__name__)

T = TypeVar("T")

# Larger transactions delay slot turnover more than they save.
MAX_TASKS = 200
# Above this number of submitted mutations, the mutations of cancelled calls are dropped.
MAX_SUBMITTED = 10_000
# At least this number of tasks starts a transaction during a pending transaction; fewer tasks wait.
MIN_OVERLAP_TASKS = 64


@dataclass(frozen=True, slots=True)
class _Submitted:
    mutation: Mutation[Any]
    key: IdempotencyKey | None
    tasks: int
    result: asyncio.Future[Any]


@dataclass(frozen=True, slots=True)
class _Outcome:
    # The result of each mutation, or the error that it raised.
    results: list[Any]
    events: list[CommittedEvent]


# A listener of commits. In the order of `app.py`: Registry.on_commit, Delivery.on_commit, DispatchLoop.on_commit,
# WatchHub.publish, log_transitions.
CommitListener = Callable[[Sequence[CommittedEvent]], None]


class GroupCommit:
    """The only writer of tasks.

    `listeners` receive every committed event, in order, before any caller gets its result.
    """

    def __init__(self, store: Store, progress_cache: ProgressCache, slots: Slots) -> None:
        self._store = store
        self._progress_cache = progress_cache
        self._slots = slots
        self._inbox: deque[_Submitted] = deque()
        self._submitted_tasks = 0
        self._max_submitted = MAX_SUBMITTED
        self._wake = asyncio.Event()
        self._stopping = False
        self.listeners: list[CommitListener] = []

    @overload
    def submit(self, mutation: Mutation[T], key: None = None, *, tasks: int = 1) -> "asyncio.Future[T]": ...

    @overload
    def submit(
        self, mutation: Mutation[T], key: IdempotencyKey | None, *, tasks: int = 1
    ) -> "asyncio.Future[T | Replay]": ...

    def submit(
        self, mutation: Mutation[T], key: IdempotencyKey | None = None, *, tasks: int = 1
    ) -> "asyncio.Future[Any]":
        """Submit a mutation of this number of tasks; the future has the result after the commit, or the error.

        Mutations are decided in the order of their submission, except after a failed transaction, whose mutations are
        retried one by one. A mutation whose future is cancelled before is not decided. A repeat of a call with a key
        decides nothing and returns a Replay, or raises ResponseStored.
        """
        result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._stopping:
            result.set_exception(ServerStopping())
        else:
            if len(self._inbox) >= self._max_submitted:
                self._drop_cancelled()
            self._inbox.append(_Submitted(mutation, key, tasks, result))
            self._submitted_tasks += tasks
            self._wake.set()
        return result

    def stop(self) -> None:
        """Refuse new mutations; `run` returns after the submitted ones are durable."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Commit until stopped."""
        last: asyncio.Task[None] | None = None
        while self._inbox or not self._stopping:
            await self._wake.wait()
            self._wake.clear()
            while self._inbox:
                if last and self._submitted_tasks < MIN_OVERLAP_TASKS:
                    await last
                group = self._next_group()
                if not group:
                    break
                pending = self._begin(group)
                finishing = asyncio.create_task(self._finish(group, pending))
                await pending.decided.wait()
                if last:
                    await last  # durable now: at most two are pending
                last = finishing
        if last:
            await last

    def _next_group(self) -> list[_Submitted]:
        group: list[_Submitted] = []
        tasks = 0
        while self._inbox and tasks < MAX_TASKS:
            submitted = self._inbox.popleft()
            self._submitted_tasks -= submitted.tasks
            if not submitted.result.cancelled():
                group.append(submitted)
                tasks += submitted.tasks
        return group

    def _drop_cancelled(self) -> None:
        """Drop mutations of cancelled calls: while the database is away for long, callers retry again and again."""
        self._inbox = deque(each for each in self._inbox if not each.result.cancelled())
        self._submitted_tasks = sum(each.tasks for each in self._inbox)
        self._max_submitted = max(MAX_SUBMITTED, 2 * len(self._inbox))

    def _begin(self, group: list[_Submitted]) -> PendingTransaction[_Outcome]:
        return self._store.begin(lambda transaction: self._decide(transaction, group))

    async def _finish(self, group: list[_Submitted], pending: PendingTransaction[_Outcome]) -> None:
        """Wait until a transaction is durable, and publish its events."""
        try:
            outcome = await pending.durable()
        except Exception as error:  # noqa: BLE001  (the waiting callers receive it)
            pending.published()
            await self._failed(group, error)
        else:
            try:
                self._publish(group, outcome)
            finally:
                pending.published()

    async def _failed(self, group: list[_Submitted], error: Exception) -> None:
        is_away = isinstance(error, DatabaseUnavailable) and not isinstance(error, DatabaseRefused)
        if len(group) > 1 and not is_away:
            # One mutation may have spoiled the transaction: retry each alone, so that only this one fails.
            for each in group:
                await self._finish([each], self._begin([each]))
            return
        if not isinstance(error, DatabaseUnavailable):
            log.error("a mutation failed: %r", group[0].mutation, exc_info=error)
        for each in group:
            if not each.result.done():
                each.result.set_exception(error)

    def _decide(self, transaction: WriteTransaction, group: list[_Submitted]) -> _Outcome:
        """Decide all mutations of a group in order, fill free slots, and write."""
        work = UnitOfWork(transaction, self._progress_cache, utc_now())
        calls = KeyedCalls(transaction)
        # Every call is taken for new, until a transaction fails.
        keys = [each.key for each in group if each.key] if transaction.is_retry else []
        named = {task_id for each in group for task_id in each.mutation.task_ids()}
        work.load(named | calls.look_up(keys))
        results = [_decided(each, calls, work) for each in group]
        Dispatcher(work, transaction, self._slots).fill_slots()
        work.write()
        calls.write(work.now)
        return _Outcome([_as_dispatched(each, work.dispatched) for each in results], work.events)

    def _publish(self, group: list[_Submitted], outcome: _Outcome) -> None:
        for event in outcome.events:
            if event.transition or event.deleted:
                self._progress_cache.forget(event.task.id)
        for listener in self.listeners:
            listener(outcome.events)
        for each, result in zip(group, outcome.results, strict=True):
            if each.result.done():
                continue  # the caller has gone; the effect holds all the same
            if isinstance(result, TaskplaneError | ResponseStored):
                each.result.set_exception(result)
            else:
                each.result.set_result(result)


def _decided(submitted: _Submitted, calls: KeyedCalls, work: UnitOfWork) -> Any:
    """Return the result of a mutation, or the error that it raises."""
    try:
        if submitted.key:
            return calls.decide(submitted.key, submitted.mutation, work)
        return submitted.mutation.decide(work)
    except (TaskplaneError, ResponseStored) as error:
        return error


def _as_dispatched(result: Any, dispatched: Mapping[int, Task]) -> Any:
    """Replace tasks that got a slot in the same transaction by their dispatched state."""
    match result:
        case Task():
            return dispatched.get(result.revision, result)
        case list():
            return [_as_dispatched(each, dispatched) for each in result]
        case _:
            return result
