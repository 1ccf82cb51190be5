"""Who wants to hear of changes, and how they hear: a bounded queue each, filled after every commit.

Followers of one task are found by its id, so that a thousand of them cost the others nothing.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from taskplane.server.core.errors import ServerStopping, SlowReader, TaskplaneError
from taskplane.server.core.task import Progress
from taskplane.server.tasks.batch import Committed

# A follower that is this many changes behind is cut.
BACKLOG = 20_000
# Watchers that may take their turn before anything else does; a turn is a message of some 50 µs.
WOKEN_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class Progressed:
    """Progress of an attempt; not durable, newer replaces older."""

    task_id: int
    task_type: str
    attempt: int
    progress: Progress


class Follower:
    """One reader's queue. Changes come in order and whole; progress only as its latest value for each task."""

    def __init__(
        self,
        matches: Callable[[Committed | Progressed], bool],
        wake: Callable[[asyncio.Event], None] = asyncio.Event.set,
    ) -> None:
        self._matches = matches
        self._set = wake
        self._changes: deque[Committed] = deque()
        self._progress: dict[int, Progressed] = {}
        self._wake = asyncio.Event()
        self._error: TaskplaneError | None = None

    def offer(self, event: Committed | Progressed) -> None:
        """Take an event if it matches."""
        if self._error or not self._matches(event):
            return
        if isinstance(event, Progressed):
            self._progress[event.task_id] = event
        elif len(self._changes) < BACKLOG:
            self._changes.append(event)
        else:
            self.cut(SlowReader("the watch was not read quickly enough; go on with after_revision"))
        self._set(self._wake)

    def cut(self, error: TaskplaneError) -> None:
        """Let the reader have an error instead of what is queued."""
        self._error = error
        self._changes.clear()
        self._progress.clear()
        self._wake.set()

    def has_change_after(self, revision: int) -> bool:
        """Whether a change is queued that came later than the revision."""
        return any(change.task.revision > revision for change in self._changes)

    async def next_change(self, timeout_seconds: float) -> Committed | None:
        """Return the next change, or None after `timeout_seconds` without one. Raises what cut the follower."""
        try:
            async with asyncio.timeout(timeout_seconds):
                while not self._changes:
                    await self._arrival()
        except TimeoutError:
            return None
        return self._changes.popleft()

    async def arrival(self, timeout_seconds: float) -> None:
        """Wait until something is there to take, or the time is over. Raises what cut the follower."""
        try:
            async with asyncio.timeout(timeout_seconds):
                while not (self._changes or self._progress):
                    await self._arrival()
        except TimeoutError:
            return

    def take(self) -> tuple[list[Committed], list[Progressed]]:
        """Return all that is there."""
        changes, progress = list(self._changes), list(self._progress.values())
        self._changes.clear()
        self._progress.clear()
        return changes, progress

    async def _arrival(self) -> None:
        if self._error is None:
            self._wake.clear()
            await self._wake.wait()
        if self._error:
            raise self._error


class _Turns:
    """Wakes the patient a few at a time, so that a thousand watchers of one task do not hold up commits and verbs."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Event] = deque()

    def wake(self, event: asyncio.Event) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._wake_some)
        self._waiting.append(event)

    def _wake_some(self) -> None:
        for _ in range(min(WOKEN_AT_ONCE, len(self._waiting))):
            self._waiting.popleft().set()
        if self._waiting:
            # What else is ready in the loop comes in between.
            asyncio.get_running_loop().call_soon(self._wake_some)


class WatchHub:
    """Hands every durable change, and live progress, to those who follow."""

    def __init__(self) -> None:
        self._turns = _Turns()
        self._of_task: dict[int, set[Follower]] = defaultdict(set)
        self._of_all: set[Follower] = set()
        # The last revision that was made public.
        self.revision = 0

    def publish(self, committed: Sequence[Committed]) -> None:
        """Tell of durable changes."""
        for event in committed:
            self.revision = event.task.revision
            self._offer(event.task.id, event)

    def publish_progress(self, event: Progressed) -> None:
        """Tell of progress."""
        self._offer(event.task_id, event)

    def stop(self) -> None:
        """Cut all who follow: the server stops."""
        for follower in self._followers():
            follower.cut(ServerStopping())

    @property
    def follower_count(self) -> int:
        """How many follow: watches, and verbs that wait for their effect."""
        return len(self._followers())

    @contextmanager
    def follow(
        self,
        task_ids: Iterable[int],
        matches: Callable[[Committed | Progressed], bool] = lambda _: True,
        *,
        patient: bool = False,
    ) -> Iterator[Follower]:
        """Follow some tasks, or all if no ids are given, until the context ends. The patient are woken in turns."""
        follower = Follower(matches, self._turns.wake) if patient else Follower(matches)
        ids = tuple(task_ids)
        groups = [self._of_task[task_id] for task_id in ids] if ids else [self._of_all]
        for group in groups:
            group.add(follower)
        try:
            yield follower
        finally:
            for group in groups:
                group.discard(follower)
            for task_id in ids:
                if not self._of_task.get(task_id, True):
                    del self._of_task[task_id]

    def _followers(self) -> set[Follower]:
        return self._of_all.union(*self._of_task.values())

    def _offer(self, task_id: int, event: Committed | Progressed) -> None:
        for follower in self._of_task.get(task_id, ()):
            follower.offer(event)
        for follower in self._of_all:
            follower.offer(event)
