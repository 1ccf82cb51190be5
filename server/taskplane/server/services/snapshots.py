"""Snapshots for watches, page by page. Watches that wait for the same page share the page."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass

from taskplane.server.core.task import Task, TaskStatus
from taskplane.server.services.task_service import TaskService
from taskplane.server.services.view import TaskView
from taskplane.server.services.watch_events import Snapshot, WatchQuery
from taskplane.server.store.reading import TaskFilter
from taskplane.server.store.store import Store
from taskplane.server.tasks.watch import HeldInMemory, WatchMemory, weight_of

# A page ends at this number of tasks, or this size of documents.
_PAGE_TASKS = 250
_PAGE_BYTES = 1024 * 1024
# The part of a page that a watch writes in one turn.
_PART_TASKS = 16
_PART_BYTES = 64 * 1024
# Pages are kept for later watches, up to this number and age.
_PAGES_KEPT = 32
_KEPT_SECONDS = 10.0

# The key of a page: ids, types, statuses, and the id after which the page begins.
_Key = tuple[tuple[int, ...], tuple[str, ...], tuple[TaskStatus, ...], int]


@dataclass(frozen=True, slots=True)
class Page:
    """Some tasks, in parts, and the id after which the snapshot continues; None at its end."""

    parts: Sequence[Snapshot]
    tasks: Sequence[Task]
    continue_after: int | None


class Snapshots:
    """Reads pages. A page whose read began after a watch subscribed is valid for the watch."""

    def __init__(self, store: Store, tasks: TaskService, memory: WatchMemory) -> None:
        self._store = store
        self._tasks = tasks
        self._memory = memory
        # Reads by key, each with its number, the newest last.
        self._readings: dict[_Key, tuple[int, asyncio.Task[HeldInMemory]]] = {}
        # The number of reads so far.
        self.begun = 0

    async def pages(self, query: WatchQuery, subscribed_at: int) -> AsyncGenerator[HeldInMemory]:
        """Yield the pages of a snapshot; `subscribed_at` is the value of `begun` at the subscription."""
        after_id: int | None = 0
        while after_id is not None:
            held = await self._page((query.task_ids, query.task_types, query.statuses, after_id), subscribed_at)
            yield held
            page: Page = held.item
            after_id = page.continue_after

    async def _page(self, key: _Key, subscribed_at: int) -> HeldInMemory:
        number, reading = self._readings.get(key, (0, None))
        if reading is None or number <= subscribed_at or _has_failed(reading):
            reading = self._begin(key)
        # Shielded: other watches may wait for the same page.
        return await asyncio.shield(reading)

    def _begin(self, key: _Key) -> "asyncio.Task[HeldInMemory]":
        self._forget(key)
        while len(self._readings) >= _PAGES_KEPT:
            self._forget(next(iter(self._readings)))
        self.begun += 1
        reading = asyncio.create_task(self._read(*key))
        reading.add_done_callback(_ask_for_error)
        self._readings[key] = self.begun, reading
        asyncio.get_running_loop().call_later(_KEPT_SECONDS, self._forget, key, self.begun)
        return reading

    async def _read(
        self, task_ids: tuple[int, ...], types: tuple[str, ...], statuses: tuple[TaskStatus, ...], after_id: int
    ) -> HeldInMemory:
        chosen = TaskFilter(task_ids=task_ids, task_types=types, statuses=statuses)
        rows = await self._store.page_for_watch(chosen, after_id=after_id, limit=_PAGE_TASKS, max_bytes=_PAGE_BYTES)
        views = [self._tasks.view(task) for task in rows.tasks]
        weights = [weight_of(task) for task in rows.tasks]
        held = HeldInMemory(Page(list(_parts(views, weights)), rows.tasks, rows.continue_after), sum(weights))
        self._memory.take(held)
        return held

    def _forget(self, key: _Key, number: int = 0) -> None:
        """Drop the read of a page; with a number, only the read with this number."""
        kept, reading = self._readings.get(key, (0, None))
        if reading is None or number not in {0, kept}:
            return
        del self._readings[key]
        # Watches that wait for the read still get the page.
        reading.add_done_callback(self._let_go)

    def _let_go(self, reading: "asyncio.Task[HeldInMemory]") -> None:
        if not _has_failed(reading):
            self._memory.release(reading.result())


def _parts(views: Sequence[TaskView], weights: Sequence[int]) -> Iterator[Snapshot]:
    part: list[TaskView] = []
    total = 0
    for view, weight in zip(views, weights, strict=True):
        if part and (len(part) == _PART_TASKS or total + weight > _PART_BYTES):
            yield Snapshot(part)
            part, total = [], 0
        part.append(view)
        total += weight
    if part:
        yield Snapshot(part)


def _has_failed(reading: "asyncio.Task[HeldInMemory]") -> bool:
    return reading.done() and (reading.cancelled() or reading.exception() is not None)


def _ask_for_error(reading: "asyncio.Task[HeldInMemory]") -> None:
    # Retrieves the error, because no watch may be left to do so.
    _has_failed(reading)
