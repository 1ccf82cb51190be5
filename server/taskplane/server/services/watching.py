"""The course of a watch: a snapshot or the missed history, then live events, in order and without a gap."""

import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager

from taskplane.server.core.errors import RevisionTooOld, SlowReader, TaskNotFound, TooManyWatches
from taskplane.server.core.task import Task, Transition
from taskplane.server.core.tuning import DEFAULT_TUNING, Tuning
from taskplane.server.services.pacing import ProgressPacer
from taskplane.server.services.snapshots import Snapshots
from taskplane.server.services.stalls import StallGuard
from taskplane.server.services.task_service import TaskService
from taskplane.server.services.watch_events import (
    Changed,
    Deleted,
    KeepAlive,
    SnapshotComplete,
    WatchEvent,
    WatchQuery,
    matcher,
    touches,
)
from taskplane.server.store.deletions import Deletion
from taskplane.server.store.reading import TaskFilter
from taskplane.server.store.store import Store
from taskplane.server.tasks.fair_scheduler import MESSAGES_AT_ONCE
from taskplane.server.tasks.unit_of_work import CommittedEvent
from taskplane.server.tasks.watch import Subscriber, WatchHub, weight_of

# Watchers write a change at about the same time: events are shared up to this number and size.
_EVENTS_KEPT = 500
_EVENTS_KEPT_BYTES = 8 * 1024 * 1024
# Changes in one read of a replay, and changes written in one turn.
_PAGE = 500
_PART = 16
# The cost of a rendered part of a snapshot, in messages.
_PART_MESSAGES = 4
_NOT_READ = "the watch was not read for too long; resume with after_revision"


