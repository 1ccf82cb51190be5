"""Which unit gets which task: the units that take work, in the order in which their slots are given out.

The order is kept up to date, not computed for each task, so that thousands of units do not slow down the one task
that wants a slot. The slots in use are in `core.assignments`.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sortedcontainers import SortedList

from taskplane.server.core.assignments import Assignment, Assignments
from taskplane.server.core.task import Task, TaskStatus
from taskplane.server.core.task_queue import Kind, TaskQueue, kind_of

# Kinds of task for which the units that suit are kept in order. Labels are made up by clients, without an end.
MAX_QUEUES = 10_000


# By what units with free slots are ordered: suspects last, before them those that take every type, each by the share
# of its capacity in use; the last part is the unit's id.
Rank = tuple[bool, bool, float, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a unit that takes work has to offer."""

    unit_id: str
    unit_type: str
    capacity: int
    # Without any it takes every type.
    task_types: frozenset[str]
    # Those of which it makes no checkpoints: it begins every attempt from the start.
    from_the_start: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)

    def suits(self, kind: Kind) -> bool:
        """Whether the unit accepts the type and has every label that is asked for."""
        return suits(self.task_types, self.labels, kind)


def suits(task_types: Collection[str], labels: Mapping[str, str], kind: Kind) -> bool:
    """Whether a unit that accepts these types (none: every type) and has these labels is one for tasks of a kind."""
    task_type, wanted = kind
    return (not task_types or task_type in task_types) and wanted <= labels.items()


@dataclass(frozen=True, slots=True)
class Placement:
    """A task goes to a unit; `held_attempt` is set if the unit holds it paused and can continue from memory."""

    task: Task
    offer: Offer
    held_attempt: int | None = None


def is_due(task: Task, now: datetime) -> bool:
    """Whether the task waits for nothing but a slot. One whose deadline is over waits for its end."""
    waits = task.queued_at is not None and task.status in {TaskStatus.PENDING, TaskStatus.PAUSED}
    is_over = task.limits.deadline is not None and task.limits.deadline <= now
    return waits and not is_over and (task.not_before is None or task.not_before <= now)


class FreeSlots:
    """Counts free slots; those of a unit that accepts two types count for each.

    The slots of units that name no types count for every type.
    """

    def __init__(self) -> None:
        self._of_type: Counter[str] = Counter()
        self._of_every_type = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FreeSlots) and str(self) == str(other)

    def __hash__(self) -> int:
        raise TypeError("free slots change")

    def __str__(self) -> str:
        named = {task_type: free for task_type, free in sorted(self._of_type.items()) if free}
        return f"{named} and {self._of_every_type} for every type"

    def change(self, task_types: Collection[str], by: int) -> None:
        """Count more slots, or fewer, of a unit that accepts these types; none: every type."""
        for task_type in task_types:
            self._of_type[task_type] += by
        if not task_types:
            self._of_every_type += by

    def has(self, task_type: str) -> bool:
        """Whether a slot is free for a type."""
        return self._of_every_type > 0 or self._of_type[task_type] > 0

    def types(self) -> list[str]:
        """Return the types that units with free slots name."""
        return [task_type for task_type, free in self._of_type.items() if free]

    def for_types(self, task_types: Collection[str]) -> int:
        """Return how many slots are free for these types at most."""
        if not task_types:
            return 0
        return self._of_every_type + sum(self._of_type[each] for each in task_types)


