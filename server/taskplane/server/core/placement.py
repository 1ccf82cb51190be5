"""Placement: the choice of a unit for each task, the free slots, and the scan of the queue.

The order of units is kept up to date instead of computed for each task, so thousands of units do not slow down a
placement. `core.assignments` holds the slots in use.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sortedcontainers import SortedList

from taskplane.server.core.assignments import Assignment, Assignments
from taskplane.server.core.task import Task, TaskStatus
from taskplane.server.core.task_queue import Kind, TaskQueue, kind_of

# Above this number, the orders of units are built again. Clients make up labels, so the number of kinds is unbounded.
MAX_ORDERS = 10_000


# The order of units with free slots: suspects last, then units that accept every type, then by the share of capacity in
# use, then by unit id.
Rank = tuple[bool, bool, float, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """The slots, types and labels of a unit that accepts work."""

    unit_id: str
    unit_type: str
    capacity: int
    # Empty: the unit accepts every type.
    task_types: frozenset[str]
    # The types without checkpoints: each attempt begins from the start.
    from_the_start: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)

    def suits(self, kind: Kind) -> bool:
        """Return whether the unit accepts the type and has every requested label."""
        return suits(self.task_types, self.labels, kind)


def suits(task_types: Collection[str], labels: Mapping[str, str], kind: Kind) -> bool:
    """Return whether a unit with these types (none: every type) and labels suits a kind of task."""
    task_type, wanted = kind
    return (not task_types or task_type in task_types) and wanted <= labels.items()


@dataclass(frozen=True, slots=True)
class Placement:
    """A task and its unit; `held_attempt` is set if the unit holds the task paused and can continue from memory."""

    task: Task
    offer: Offer
    held_attempt: int | None = None


def is_due(task: Task, now: datetime) -> bool:
    """Return whether the task waits only for a slot. A task past its deadline does not: the deadline ends the task."""
    waits = task.queued_at is not None and task.status in {TaskStatus.PENDING, TaskStatus.PAUSED}
    is_over = task.limits.deadline is not None and task.limits.deadline <= now
    return waits and not is_over and (task.not_before is None or task.not_before <= now)


class FreeSlots:
    """Numbers of free slots by task type; a slot of a unit that accepts two types counts for both.

    The slots of units without named types count for every type.
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
        """Add free slots of a unit that accepts these types (none: every type), or subtract them."""
        for task_type in task_types:
            self._of_type[task_type] += by
        if not task_types:
            self._of_every_type += by

    def has(self, task_type: str) -> bool:
        """Return whether a slot is free for a type."""
        return self._of_every_type > 0 or self._of_type[task_type] > 0

    def types(self) -> list[str]:
        """Return the types that units with free slots name."""
        return [task_type for task_type, free in self._of_type.items() if free]

    def for_types(self, task_types: Collection[str]) -> int:
        """Return an upper bound of the free slots for these types."""
        if not task_types:
            return 0
        return self._of_every_type + sum(self._of_type[each] for each in task_types)


class QueueScan:
    """Tracks the task types for which a queued task may fit a free slot.

    A scan is one pass over the queue while slots are free. A scan may continue in the next transaction.
    """

    def __init__(self, free: FreeSlots) -> None:
        self.task_queue = TaskQueue()
        self._free = free
        # The types for which a queued task may fit since the last scan started.
        self._due: set[str] = set()
        # The types whose last scan has not reached the end of the queue.
        self._unfinished: set[str] = set()

    def types(self) -> frozenset[str]:
        """Return the types for which a queued task may fit since the last scan."""
        return frozenset(each for each in self._due | self._unfinished if self._free.has(each))

    def start(self) -> frozenset[str]:
        """Start a scan, and return its types. A slot that opens from now on calls for another scan.

        So does a slot that opened during a scan, which may have passed the tasks for the slot. Types without free slots
        leave the scan; their next free slot adds them again.
        """
        task_types = self.types()
        new = task_types - self._unfinished
        self._due &= self._unfinished
        self._unfinished -= task_types
        self.task_queue.start_scan(new)
        return task_types

    def continue_later(self, task_types: Iterable[str]) -> None:
        """Continue the scan of these types in the next transaction."""
        self._unfinished.update(task_types)

    def opened(self, task_types: Collection[str], labels: Mapping[str, str]) -> None:
        """Mark the types for which a queued task may fit a slot that has opened.

        The unit of the slot has these types (none: every type) and labels.
        """
        for task_type in task_types or self.task_queue.types_maybe_queued():
            waiting = self.task_queue.labels(task_type)
            if waiting is None or any(wanted <= labels.items() for wanted in waiting):
                self._due.add(task_type)

    def reset(self) -> None:
        """Forget the queue in memory, and scan all types that have free slots."""
        self.task_queue.forget()
        self._unfinished.clear()
        self._due.update(self._free.types(), self.task_queue.all_types())


class _Place:
    """A unit that accepts work, and the orders in which the unit has a place."""

    def __init__(self, offer: Offer) -> None:
        self.offer = offer
        self.orders: list[SortedList[Rank]] = []
        # The unit's place in the orders, while the unit has a free slot.
        self.rank: Rank = (False, False, 0.0, offer.unit_id)
        self.load = offer.capacity

    @property
    def free(self) -> int:
        return max(0, self.offer.capacity - self.load)