class WatchService:
    """Watches of tasks."""

    def __init__(
        self, store: Store, tasks: TaskService, hub: WatchHub, max_watches: int, tuning: Tuning = DEFAULT_TUNING
    ) -> None:
        self._store = store
        self._tasks = tasks
        self._hub = hub
        self._snapshots = Snapshots(store, tasks, hub.memory)
        self._max_watches = max_watches
        self._keep_alive_seconds = tuning.keep_alive_seconds
        self._watches = 0
        # By revision, oldest first, each with its size.
        self._recent_events: dict[int, tuple[Changed, int]] = {}
        self._recent_bytes = 0

    @property
    def subscriber_count(self) -> int:
        """Return the number of subscribers: watches, and verbs that wait for their effect."""
        return self._hub.subscriber_count

    async def watch(self, query: WatchQuery, guard: StallGuard | None = None) -> AsyncGenerator[WatchEvent]:
        """Yield events forever. Close the generator after use.

        With the guard of the writes to its reader, the watch is cut when a write takes too long.

        Raises TooManyWatches, TaskNotFound, RevisionTooOld, and SlowReader when the reader falls behind.
        """
        with self._counted(), self._hub.watch(query.task_ids, matcher(query)) as subscriber:
            if guard:
                guard.on_stall.append(lambda: subscriber.cut(SlowReader(_NOT_READ)))
            # Subscribe first, then read: an event committed in between is in both, and sent once.
            position = _Position(self._hub.revision)
            if query.after_revision is not None:
                await self._check_revision(query.after_revision)
                beginning = self._replay(query, query.after_revision, position.begin)
            else:
                beginning = self._snapshot(query, subscriber, position)
            await self._check_ids(query)
            async for event in beginning:
                yield event
            async for event in self._live(subscriber, ProgressPacer(query.max_progress_per_second), position):
                yield event

    @contextmanager
    def _counted(self) -> Iterator[None]:
        if self._watches >= self._max_watches:
            raise TooManyWatches(self._max_watches)
        self._watches += 1
        try:
            yield
        finally:
            self._watches -= 1

    async def _check_revision(self, after: int) -> None:
        """Raise RevisionTooOld unless all events after a revision are available."""
        if after > self._hub.revision:
            raise RevisionTooOld(
                f"revision {after} is not reached yet; the last one is {self._hub.revision}",
                metadata={"latest": str(self._hub.revision)},
            )
        await self._check_kept(after)

    async def _check_kept(self, after: int) -> None:
        """Raise RevisionTooOld if an event after a revision may be purged."""
        purged = await self._store.purged_revision()
        if after < purged:
            raise RevisionTooOld(
                f"history up to revision {purged} is no longer whole; begin with a snapshot",
                metadata={"purged": str(purged)},
            )

    async def _check_ids(self, query: WatchQuery) -> None:
        """Raise TaskNotFound if a task is missing and its deletion is not recorded."""
        if not query.task_ids:
            return
        chosen = TaskFilter(task_ids=query.task_ids)
        found = set(await self._store.choose_tasks(chosen, limit=len(query.task_ids)))
        missing = [task_id for task_id in query.task_ids if task_id not in found]
        if missing and query.after_revision is not None:
            kept = await self._store.deletions_since(query.after_revision, task_ids=missing, limit=len(missing))
            deleted = {each.task_id for each in kept}
            missing = [task_id for task_id in missing if task_id not in deleted]
        if missing:
            raise TaskNotFound(missing[0])

    async def _snapshot(
        self, query: WatchQuery, subscriber: Subscriber, position: "_Position"
    ) -> AsyncGenerator[WatchEvent]:
        if query.with_snapshot:
            async for held in self._snapshots.pages(query, self._snapshots.begun):
                subscriber.hold(held)
                self._hub.make_room()
                subscriber.check()
                for task in held.item.tasks:
                    position.saw(task)
                parts = deque(held.item.parts)
                del held
                # Only the part being written stays in memory for a reader that does not read.
                subscriber.on_cut = parts.clear
                while parts:
                    await self._hub.scheduler.wait_for_turn(
                        _PART_MESSAGES if parts[0].rendered.is_made else MESSAGES_AT_ONCE
                    )
                    subscriber.check()
                    yield WatchEvent(0, parts.popleft())
                    subscriber.check()
        yield WatchEvent(position.begin, SnapshotComplete())

    async def _replay(self, query: WatchQuery, after: int, until: int) -> AsyncGenerator[WatchEvent]:
        while missed := await self._missed(query.task_ids, after, until):
            tasks = await self._store.tasks_that_fit(list(dict.fromkeys(each.task_id for each in missed)))
            for count, each in enumerate(missed):
                if each.task_id not in tasks:
                    break
                if count % _PART == 0:
                    await self._hub.scheduler.wait_for_turn(_PART)
                if event := self._replayed(each, tasks[each.task_id], query):
                    yield WatchEvent(each.revision, event)
                after = each.revision

    async def _missed(self, task_ids: tuple[int, ...], after: int, until: int) -> list[Transition | Deletion]:
        """Return the next missed events in order; none at the end. Raises RevisionTooOld if some are purged."""
        transitions = await self._store.transitions_since(after, task_ids=task_ids, limit=_PAGE)
        deletions = await self._store.deletions_since(after, task_ids=task_ids, limit=_PAGE)
        # Checked after the reads: events that are not purged yet were read.
        await self._check_kept(after)
        missed: list[Transition | Deletion] = [*transitions, *deletions]
        missed.sort(key=lambda each: each.revision)
        # Later events follow live. They may be incomplete here, because the two reads are not simultaneous.
        return [each for each in missed[:_PAGE] if each.revision <= until]

    def _replayed(
        self, missed: Transition | Deletion, task: Task | None, query: WatchQuery
    ) -> Changed | Deleted | None:
        """Return the watch event of a missed event; None without a match, or if the deletion of its task follows."""
        if isinstance(missed, Deletion):
            return Deleted(missed.task_id) if _matches(query, missed.task_type) else None
        if task is None or not _matches(query, task.task_type):
            return None
        change = CommittedEvent(task, missed)
        if query.statuses and not touches(frozenset(query.statuses), change):
            return None
        return Changed(change, self._tasks.view(task))

    async def _live(
        self, subscriber: Subscriber, pacer: "ProgressPacer", position: "_Position"
    ) -> AsyncGenerator[WatchEvent]:
        silent_since = time.monotonic()
        while True:
            await subscriber.wait_for_events(
                pacer.seconds_to_next(silent_since + self._keep_alive_seconds - time.monotonic())
            )
            changes, progress = subscriber.take()
            subscriber.on_cut = changes.clear
            revision = self._hub.revision
            fresh = False
            while changes:
                change = changes.popleft()
                if position.is_new(change):
                    fresh = True
                    pacer.changed(change)
                    yield WatchEvent(change.task.revision, self._event_of(change))
            pacer.take(progress)
            due = pacer.due()
            for each in due:
                yield WatchEvent(revision, each)
            if fresh or due:
                silent_since = time.monotonic()
            elif time.monotonic() - silent_since >= self._keep_alive_seconds:
                # Delayed progress and changes sent before also wake the loop.
                silent_since = time.monotonic()
                yield WatchEvent(revision, KeepAlive())

    def _event_of(self, change: CommittedEvent) -> Changed | Deleted:
        """Return the same object to every watcher, so that it is created and rendered only once."""
        if change.deleted:
            return Deleted(change.task.id)
        revision = change.task.revision
        if kept := self._recent_events.get(revision):
            return kept[0]
        event = Changed(change, self._tasks.view(change.task))
        self._keep(revision, event)
        return event

    def _keep(self, revision: int, event: Changed) -> None:
        weight = weight_of(event.change.task)
        self._recent_events[revision] = event, weight
        self._recent_bytes += weight
        while len(self._recent_events) > _EVENTS_KEPT or self._recent_bytes > _EVENTS_KEPT_BYTES:
            _, weight = self._recent_events.pop(next(iter(self._recent_events)))
            self._recent_bytes -= weight


class _Position:
    """The position of a watch: all events up to `begin`, and some tasks up to a later revision, are sent."""

    def __init__(self, begin: int) -> None:
        self.begin = begin
        self._later: dict[int, int] = {}

    def saw(self, task: Task) -> None:
        if task.revision > self.begin:
            self._later[task.id] = task.revision

    def is_new(self, change: CommittedEvent) -> bool:
        return change.task.revision > self._later.get(change.task.id, self.begin)


def _matches(query: WatchQuery, task_type: str) -> bool:
    return not query.task_types or task_type in query.task_types
