"""Subscriptions to changes: each subscriber has a bounded queue, filled after every commit, in order.

Verbs that wait for their effect receive events at once, watchers in their turn. The course of a watch (a snapshot or
missed history, then these events) is in services.watching.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from taskplane.server.core.errors import ServerStopping, SlowReader, TaskplaneError
from taskplane.server.core.task import Progress, Task
from taskplane.server.tasks.fair_scheduler import MESSAGE_BYTES, FairScheduler
from taskplane.server.tasks.unit_of_work import CommittedEvent

# Above this number of queued changes, a subscriber is cut.
MAX_QUEUED_CHANGES = 20_000
# Above this size of unread changes, a watch is cut: eight of the largest tasks.
WATCH_BYTES = 8 * 1024 * 1024
# Above this size for all watches together, the largest are cut. Shared changes count once.
ALL_WATCHES_BYTES = 256 * 1024 * 1024
# The size of a task without documents, and of its message.
_TASK_BYTES = 1500
_TEXT_BYTES = 50
_CONTAINER_BYTES = 80
_NUMBER_BYTES = 16
# Above this size, the count stops.
_ENOUGH_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Progressed:
    """Progress of an attempt; not durable, newer replaces older."""

    task_id: int
    task_type: str
    attempt: int
    progress: Progress


class HeldInMemory:
    """An object that watches hold in memory until it is written, and the number of its holders."""

    __slots__ = ("bytes", "holders", "item")

    def __init__(self, item: Any, weight: int) -> None:
        self.item = item
        self.bytes = weight
        self.holders = 0


def weight_of(task: Task) -> int:
    """Return the approximate size of a task in memory, in bytes."""
    documents = (task.config, task.result, task.labels, task.error_message)
    return _TASK_BYTES + sum(_document_bytes(each) for each in documents if each)


def _document_bytes(document: Any) -> int:
    total = 0
    left = [document]
    while left and total < _ENOUGH_BYTES:
        value = left.pop()
        if isinstance(value, str):
            total += _TEXT_BYTES + len(value)
        elif isinstance(value, Mapping):
            total += _CONTAINER_BYTES + sum(_TEXT_BYTES + len(key) for key in value)
            left.extend(value.values())
        elif isinstance(value, list | tuple):
            total += _CONTAINER_BYTES
            left.extend(value)
        else:
            total += _NUMBER_BYTES
    return total


class WatchMemory:
    """Counts the memory of all watches."""

    def __init__(self) -> None:
        self.bytes = 0

    def take(self, held: HeldInMemory) -> None:
        """Add a holder."""
        if not held.holders:
            self.bytes += held.bytes
        held.holders += 1

    def release(self, held: HeldInMemory) -> None:
        """Remove a holder."""
        held.holders -= 1
        if not held.holders:
            self.bytes -= held.bytes


class Subscriber:
    """One reader's queue. Changes are complete and in order; of progress only the latest value of each task is kept.

    With `scheduler`, events become available in the subscriber's turn. With `memory`, the queue holds at most
    WATCH_BYTES.
    """

    __slots__ = (
        *("_awaits_turn", "_changes", "_error", "_matches", "_memory", "_progress", "_taken", "_scheduler", "_wake"),
        *("bytes", "on_cut"),
    )

    def __init__(
        self,
        matches: Callable[[CommittedEvent | Progressed], bool] | None = None,
        scheduler: FairScheduler | None = None,
        memory: WatchMemory | None = None,
    ) -> None:
        self._matches = matches
        self._scheduler = scheduler
        self._memory = memory
        self._awaits_turn = False
        self._changes: deque[HeldInMemory] = deque()
        # The objects taken by the reader, held until its next wait.
        self._taken: list[HeldInMemory] = []
        self._progress: dict[int, Progressed] = {}
        self._wake = asyncio.Event()
        self._error: TaskplaneError | None = None
        # The size of all held objects.
        self.bytes = 0
        # Drops events that the reader has taken and not written.
        self.on_cut: Callable[[], None] | None = None

    def offer(self, event: CommittedEvent | Progressed, held: HeldInMemory) -> None:
        """Queue an event if it matches; all subscribers share `held`."""
        # Up to a thousand of these calls run between a verb's commit and its response.
        if self._error or (self._matches and not self._matches(event)):
            return
        if isinstance(event, Progressed):
            self._progress[event.task_id] = event
        elif len(self._changes) < MAX_QUEUED_CHANGES and self._holds(held):
            self._changes.append(held)
        else:
            self.cut(SlowReader("the watch was not read quickly enough; resume with after_revision"))
            return
        if self._scheduler is None:
            self._wake.set()
        elif not self._awaits_turn:
            self._awaits_turn = True
            self._scheduler.enqueue(self)

    def hold(self, held: HeldInMemory) -> None:
        """Hold an object instead of the earlier taken ones. Raises the error of a cut subscriber."""
        self.check()
        self._release_taken()
        if self._memory:
            self._memory.take(held)
            self.bytes += held.bytes
            self._taken.append(held)

    def check(self) -> None:
        """Raise the error of a cut subscriber."""
        if self._error:
            raise self._error

    def close(self) -> None:
        """Release everything."""
        self._release_taken()
        self._drop_changes()

    def _holds(self, held: HeldInMemory) -> bool:
        if self._memory is None:
            return True
        if held.bytes < 0:
            held.bytes = weight_of(held.item.task)
        if self.bytes and self.bytes + held.bytes > WATCH_BYTES:
            return False
        self._memory.take(held)
        self.bytes += held.bytes
        return True

    def _release(self, every: Iterable[HeldInMemory]) -> None:
        if self._memory:
            for held in every:
                self._memory.release(held)
                self.bytes -= held.bytes

    def _release_taken(self) -> None:
        self._release(self._taken)
        self._taken = []

    def _drop_changes(self) -> None:
        self._release(self._changes)
        self._changes.clear()

    def take_turn(self) -> int:
        """Use the turn. Returns the number of messages; large ones count as several."""
        self._awaits_turn = False
        self._wake.set()
        return len(self._progress) + max(len(self._changes), self.bytes // MESSAGE_BYTES)

    def cut(self, error: TaskplaneError) -> None:
        """Replace the queue by an error for the reader."""
        self._error = error
        self.close()
        self._progress.clear()
        self._wake.set()
        if self.on_cut:
            self.on_cut()

    def has_change_after(self, revision: int) -> bool:
        """Return whether a change later than the revision is queued."""
        return any(held.item.task.revision > revision for held in self._changes)

    async def next_change(self, timeout_seconds: float) -> CommittedEvent | None:
        """Return the next change, or None after `timeout_seconds`. Raises the error of a cut subscriber."""
        try:
            async with asyncio.timeout(timeout_seconds):
                while self._awaits_turn or not self._changes:
                    await self._arrival()
        except TimeoutError:
            return None
        held = self._changes.popleft()
        self._release([held])
        change: CommittedEvent = held.item
        return change

    async def wait_for_events(self, timeout_seconds: float) -> None:
        """Wait until events are available, or the time is over. Raises the error of a cut subscriber."""
        self._release_taken()
        try:
            async with asyncio.timeout(timeout_seconds):
                while self._awaits_turn or not (self._changes or self._progress):
                    await self._arrival()
        except TimeoutError:
            return

    def take(self) -> tuple[deque[CommittedEvent], list[Progressed]]:
        """Return all available events, which are held until the next `wait_for_events`."""
        self._taken += self._changes
        changes, progress = deque(held.item for held in self._changes), list(self._progress.values())
        self._changes.clear()
        self._progress.clear()
        return changes, progress

    async def _arrival(self) -> None:
        if self._error is None:
            self._wake.clear()
            await self._wake.wait()
        self.check()


class WatchHub:
    """Publishes every durable change, and progress, to subscribers."""

    def __init__(self) -> None:
        self.scheduler = FairScheduler()
        self.memory = WatchMemory()
        self._of_task: dict[int, set[Subscriber]] = defaultdict(set)
        self._of_all: set[Subscriber] = set()
        self._is_stopping = False
        # The last published revision.
        self.revision = 0

    def publish(self, events: Sequence[CommittedEvent]) -> None:
        """Publish durable changes."""
        for event in events:
            self.revision = event.task.revision
            self._offer(event.task.id, event)
        self.make_room()

    def publish_progress(self, event: Progressed) -> None:
        """Publish progress."""
        self._offer(event.task_id, event)

    def make_room(self) -> None:
        """Cut the watches with the most memory until the total is at most ALL_WATCHES_BYTES."""
        while self.memory.bytes > ALL_WATCHES_BYTES:
            slowest = max(self._subscribers(), key=lambda subscriber: subscriber.bytes, default=None)
            if slowest is None or not slowest.bytes:
                return  # the rest is kept for later watches
            slowest.cut(SlowReader("too much waits for slow readers, most for this one; resume with after_revision"))

    def stop(self) -> None:
        """Cut all subscribers, and accept no more: the server stops."""
        self._is_stopping = True
        for subscriber in self._subscribers():
            subscriber.cut(ServerStopping())

    @property
    def subscriber_count(self) -> int:
        """Return the number of subscribers: watches, and verbs that wait for their effect."""
        return len(self._subscribers())

    @contextmanager
    def subscribe(
        self, task_ids: Iterable[int], matches: Callable[[CommittedEvent | Progressed], bool] | None = None
    ) -> Iterator[Subscriber]:
        """Subscribe a verb to some tasks, or to all without ids, until the context ends; events arrive at once.

        Without `matches`, all events arrive. Raises ServerStopping after the hub is stopped.
        """
        self.scheduler.pending_verbs += 1
        try:
            with self._subscribed(Subscriber(matches), task_ids) as subscriber:
                yield subscriber
        finally:
            self.scheduler.pending_verbs -= 1

    def watch(
        self, task_ids: Iterable[int], matches: Callable[[CommittedEvent | Progressed], bool] | None = None
    ) -> AbstractContextManager[Subscriber]:
        """Subscribe a watcher as `subscribe` does; events become available in the watcher's turn."""
        return self._subscribed(Subscriber(matches, self.scheduler, self.memory), task_ids)

    @contextmanager
    def _subscribed(self, subscriber: Subscriber, task_ids: Iterable[int]) -> Iterator[Subscriber]:
        if self._is_stopping:
            raise ServerStopping
        # Indexed by task id: a thousand subscribers of one task cost the other tasks nothing.
        ids = tuple(task_ids)
        groups = [self._of_task[task_id] for task_id in ids] if ids else [self._of_all]
        for group in groups:
            group.add(subscriber)
        try:
            yield subscriber
        finally:
            subscriber.close()
            for group in groups:
                group.discard(subscriber)
            for task_id in ids:
                if not self._of_task.get(task_id, True):
                    del self._of_task[task_id]

    def _subscribers(self) -> set[Subscriber]:
        return self._of_all.union(*self._of_task.values())

    def _offer(self, task_id: int, event: CommittedEvent | Progressed) -> None:
        held = HeldInMemory(event, -1)
        for subscriber in self._of_task.get(task_id, ()):
            subscriber.offer(event, held)
        for subscriber in self._of_all:
            subscriber.offer(event, held)