class QueueScan:
    """The backlog, and of which types it is to be looked at. `free` are the free slots, as they change."""

    def __init__(self, free: FreeSlots) -> None:
        self.task_queue = TaskQueue()
        self._free = free
        # The types of which something that waits may have room since the last look began.
        self._due: set[str] = set()
        # Those at which the last look has not come to its end.
        self._unfinished: set[str] = set()

    def types(self) -> frozenset[str]:
        """Return the types of which something in the backlog may have room since it was looked at last."""
        return frozenset(each for each in self._due | self._unfinished if self._free.has(each))

    def start(self) -> frozenset[str]:
        """Begin a look, and return its types. A slot that opens from now on calls for another.

        So does one that opened in the middle of a look, which may have been past what waits for it. Types whose slots
        are gone again are due no more: the next slot says so anew.
        """
        task_types = self.types()
        new = task_types - self._unfinished
        self._due &= self._unfinished
        self._unfinished -= task_types
        self.task_queue.begin_scan(new)
        return task_types

    def continue_later(self, task_types: Iterable[str]) -> None:
        """Let the look at these types go on in the next transaction."""
        self._unfinished.update(task_types)

    def opened(self, task_types: Collection[str], labels: Mapping[str, str]) -> None:
        """Call for a look at what may wait for a slot that has opened, of a unit with these types and labels.

        Without types it is a unit that takes every type.
        """
        for task_type in task_types or self.task_queue.types_that_may_wait():
            waiting = self.task_queue.labels(task_type)
            if waiting is None or any(wanted <= labels.items() for wanted in waiting):
                self._due.add(task_type)

    def reset(self) -> None:
        """Forget what is known of the backlog, and look at all that may have room."""
        self.task_queue.forget()
        self._unfinished.clear()
        self._due.update(self._free.types(), self.task_queue.all_types())


class _Place:
    """A unit that takes work, and the queues of units in which it stands by its free slots."""

    def __init__(self, offer: Offer) -> None:
        self.offer = offer
        self.queues: list[SortedList[Rank]] = []
        # How it stands in the queues: with this rank, unless it has no free slot.
        self.rank: Rank = (False, False, 0.0, offer.unit_id)
        self.load = offer.capacity

    @property
    def free(self) -> int:
        return max(0, self.offer.capacity - self.load)


