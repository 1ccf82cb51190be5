"""The events of a watch, and its query."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from taskplane.server.core.documents import is_large
from taskplane.server.core.off_loop import off_loop
from taskplane.server.core.task import TaskStatus
from taskplane.server.services.view import TaskView
from taskplane.server.tasks.unit_of_work import CommittedEvent
from taskplane.server.tasks.watch import Progressed

R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchQuery:
    """The filter of a watch; empty ids, types and statuses do not restrict.

    A transition matches if it leads into or out of one of the statuses. Without `after_revision` the watch begins with
    a snapshot if requested, and otherwise with the next event.
    """

    task_ids: tuple[int, ...] = ()
    task_types: tuple[str, ...] = ()
    statuses: tuple[TaskStatus, ...] = ()
    after_revision: int | None = None
    with_snapshot: bool = True
    include_progress: bool = False
    max_progress_per_second: int = 2


class Rendered:
    """The renderings of an event, shared by all watchers of the event."""

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made: dict[Callable[..., object], object] = {}

    @property
    def is_made(self) -> bool:
        """Return whether a rendering exists."""
        return bool(self._made)

    def once(self, make: Callable[..., R], *arguments: object) -> R:
        """Return the result of `make` for the arguments, computed only once."""
        if make not in self._made:
            self._made[make] = make(*arguments)
        return self._made[make]  # type: ignore[return-value]  # what it has made itself


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """Some tasks at the beginning of the watch."""

    views: Sequence[TaskView]
    rendered: Rendered = field(default_factory=Rendered)


@dataclass(frozen=True, slots=True)
class SnapshotComplete:
    """The end of the snapshot: all following events are later."""


@dataclass(frozen=True, slots=True, eq=False)
class Changed:
    """A durable change with the task right after it; a replayed change has the task as it is now.

    Compared by identity: many watchers share an event.
    """

    change: CommittedEvent
    view: TaskView
    rendered: Rendered = field(default_factory=Rendered)


@dataclass(frozen=True, slots=True)
class Deleted:
    """The deletion of a task."""

    task_id: int


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """A sign of life during a silence."""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One event, and the revision to resume from after it."""

    revision: int
    event: Snapshot | SnapshotComplete | Changed | Deleted | Progressed | KeepAlive


async def rendered(event: WatchEvent, render: Callable[[WatchEvent], R]) -> R:
    """Return an event as rendered by an API; a large event without a rendering is rendered off the event loop."""
    match event.event:
        case Snapshot(views, made):
            is_heavy = not made.is_made and any(_is_heavy(view) for view in views)
        case Changed(view=view, rendered=made):
            is_heavy = not made.is_made and _is_heavy(view)
        case _:
            is_heavy = False
    return await off_loop(render, event) if is_heavy else render(event)


def _is_heavy(view: TaskView) -> bool:
    return is_large(view.task.config) or is_large(view.task.result)


def matcher(query: WatchQuery) -> Callable[[CommittedEvent | Progressed], bool] | None:
    """Return a predicate for the events of a query; None if all events match."""
    types, statuses = frozenset(query.task_types), frozenset(query.statuses)
    if not types and not statuses:
        return None if query.include_progress else _is_committed

    def matches(event: CommittedEvent | Progressed) -> bool:
        if isinstance(event, Progressed):
            # Only RUNNING tasks make progress.
            is_of_status = not statuses or TaskStatus.RUNNING in statuses
            return query.include_progress and is_of_status and (not types or event.task_type in types)
        return (not types or event.task.task_type in types) and (not statuses or touches(statuses, event))

    return matches


def touches(statuses: frozenset[TaskStatus], change: CommittedEvent) -> bool:
    """Return whether a change leads into, out of, or stays in these statuses. Deletions always match."""
    was = change.transition.from_status if change.transition else None
    now = change.transition.to_status if change.transition else change.task.status
    return change.deleted or now in statuses or was in statuses


def _is_committed(event: CommittedEvent | Progressed) -> bool:
    return isinstance(event, CommittedEvent)
