"""Transactions as the writer handles them: what a try has to be able to do, and what its owner and the next one see."""

import asyncio
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.util import await_only

from taskplane.server.core.errors import DatabaseUnavailable

T = TypeVar("T")
X = TypeVar("X", bound="Transaction")


class Transaction(Protocol):
    """One try of a transaction: how what it has decided becomes true or is taken back."""

    @property
    def touched(self) -> AbstractSet[int]:
        """The tasks that it changes, as soon as it is decided."""

    def commit(self) -> None:
        """Write what was decided, and commit."""

    def is_stored(self, connection: Connection) -> bool:
        """Look, after the connection broke before COMMIT was answered, whether it is there."""

    def keep(self) -> None:
        """Called when it is durable."""

    def undo(self) -> None:
        """Called when it has failed: take back what it did beside the database, the last decided transaction first."""


@dataclass(frozen=True, slots=True)
class TransactionStart:
    """What a try of a transaction begins with."""

    connection: Connection
    # The transaction before, if it may still be on its way. What that has touched or may have added must not be looked
    # at before it is told.
    last: "PendingTransaction[Any] | None" = None
    # An earlier try has failed, perhaps because a new row was there already, or one was not as known.
    is_retry: bool = False


class PendingTransaction(Generic[T]):
    """A transaction from its begin until all have heard of it.

    1. It is `decided`. Now the next one may be decided too, as long as it does not look at what this one has touched.
    2. It is committed, and `next_may_stand`. Or it has failed: if the next one was decided by then, that is
       undone first, then this; and both are done over, in order. Or it is given up for good, with nothing built on it.
    3. `durable` answers its owner, who tells everybody, and says so by `published`. Then the next one may look at all.
       A transaction that does not overlap with this one is decided only then: what it takes back or gives out must
       not come before the news of this one.
    """

    def __init__(self, start: Callable[[TransactionStart], Any], decide: Callable[[Any], T]) -> None:
        self.start = start
        self.decide = decide
        # Set when the next transaction may begin.
        self.decided = asyncio.Event()
        # Whether what was decided after it may stand, as soon as that is known; if not, both are done over.
        self.next_may_stand: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        # The tasks that it changes.
        self.touched: AbstractSet[int] = frozenset()
        # The transaction before, until all have heard of that.
        self.last: PendingTransaction[Any] | None = None
        # What takes back the try that has failed, until that is done.
        self.undo_failed: Callable[[], None] | None = None
        self._result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._published = asyncio.Event()

    async def durable(self) -> T:
        """Wait until it is durable. Raises DatabaseUnavailable, AlreadyStored, or what `decide` has raised."""
        return await asyncio.shield(self._result)

    def published(self) -> None:
        """Say that all have heard of it, or that it has failed."""
        self._published.set()

    async def predecessor_published(self) -> None:
        """Wait until all have heard of the transaction before, or that has failed."""
        if self.last:
            await self.last._published.wait()  # noqa: SLF001  (another one of this class)
            self.last = None

    @property
    def has_been_undone(self) -> bool:
        """Whether a try of it has failed, so that nothing decided beside that may stand."""
        return self.next_may_stand.done() and not self.next_may_stand.result()

    def wait_until_published(self) -> None:
        """Let the next one, which decides, wait until nothing in it is news."""
        if not await_only(asyncio.shield(self.next_may_stand)):
            raise LastFailed
        await_only(self._published.wait())

    @property
    def is_over(self) -> bool:
        """Whether it is durable or has failed for good."""
        return self._result.done()

    def succeed(self, result: T) -> None:
        """Answer who waits for it: it is durable."""
        self._result.set_result(result)

    def fail(self, error: Exception) -> None:
        """Answer who waits for it: it has failed for good. Nobody has anything to hear of it."""
        self._published.set()
        self._result.set_exception(error)
        self._result.exception()  # asked for, so that it is not logged if nobody waits any more

    def give_up(self) -> None:
        """Release all who wait for it, unless it is over: nobody knows what has become of it."""
        self.decided.set()
        if not self.next_may_stand.done():
            self.next_may_stand.set_result(True)
        if not self.is_over:
            self.fail(DatabaseUnavailable())


class LastFailed(Exception):
    """The transaction before has failed, so what was decided after it is void."""