class Slots:
    """The slots of all units that accept work.

    A transaction takes and frees slots when it is decided. A failed transaction must `undo` its slots, the latest
    transaction first.
    """

    def __init__(self) -> None:
        self.assignments = Assignments(self._load_changed)
        self._places: dict[str, _Place] = {}
        # Units that refused or did not answer their last start, or handed back an accepted task.
        self._suspects: set[str] = set()
        self._free = FreeSlots()
        self.scan = QueueScan(self._free)
        # For each kind of task placed so far: the suitable units with free slots.
        self._orders: dict[Kind, SortedList[Rank]] = {}

    def offer(self, offer: Offer) -> None:
        """Add a unit that accepts work, or replace its offer."""
        self.withdraw(offer.unit_id)
        place = self._places[offer.unit_id] = _Place(offer)
        place.orders += [queue for kind, queue in self._orders.items() if offer.suits(kind)]
        self._show(place)
        self.scan.opened(place.offer.task_types, place.offer.labels)

    def withdraw(self, unit_id: str) -> None:
        """Remove a unit that no longer accepts work; its assignments stay."""
        if place := self._places.pop(unit_id, None):
            self._hide(place)

    def load(self, unit_id: str) -> int:
        """Return the number of a unit's slots in use, unsent dispatches included."""
        return len(self.assignments.of(unit_id).in_slots)

    def mark_suspect(self, unit_id: str) -> None:
        """Prefer other units, until this unit accepts a start: it refused or handed back its last."""
        self._suspects.add(unit_id)
        self._load_changed(unit_id)

    def clear_suspect(self, unit_id: str) -> None:
        """Stop suspecting a unit: the unit has accepted a start."""
        if unit_id in self._suspects:
            self._suspects.discard(unit_id)
            self._load_changed(unit_id)

    def take(self, task: Task) -> Placement | None:
        """Reserve a slot for a task and return its placement; None if no unit suits.

        A paused task returns to the unit that holds the task, if that unit has a free slot. Otherwise the task goes to
        the suitable unit with the smallest share of capacity in use. Units that name the type come first.
        """
        holder = self._holder(task)
        place = holder or self._least_loaded(kind_of(task))
        if place is None:
            return None
        self.assignments.reserve(task, place.offer.unit_id)
        return Placement(task, place.offer, task.attempt if holder else None)

    def release(self, taken: Iterable[Placement]) -> None:
        """Release slots that their transaction does not need."""
        self.assignments.undo([each for placement in taken if (each := self._reserved(placement))], [])

    def undo(self, taken: Sequence[Placement], freed: Sequence[Assignment]) -> None:
        """Restore the slots that a failed transaction took and freed, and scan the queue again."""
        self.release(taken)
        self.assignments.undo([], freed)
        self.scan.reset()

    def problems(self) -> list[str]:
        """Return the differences between the order of units and the assignments: none unless the code is wrong."""
        wrong = self.assignments.problems()
        free = FreeSlots()
        for unit_id, place in self._places.items():
            load = self.assignments.of(unit_id).load
            if place.load != load:
                wrong.append(f"{unit_id} is offered with {place.load} slots in use, not {load}")
            free.change(place.offer.task_types, place.free)
            if any((place.rank in queue) is not (place.free > 0) for queue in place.orders):
                wrong.append(f"{unit_id} stands in the queues as if it had not {place.free} free slots")
        return wrong if free == self._free else [*wrong, f"free slots are {self._free}, not {free}"]

    def fits_now(self, task: Task) -> bool:
        """Return whether a task would get a slot now."""
        return self._holder(task) is not None or self._least_loaded(kind_of(task)) is not None

    def kind_fits_now(self, kind: Kind) -> bool:
        """Return whether a task of this kind would get a slot now. A unit that holds the task suits the kind too."""
        return self._least_loaded(kind) is not None

    def free(self, task_types: Collection[str]) -> int:
        """Return an upper bound of the free slots for these types."""
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
        unit_id, capacity = place.offer.unit_id, place.offer.capacity
        place.load = self.assignments.of(unit_id).load
        if not place.free:
            return
        takes_every_type = not place.offer.task_types
        place.rank = unit_id in self._suspects, takes_every_type, place.load / capacity, unit_id
        for queue in place.orders:
            queue.add(place.rank)
        self._free.change(place.offer.task_types, place.free)

    def _hide(self, place: _Place) -> None:
        if not place.free:
            return
        for queue in place.orders:
            queue.remove(place.rank)
        self._free.change(place.offer.task_types, -place.free)

    def _holder(self, task: Task) -> _Place | None:
        """Return the unit that holds the task's current attempt paused in memory, if the task can continue there.

        A task resumed from an older checkpoint than its last cannot continue from memory.
        """
        held = self.assignments.holder(task.id) if task.status is TaskStatus.PAUSED else None
        place = self._places.get(held.unit_id) if held else None
        can_continue = task.next_checkpoint_number in {None, task.last_checkpoint_number}
        if held is None or place is None or held.attempt != task.attempt or not can_continue:
            return None
        return place if place.free and place.offer.suits(kind_of(task)) else None

    def _least_loaded(self, kind: Kind) -> _Place | None:
        queue = self._orders.get(kind)
        if queue is None:
            queue = self._orders[kind] = self._new_queue(kind)
        return self._places[queue[0][-1]] if queue else None

    def _new_queue(self, kind: Kind) -> "SortedList[Rank]":
        if len(self._orders) >= MAX_ORDERS:
            self._orders.clear()
            for place in self._places.values():
                place.orders.clear()
        queue: SortedList[Rank] = SortedList()
        for place in self._places.values():
            if place.offer.suits(kind):
                place.orders.append(queue)
                if place.free:
                    queue.add(place.rank)
        return queue
