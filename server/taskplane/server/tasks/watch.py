"""Who wants to hear of changes, and how they hear: by a bounded queue each, filled after every commit, in order.

Verbs that wait for their effect hear at once, watchers when it is their turn. What one watch tells its caller (first
how tasks are, or what was missed, then this) is services.watching.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from taskplane.server.core.errors import ServerStopping, SlowReader, TaskplaneError
from taskplane.server.core.task import Progress
from taskplane.server.tasks.batch import Committed
from taskplane.server.tasks.turns import Turns

# A follower that is this many changes behind is cut.
BACKLOG = 20_000


@dataclass(frozen=True, slots=True)
class Progressed:
    """Progress of an attempt; not durable, newer replaces older."""

    task_id: int
    task_type: str
    attempt: int
    progress: Progress


class Follower:
    """One reader's queue. Changes come in order and whole; progress only as its latest value for each task.

    With `turns`, what it is offered is there to take when its turn has come.
    """

    __slots__ = ("_awaits_turn", "_changes", "_error", "_matches", "_progress", "_turns", "_wake")

    def __init__(
        self, matches: Callable[[Committed | Progressed], bool] | None = None, turns: Turns | None = None
    ) -> None:
        self._matches = matches
        self._turns = turns
        self._awaits_turn = False
        self._changes: deque[Committed] = deque()
        self._progress: dict[int, Progressed] = {}
        self._wake = asyncio.Event()
        self._error: TaskplaneError | None = None

    def offer(self, event: Committed | Progressed) -> None:
        """Queue an event if it matches."""
        # A thousand of these are between a verb's commit and its answer.
        if self._error or (self._matches and not self._matches(event)):
            return
        if isinstance(event, Progressed):
            self._progress[event.task_id] = event
        elif len(self._changes) < BACKLOG:
            self._changes.append(event)
        else:
            self.cut(SlowReader("the watch was not read quickly enough; go on with after_revision"))
            return
        if self._turns is None:
            self._wake.set()
        elif not self._awaits_turn:
            self._awaits_turn = True
            self._turns.wait(self)

    def take_turn(self) -> int:
        """Go on with what there is. Returns how many messages that may be."""
        self._awaits_turn = False
        self._wake.set()
        return len(self._changes) + len(self._progress)

    def cut(self, error: TaskplaneError) -> None:
        """Give the reader an error instead of what is queued."""
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
                while self._awaits_turn or not self._changes:
                    await self._arrival()
        except TimeoutError:
            return None
        return self._changes.popleft()

    async def arrival(self, timeout_seconds: float) -> None:
        """Wait until something is there to take, or the time is over. Raises what cut the follower."""
        try:
            async with asyncio.timeout(timeout_seconds):
                while self._awaits_turn or not (self._changes or self._progress):
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


class WatchHub:
    """Hands every durable change, and live progress, to those who follow."""

    def __init__(self) -> None:
        self._turns = Turns()
        self._of_task: dict[int, set[Follower]] = defaultdict(set)
        self._of_all: set[Follower] = set()
        self._is_stopping = False
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
        """Cut all who follow, and take no more: the server stops."""
        self._is_stopping = True
        for follower in self._followers():
            follower.cut(ServerStopping())

    @property
    def follower_count(self) -> int:
        """How many follow: watches, and verbs that wait for their effect."""
        return len(self._followers())

    @contextmanager
    def follow(
        self, task_ids: Iterable[int], matches: Callable[[Committed | Progressed], bool] | None = None
    ) -> Iterator[Follower]:
        """Follow some tasks, or all if no ids are given, until the context ends, for a verb: news are there at once.

        Without `matches`, all that happens to them is heard. Raises ServerStopping once the hub is stopped.
        """
        self._turns.verbs_under_way += 1
        try:
            with self._following(Follower(matches), task_ids) as follower:
                yield follower
        finally:
            self._turns.verbs_under_way -= 1

    def watch(
        self, task_ids: Iterable[int], matches: Callable[[Committed | Progressed], bool] | None = None
    ) -> AbstractContextManager[Follower]:
        """Follow as `follow` does, for a watcher: news are there to take when its turn has come."""
        return self._following(Follower(matches, self._turns), task_ids)

    @contextmanager
    def _following(self, follower: Follower, task_ids: Iterable[int]) -> Iterator[Follower]:
        if self._is_stopping:
            raise ServerStopping
        # By id, so that a thousand followers of one task cost the others nothing.
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
