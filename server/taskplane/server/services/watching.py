"""The course of a watch: a snapshot or the missed history, then what happens, in order and without a gap."""

import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from functools import partial

from taskplane.server.core.errors import RevisionTooOld, TaskNotFound
from taskplane.server.core.task import Task
from taskplane.server.services.pacing import ProgressPacer
from taskplane.server.services.task_service import TaskService
from taskplane.server.services.view import TaskView
from taskplane.server.store.reading import TaskFilter
from taskplane.server.store.store import Store
from taskplane.server.tasks.batch import Committed
from taskplane.server.tasks.watch import Follower, Progressed, WatchHub

KEEP_ALIVE_SECONDS = 15.0
# Watchers tell a change at about the same time.
TOLD_KEPT = 500
_PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchQuery:
    """What to watch; empty ids and types do not restrict. `after_revision` None begins with a snapshot."""

    task_ids: tuple[int, ...] = ()
    task_types: tuple[str, ...] = ()
    after_revision: int | None = None
    include_progress: bool = False
    max_progress_per_second: int = 2


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A task as it was when the watch began."""

    view: TaskView


@dataclass(frozen=True, slots=True)
class SnapshotComplete:
    """What follows happened later."""


@dataclass(frozen=True, slots=True, eq=False)
class Changed:
    """A durable change, with the task as it was right after; as it is now, if the change is replayed.

    Compared by identity: many watchers are told the same one.
    """

    change: Committed
    view: TaskView


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """Nothing happened for a while."""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One event, and the revision to go on from after it."""

    revision: int
    event: Snapshot | SnapshotComplete | Changed | Progressed | KeepAlive


class WatchService:
    """Watches of tasks."""

    def __init__(self, store: Store, tasks: TaskService, hub: WatchHub) -> None:
        self._store = store
        self._tasks = tasks
        self._hub = hub
        # By revision, oldest first.
        self._recently_told: dict[int, Changed] = {}

    @property
    def follower_count(self) -> int:
        """How many follow what happens now: watches, and verbs that wait for their effect."""
        return self._hub.follower_count

    async def watch(self, query: WatchQuery) -> AsyncGenerator[WatchEvent]:
        """Yield events for ever. Close the generator when done with it.

        Raises TaskNotFound, RevisionTooOld, and SlowReader when the reader falls behind.
        """
        with self._hub.watch(query.task_ids, _matcher(query)) as follower:
            # Followed first, read after: what is committed in between is in both, and told once.
            position = _Position(self._hub.revision)
            if query.after_revision is None:
                beginning = self._snapshot(query, position)
            else:
                await self._check_revision(query.after_revision)
                beginning = self._replay(query, query.after_revision, position)
            await self._check_ids(query.task_ids)
            async for event in beginning:
                yield event
            async for event in self._live(follower, ProgressPacer(query.max_progress_per_second), position):
                yield event

    async def _check_revision(self, after: int) -> None:
        """Raise RevisionTooOld unless everything behind a revision can be told."""
        if after > self._hub.revision:
            raise RevisionTooOld(
                f"revision {after} is not reached yet; the last one is {self._hub.revision}",
                metadata={"latest": str(self._hub.revision)},
            )
        purged = await self._store.purged_revision()
        if after < purged:
            raise RevisionTooOld(
                f"history up to revision {purged} is no longer whole; begin with a snapshot",
                metadata={"purged": str(purged)},
            )

    async def _check_ids(self, task_ids: tuple[int, ...]) -> None:
        found = await self._tasks_by_id(task_ids)
        for task_id in task_ids:
            if task_id not in found:
                raise TaskNotFound(task_id)

    async def _snapshot(self, query: WatchQuery, position: "_Position") -> AsyncGenerator[WatchEvent]:
        chosen = TaskFilter(task_ids=query.task_ids, task_types=query.task_types)
        after_id = 0
        while page := await self._store.list_tasks(chosen, newest_first=False, after_id=after_id, limit=_PAGE):
            for task in page:
                position.saw(task)
                yield WatchEvent(0, Snapshot(self._tasks.view(task)))
            after_id = page[-1].id
        yield WatchEvent(position.begin, SnapshotComplete())

    async def _replay(
        self, query: WatchQuery, after_revision: int, position: "_Position"
    ) -> AsyncGenerator[WatchEvent]:
        missed = partial(self._store.transitions_since, task_ids=query.task_ids, limit=_PAGE)
        while page := await missed(after_revision):
            tasks = await self._tasks_by_id(tuple({each.task_id for each in page}))
            for transition in page:
                task = tasks.get(transition.task_id)
                if task and (not query.task_types or task.task_type in query.task_types):
                    event = Changed(Committed(task, transition), self._tasks.view(task))
                    yield WatchEvent(transition.revision, event)
            after_revision = page[-1].revision
        position.begin = max(position.begin, after_revision)

    async def _live(
        self, follower: Follower, pacer: "ProgressPacer", position: "_Position"
    ) -> AsyncGenerator[WatchEvent]:
        silent_since = time.monotonic()
        while True:
            await follower.arrival(pacer.seconds_to_next(silent_since + KEEP_ALIVE_SECONDS - time.monotonic()))
            changes, progress = follower.take()
            revision = self._hub.revision
            fresh = [change for change in changes if position.is_new(change)]
            for change in fresh:
                pacer.changed(change)
                yield WatchEvent(change.task.revision, self._told(change))
            pacer.take(progress)
            due = pacer.due()
            for each in due:
                yield WatchEvent(revision, each)
            if fresh or due:
                silent_since = time.monotonic()
            elif time.monotonic() - silent_since >= KEEP_ALIVE_SECONDS:
                # Progress that is held back, and changes that were told already, wake the loop too.
                silent_since = time.monotonic()
                yield WatchEvent(revision, KeepAlive())

    def _told(self, change: Committed) -> Changed:
        """Return the same object to every watcher, so that it is made, and turned into a message, only once."""
        revision = change.task.revision
        if revision not in self._recently_told:
            if len(self._recently_told) >= TOLD_KEPT:
                del self._recently_told[next(iter(self._recently_told))]
            self._recently_told[revision] = Changed(change, self._tasks.view(change.task))
        return self._recently_told[revision]

    async def _tasks_by_id(self, task_ids: tuple[int, ...]) -> dict[int, Task]:
        if not task_ids:
            return {}
        chosen = TaskFilter(task_ids=task_ids)
        found = await self._store.list_tasks(chosen, newest_first=False, after_id=None, limit=len(task_ids))
        return {task.id: task for task in found}


class _Position:
    """What a watch has told already: everything up to `begin`, and some tasks up to a later revision."""

    def __init__(self, begin: int) -> None:
        self.begin = begin
        self._later: dict[int, int] = {}

    def saw(self, task: Task) -> None:
        if task.revision > self.begin:
            self._later[task.id] = task.revision

    def is_new(self, change: Committed) -> bool:
        return change.task.revision > self._later.get(change.task.id, self.begin)


def _matcher(query: WatchQuery) -> Callable[[Committed | Progressed], bool] | None:
    """Return what tells whether an event is asked for; None if each is."""
    types, include_progress = frozenset(query.task_types), query.include_progress
    if not types:
        return None if include_progress else _is_committed

    def is_asked_for(event: Committed | Progressed) -> bool:
        if isinstance(event, Progressed):
            return include_progress and event.task_type in types
        return event.task.task_type in types

    return is_asked_for


def _is_committed(event: Committed | Progressed) -> bool:
    return isinstance(event, Committed)
