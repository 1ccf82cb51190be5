"""The course of a watch: a snapshot or the missed history, then what happens, in order and without a gap."""

import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from taskplane.server.core.errors import RevisionTooOld, TaskNotFound
from taskplane.server.core.task import Task, Transition
from taskplane.server.services.pacing import ProgressPacer
from taskplane.server.services.task_service import TaskService
from taskplane.server.services.view import TaskView
from taskplane.server.store.deletions import Deletion
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
class Deleted:
    """A task is gone."""

    task_id: int


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """Nothing happened for a while."""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One event, and the revision to go on from after it."""

    revision: int
    event: Snapshot | SnapshotComplete | Changed | Deleted | Progressed | KeepAlive


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
                beginning = self._replay(query, query.after_revision, position.begin)
            await self._check_ids(query)
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
        await self._check_kept(after)

    async def _check_kept(self, after: int) -> None:
        """Raise RevisionTooOld if something behind a revision may be gone."""
        purged = await self._store.purged_revision()
        if after < purged:
            raise RevisionTooOld(
                f"history up to revision {purged} is no longer whole; begin with a snapshot",
                metadata={"purged": str(purged)},
            )

    async def _check_ids(self, query: WatchQuery) -> None:
        """Raise TaskNotFound if there is a task of which nothing can be told: not even that it was deleted."""
        if not query.task_ids:
            return
        chosen = TaskFilter(task_ids=query.task_ids)
        found = set(await self._store.choose_tasks(chosen, limit=len(query.task_ids)))
        missing = [task_id for task_id in query.task_ids if task_id not in found]
        if missing and query.after_revision is not None:
            kept = await self._store.deletions_since(query.after_revision, task_ids=missing, limit=len(missing))
            told = {each.task_id for each in kept}
            missing = [task_id for task_id in missing if task_id not in told]
        if missing:
            raise TaskNotFound(missing[0])

    async def _snapshot(self, query: WatchQuery, position: "_Position") -> AsyncGenerator[WatchEvent]:
        chosen = TaskFilter(task_ids=query.task_ids, task_types=query.task_types)
        after_id: int | None = 0
        while after_id is not None:
            page = await self._store.list_tasks(chosen, newest_first=False, after_id=after_id, limit=_PAGE)
            for task in page.tasks:
                position.saw(task)
                yield WatchEvent(0, Snapshot(self._tasks.view(task)))
            after_id = page.continue_after
        yield WatchEvent(position.begin, SnapshotComplete())

    async def _replay(self, query: WatchQuery, after: int, until: int) -> AsyncGenerator[WatchEvent]:
        while missed := await self._missed(query.task_ids, after, until):
            tasks = await self._store.tasks_that_fit(list(dict.fromkeys(each.task_id for each in missed)))
            for each in missed:
                if each.task_id not in tasks:
                    break
                if event := self._replayed(each, tasks[each.task_id], query.task_types):
                    yield WatchEvent(each.revision, event)
                after = each.revision

    async def _missed(self, task_ids: tuple[int, ...], after: int, until: int) -> list[Transition | Deletion]:
        """Return what happened next, in order; nothing if that was all. Raises RevisionTooOld if some of it is gone."""
        transitions = await self._store.transitions_since(after, task_ids=task_ids, limit=_PAGE)
        deletions = await self._store.deletions_since(after, task_ids=task_ids, limit=_PAGE)
        # Asked after the reading: what is not gone yet has been read.
        await self._check_kept(after)
        missed: list[Transition | Deletion] = [*transitions, *deletions]
        missed.sort(key=lambda each: each.revision)
        # What is later is told live. It may not be whole here, as the two were not read at the same time.
        return [each for each in missed[:_PAGE] if each.revision <= until]

    def _replayed(
        self, missed: Transition | Deletion, task: Task | None, task_types: tuple[str, ...]
    ) -> Changed | Deleted | None:
        """Return what a watch of these types is told. A task that is not there is told of when its deletion is."""
        if isinstance(missed, Deletion):
            return Deleted(missed.task_id) if _is_of(task_types, missed.task_type) else None
        if task and _is_of(task_types, task.task_type):
            return Changed(Committed(task, missed), self._tasks.view(task))
        return None

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

    def _told(self, change: Committed) -> Changed | Deleted:
        """Return the same object to every watcher, so that it is made, and turned into a message, only once."""
        if change.deleted:
            return Deleted(change.task.id)
        revision = change.task.revision
        if revision not in self._recently_told:
            if len(self._recently_told) >= TOLD_KEPT:
                del self._recently_told[next(iter(self._recently_told))]
            self._recently_told[revision] = Changed(change, self._tasks.view(change.task))
        return self._recently_told[revision]


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


def _is_of(task_types: tuple[str, ...], task_type: str) -> bool:
    return not task_types or task_type in task_types


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