class Slots:
    """The slots of all units that take work.

    A transaction frees slots and takes them when it is decided. If it fails it must `undo` that, before those that were
    decided earlier do.
    """

    def __init__(self) -> None:
        self.assignments = Assignments(self._load_changed)
        self._places: dict[str, _Place] = {}
        # Units that have refused their last start, have not answered it, or have handed back what they accepted.
        self._suspects: set[str] = set()
        self._free = FreeSlots()
        self.scan = QueueScan(self._free)
        # For each kind of task that was placed: the units with free slots that suit it.
        self._queues: dict[Kind, SortedList[Rank]] = {}

    def offer(self, offer: Offer) -> None:
        """Add a unit that takes work, or change what it has to offer."""
        self.withdraw(offer.unit_id)
        place = self._places[offer.unit_id] = _Place(offer)
        place.queues += [queue for kind, queue in self._queues.items() if offer.suits(kind)]
        self._show(place)
        self.scan.opened(place.offer.task_types, place.offer.labels)

    def withdraw(self, unit_id: str) -> None:
        """Remove a unit that takes no work any more; what runs there stays."""
        if place := self._places.pop(unit_id, None):
            self._hide(place)

    def load(self, unit_id: str) -> int:
        """Return how many slots of a unit are in use, also by what it has not heard of yet."""
        return len(self.assignments.of(unit_id).in_slots)

    def mark_suspect(self, unit_id: str) -> None:
        """Prefer other units to this one, which refused or gave back its last start, until it accepts one."""
        self._suspects.add(unit_id)
        self._load_changed(unit_id)

    def clear_suspect(self, unit_id: str) -> None:
        """Stop suspecting a unit: it has accepted a start."""
        if unit_id in self._suspects:
            self._suspects.discard(unit_id)
            self._load_changed(unit_id)

    def take(self, task: Task) -> Placement | None:
        """Reserve a slot for a task, which then counts as load; None if it fits nowhere.

        A paused task goes back to the unit that holds it if that has a free slot. Otherwise the least loaded unit that
        suits gets it (the smallest share of its capacity in use); units that name its type come before the others.
        """
        holder = self._holder(task)
        place = holder or self._least_loaded(kind_of(task))
        if place is None:
            return None
        self.assignments.reserve(task, place.offer.unit_id)
        return Placement(task, place.offer, task.attempt if holder else None)

    def give_back(self, taken: Iterable[Placement]) -> None:
        """Take back slots that the transaction that took them does not need."""
        self.assignments.undo([each for placement in taken if (each := self._reserved(placement))], [])

    def undo(self, taken: Sequence[Placement], freed: Sequence[Assignment]) -> None:
        """Take back what a transaction took, and what it freed; what it knew of the backlog may not be so."""
        self.give_back(taken)
        self.assignments.undo([], freed)
        self.scan.reset()

    def problems(self) -> list[str]:
        """Tell in what the order of units disagrees with the assignments. There is nothing unless the code is wrong."""
        wrong = self.assignments.problems()
        free = FreeSlots()
        for unit_id, place in self._places.items():
            load = self.assignments.of(unit_id).load
            if place.load != load:
                wrong.append(f"{unit_id} is offered with {place.load} slots in use, not {load}")
            free.change(place.offer.task_types, place.free)
            if any((place.rank in queue) is not (place.free > 0) for queue in place.queues):
                wrong.append(f"{unit_id} stands in the queues as if it had not {place.free} free slots")
        return wrong if free == self._free else [*wrong, f"free slots are {self._free}, not {free}"]

    def has_room(self, task: Task) -> bool:
        """Whether a task would get a slot now."""
        return self._holder(task) is not None or self._least_loaded(kind_of(task)) is not None

    def may_have_room(self, kind: Kind) -> bool:
        """Whether a task of this kind would get a slot now, held in memory or not: who holds it suits it too."""
        return self._least_loaded(kind) is not None

    def free(self, task_types: Collection[str]) -> int:
        """Return how many slots are free for these types at the most."""
        return self._free.for_types(task_types)

    def _reserved(self, placement: Placement) -> Assignment | None:
        return self.assignments.find(placement.task.id, placement.task.attempt + 1)

    def _load_changed(self, unit_id: str) -> None:
        if place := self._places.get(unit_id):
            before = place.load
            self._hide(place)
            self._show(place)
            if place.load < before:
                self.scan.opened(place.offer.task_types, place.offer.labels)

    def _show(self, place: _Place) -> None:
        """Let a unit be found by its free slots: the smallest share in use first, suspects last."""
        unit_id, capacity = place.offer.unit_id, place.offer.capacity
        place.load = self.assignments.of(unit_id).load
        if not place.free:
            return
        takes_every_type = not place.offer.task_types
        place.rank = unit_id in self._suspects, takes_every_type, place.load / capacity, unit_id
        for queue in place.queues:
            queue.add(place.rank)
        self._free.change(place.offer.task_types, place.free)

    def _hide(self, place: _Place) -> None:
        if not place.free:
            return
        for queue in place.queues:
            queue.remove(place.rank)
        self._free.change(place.offer.task_types, -place.free)

    def _holder(self, task: Task) -> _Place | None:
        """Return the unit that holds the task's current attempt paused in memory, if the task can continue there.

        A task that is resumed from an older checkpoint than its last cannot continue from memory.
        """
        held = self.assignments.holder(task.id) if task.status is TaskStatus.PAUSED else None
        place = self._places.get(held.unit_id) if held else None
        goes_on = task.next_checkpoint_number in {None, task.last_checkpoint_number}
        if held is None or place is None or held.attempt != task.attempt or not goes_on:
            return None
        return place if place.free and place.offer.suits(kind_of(task)) else None

    def _least_loaded(self, kind: Kind) -> _Place | None:
        queue = self._queues.get(kind)
        if queue is None:
            queue = self._queues[kind] = self._new_queue(kind)
        return self._places[queue[0][-1]] if queue else None

    def _new_queue(self, kind: Kind) -> "SortedList[Rank]":
        if len(self._queues) >= MAX_QUEUES:
            self._queues.clear()
            for place in self._places.values():
                place.queues.clear()
        queue: SortedList[Rank] = SortedList()
        for place in self._places.values():
            if place.offer.suits(kind):
                place.queues.append(queue)
                if place.free:
                    queue.add(place.rank)
        return queue
