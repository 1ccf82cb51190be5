"""Group commit: proposals that come while a transaction is under way share the next one.

There is no timer: when nothing is under way a lone proposal is committed at once, and when many tasks wait the next
transaction is decided while the last one is still on its way to the disk.
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

# With more in one transaction, a unit's slots wait longer for it than the transaction gains.
MOST_TASKS = 200
# With so many proposals at hand, those that nobody waits for any more are dropped.
ROOM = 10_000
# So many tasks are worth a transaction that is decided while the last one is on its way; fewer wait and gather.
WORTH_AN_OVERLAP = 64


@dataclass(frozen=True, slots=True)
class _Waiting:
    mutation: Mutation[Any]
    key: IdempotencyKey | None
    tasks: int
    answer: asyncio.Future[Any]


@dataclass(frozen=True, slots=True)
class _Outcome:
    # For each proposal its answer, or the error it raised.
    answers: list[Any]
    committed: list[CommittedEvent]


class GroupCommit:
    """The only writer of what tasks are to be.

    `listeners` hear of every durable change, in order, before any caller is answered.
    """

    def __init__(self, store: Store, progress_cache: ProgressCache, slots: Slots) -> None:
        self._store = store
        self._progress_cache = progress_cache
        self._slots = slots
        self._inbox: deque[_Waiting] = deque()
        self._tasks_waiting = 0
        self._room = ROOM
        self._wake = asyncio.Event()
        self._stopping = False
        self.listeners: list[Callable[[Sequence[CommittedEvent]], None]] = []

    @overload
    def submit(self, mutation: Mutation[T], key: None = None, *, tasks: int = 1) -> "asyncio.Future[T]": ...

    @overload
    def submit(
        self, mutation: Mutation[T], key: IdempotencyKey | None, *, tasks: int = 1
    ) -> "asyncio.Future[T | Replay]": ...

    def submit(
        self, mutation: Mutation[T], key: IdempotencyKey | None = None, *, tasks: int = 1
    ) -> "asyncio.Future[Any]":
        """Hand a proposal over, which is about so many tasks; the future answers when it is durable, or with the error.

        Proposals are decided in the order of their submission, but for those of a transaction that one of them has
        spoiled: they are done over one by one. A proposal whose future is cancelled before its turn is not decided.
        A repeat of a call with a key decides nothing and returns a Replay, or raises ResponseStored.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._stopping:
            answer.set_exception(ServerStopping())
        else:
            if len(self._inbox) >= self._room:
                self._make_room()
            self._inbox.append(_Waiting(mutation, key, tasks, answer))
            self._tasks_waiting += tasks
            self._wake.set()
        return answer

    def stop(self) -> None:
        """Refuse new proposals; `run` returns when those at hand are durable."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Commit until stopped."""
        last: asyncio.Task[None] | None = None
        while self._inbox or not self._stopping:
            await self._wake.wait()
            self._wake.clear()
            while self._inbox:
                if last and self._tasks_waiting < WORTH_AN_OVERLAP:
                    await last
                group = self._next_group()
                if not group:
                    break
                pending = self._begin(group)
                finishing = asyncio.create_task(self._finish(group, pending))
                await pending.decided.wait()
                if last:
                    await last  # it is durable; two are under way at the most
                last = finishing
        if last:
            await last

    def _next_group(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        tasks = 0
        while self._inbox and tasks < MOST_TASKS:
            waiting = self._inbox.popleft()
            self._tasks_waiting -= waiting.tasks
            if not waiting.answer.cancelled():
                group.append(waiting)
                tasks += waiting.tasks
        return group

    def _make_room(self) -> None:
        """Drop those whose callers have gone: while a database is away for long, callers come again and again."""
        self._inbox = deque(each for each in self._inbox if not each.answer.cancelled())
        self._tasks_waiting = sum(each.tasks for each in self._inbox)
        self._room = max(ROOM, 2 * len(self._inbox))

    def _begin(self, group: list[_Waiting]) -> PendingTransaction[_Outcome]:
        return self._store.begin(lambda transaction: self._decide(transaction, group))

    async def _finish(self, group: list[_Waiting], pending: PendingTransaction[_Outcome]) -> None:
        """Wait until a transaction is durable, and tell."""
        try:
            outcome = await pending.durable()
        except Exception as error:  # noqa: BLE001  (those who wait hear of it)
            pending.published()
            await self._failed(group, error)
        else:
            try:
                self._tell(group, outcome)
            finally:
                pending.published()

    async def _failed(self, group: list[_Waiting], error: Exception) -> None:
        is_away = isinstance(error, DatabaseUnavailable) and not isinstance(error, DatabaseRefused)
        if len(group) > 1 and not is_away:
            # One proposal may have spoiled the transaction of all: let each try alone, so that it fails alone.
            for each in group:
                await self._finish([each], self._begin([each]))
            return
        if not isinstance(error, DatabaseUnavailable):
            log.error("a proposal failed: %r", group[0].mutation, exc_info=error)
        for each in group:
            if not each.answer.done():
                each.answer.set_exception(error)

    def _decide(self, transaction: WriteTransaction, group: list[_Waiting]) -> _Outcome:
        """Decide all proposals of a group, in order, give free slots to what waits, and write."""
        work = UnitOfWork(transaction, self._progress_cache, utc_now())
        calls = KeyedCalls(transaction)
        # Every call is taken for new, until a transaction fails.
        keys = [each.key for each in group if each.key] if transaction.is_retry else []
        named = {task_id for each in group for task_id in each.mutation.task_ids()}
        work.load(named | calls.look_up(keys))
        answers = [_decided(each, calls, work) for each in group]
        Dispatcher(work, transaction, self._slots).fill_slots()
        work.write()
        calls.write(work.now)
        return _Outcome([_as_dispatched(each, work.dispatched) for each in answers], work.committed)

    def _tell(self, group: list[_Waiting], outcome: _Outcome) -> None:
        for committed in outcome.committed:
            if committed.transition or committed.deleted:
                self._progress_cache.forget(committed.task.id)
        for listener in self.listeners:
            listener(outcome.committed)
        for each, answer in zip(group, outcome.answers, strict=True):
            if each.answer.done():
                continue  # its caller has gone away; the change holds all the same
            if isinstance(answer, TaskplaneError | ResponseStored):
                each.answer.set_exception(answer)
            else:
                each.answer.set_result(answer)


def _decided(waiting: _Waiting, calls: KeyedCalls, work: UnitOfWork) -> Any:
    """Return the result of a mutation, or the error that it raises."""
    try:
        if waiting.key:
            return calls.decide(waiting.key, waiting.mutation, work)
        return waiting.mutation.decide(work)
    except (TaskplaneError, ResponseStored) as error:
        return error


def _as_dispatched(answer: Any, dispatched: Mapping[int, Task]) -> Any:
    """Show tasks that got a slot in the transaction of their answer as they are now."""
    match answer:
        case Task():
            return dispatched.get(answer.revision, answer)
        case list():
            return [_as_dispatched(each, dispatched) for each in answer]
        case _:
            return answer
