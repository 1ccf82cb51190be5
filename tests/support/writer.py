"""Helpers to count transactions, make them fail, or hold them open while mutations gather."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from sqlalchemy.util import await_only
from support.builders import PATIENCE_SECONDS

from taskplane.server.core.command import Dispatch
from taskplane.server.core.placement import Offer, Slots
from taskplane.server.core.retry import RetryPolicy
from taskplane.server.store.database import Database
from taskplane.server.store.pending_transaction import PendingTransaction
from taskplane.server.store.store import Store
from taskplane.server.store.transaction import WriteTransaction
from taskplane.server.tasks.group_commit import GroupCommit
from taskplane.server.tasks.state_manager import TaskStateManager
from taskplane.server.tasks.unit_of_work import CommittedEvent, UnitOfWork

T = TypeVar("T")


class CountingStore(Store):
    """A store that counts transactions, and fails the next one on demand."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.transactions = 0
        self.next_error: Exception | None = None

    def begin(self, decide: Callable[[WriteTransaction], T]) -> PendingTransaction[T]:
        """Begin a transaction, or one that raises `next_error`."""
        self.transactions += 1
        error, self.next_error = self.next_error, None

        def fail(_: WriteTransaction) -> T:
            raise error or AssertionError

        return super().begin(fail if error else decide)


class DispatchingStates(TaskStateManager):
    """A state manager whose units exist only during a dispatch."""

    def __init__(self, commits: GroupCommit, retry_policy: RetryPolicy, slots: Slots) -> None:
        super().__init__(commits, retry_policy)
        self.slots = slots
        self._published: list[CommittedEvent] = []
        commits.listeners.append(self._published.extend)

    async def dispatch(self, offers: Sequence[Offer]) -> list[Dispatch]:
        """Dispatch queued tasks to the free slots of units."""
        self._published.clear()
        for offer in offers:
            self.slots.offer(offer)
        await self.fill_slots()
        for offer in offers:
            self.slots.withdraw(offer.unit_id)
        dispatches = [each.dispatch for each in self._published if each.dispatch]
        for each in dispatches:
            self.slots.assignments.ended(each.task.id, each.task.attempt, stays_held=False)
        return dispatches


class HeldCommit:
    """A mutation that holds its transaction open until the end of the context; later mutations gather."""

    def __init__(self, commits: GroupCommit) -> None:
        self._commits = commits
        self._has_begun = asyncio.Event()
        self._may_end = asyncio.Event()

    def task_ids(self) -> Iterable[int]:
        """Return no tasks: the mutation changes nothing."""
        return ()

    def decide(self, batch: UnitOfWork) -> None:
        """Wait for the end of the context, as for the database."""
        self._has_begun.set()
        await_only(asyncio.wait_for(self._may_end.wait(), PATIENCE_SECONDS))

    async def __aenter__(self) -> None:
        self._answer = self._commits.submit(self)
        await asyncio.wait_for(self._has_begun.wait(), PATIENCE_SECONDS)

    async def __aexit__(self, *_: object) -> None:
        self._may_end.set()
        await self._answer
