"""Which unit gets which task: the slots of all units, and who is in them.

The picture is kept up, not computed anew, so that thousands of units do not slow down the one task that wants a slot.
"""

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count

from sortedcontainers import SortedList

from taskplane.server.core.backlog import Kind, kind_of
from taskplane.server.core.looks import Looks
from taskplane.server.core.task import Task, TaskStatus

# Kinds of task for which the units that suit are kept in order. Labels are made up by clients, without an end.
MAX_QUEUES = 10_000


# By what units with free slots are ordered; the last part is the unit's id.
Rank = tuple[bool, float, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a unit that takes work has to offer."""

    unit_id: str
    unit_type: str
    capacity: int
    task_types: frozenset[str]
    # Those of which it makes no checkpoints: it begins every attempt from the start.
    from_the_start: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)

    def suits(self, kind: Kind) -> bool:
        """Whether the unit accepts the type and has every label that is asked for."""
        return suits(self.task_types, self.labels, kind)


def suits(task_types: Container[str], labels: Mapping[str, str], kind: Kind) -> bool:
    """Whether a unit that accepts these types and has these labels is one for tasks of a kind."""
    task_type, wanted = kind
    return task_type in task_types and wanted <= labels.items()


@dataclass(frozen=True, slots=True)
class Assignment:
    """A task goes to a unit; `held_attempt` is set if the unit holds it paused and can go on from memory."""

    task: Task
    offer: Offer
    held_attempt: int | None = None


def is_due(task: Task, now: datetime) -> bool:
    """Whether the task waits for nothing but a slot."""
    waits = task.queued_at is not None and task.status in {TaskStatus.PENDING, TaskStatus.PAUSED}
    return waits and (task.not_before is None or task.not_before <= now)


class _Place:
    """A unit that takes work, the number of its slots in use, and the queues of units in which it stands."""

    def __init__(self, offer: Offer, load: int) -> None:
        self.offer = offer
        self.load = load
        # It has refused its last start, or not answered it.
        self.is_doubtful = False
        self.queues: list[SortedList[Rank]] = []

    @property
    def free(self) -> int:
        return max(0, self.offer.capacity - self.load)

    @property
    def rank(self) -> Rank:
        """The unit with the smallest share of its capacity in use comes first, and one that is in doubt last."""
        return self.is_doubtful, self.load / self.offer.capacity, self.offer.unit_id


class Slots:
    """The slots of all units, and who is in them.

    A transaction frees slots and takes them when it is decided. If it fails it must `undo` that, before those that were
    decided earlier do.
    """

    def __init__(self) -> None:
        self._places: dict[str, _Place] = {}
        self._unit_of: dict[int, str] = {}
        self._loads: Counter[str] = Counter()
        self._doubtful: set[str] = set()
        # In place of tasks, whose ids are positive.
        self._nobody = count(-1, -1)
        # Who holds which attempt of a task paused in memory.
        self._holder_of: dict[int, tuple[str, int]] = {}
        # Free slots by task type; those of a unit that accepts two types count for each.
        self._free: Counter[str] = Counter()
        self.looks = Looks(self._free)
        # For each kind of task that was placed: the units with free slots that suit it.
        self._queues: dict[Kind, SortedList[Rank]] = {}

    def offer(self, offer: Offer) -> None:
        """Add a unit that takes work, or change what it has to offer."""
        self._close(offer.unit_id)
        place = self._places[offer.unit_id] = _Place(offer, self._loads[offer.unit_id])
        place.is_doubtful = offer.unit_id in self._doubtful
        for kind, queue in self._queues.items():
            if offer.suits(kind):
                place.queues.append(queue)
        self._show(place)
        self.looks.opened(place.offer.task_types, place.offer.labels)

    def withdraw(self, unit_id: str) -> None:
        """Remove a unit that takes no work any more; what runs there stays."""
        self._close(unit_id)

    def occupy(self, task_id: int, unit_id: str) -> None:
        """Put a task into a slot of a unit."""
        if self._unit_of.get(task_id) != unit_id:
            self.vacate(task_id)
            self._unit_of[task_id] = unit_id
            self._change_load(unit_id, 1)

    def vacate(self, task_id: int) -> str | None:
        """Take a task out of its slot. Returns the unit whose slot it was."""
        unit_id = self._unit_of.pop(task_id, None)
        if unit_id is not None:
            self._change_load(unit_id, -1)
        return unit_id

    def load(self, unit_id: str) -> int:
        """Return how many slots of a unit are in use, also by what it has not heard of yet."""
        return self._loads[unit_id]

    def doubt(self, unit_id: str) -> None:
        """Prefer other units to one that did not accept a start, until it does."""
        self._doubtful.add(unit_id)
        self._judge(unit_id)

    def trust(self, unit_id: str) -> None:
        """Stop doubting a unit: it has accepted a start."""
        if unit_id in self._doubtful:
            self._doubtful.discard(unit_id)
            self._judge(unit_id)

    def withhold(self, unit_id: str) -> int:
        """Take a slot of a unit away from all tasks. Returns the number by which to `vacate` it."""
        number = next(self._nobody)
        self.occupy(number, unit_id)
        return number

    def hold(self, task_id: int, unit_id: str, attempt: int) -> None:
        """Note that a unit holds an attempt paused in memory."""
        self._holder_of[task_id] = unit_id, attempt

    def let_go(self, task_id: int) -> None:
        """Note that no unit holds the task in memory."""
        self._holder_of.pop(task_id, None)

    def take(self, task: Task) -> Assignment | None:
        """Reserve a slot for a task, which then counts as load; None if it fits nowhere.

        A paused task goes back to the unit that holds it if that has a free slot. Otherwise the least loaded unit that
        suits gets it (the smallest share of its capacity in use).
        """
        holder = self._holder(task)
        place = holder or self._least_loaded(kind_of(task))
        if place is None:
            return None
        self.occupy(task.id, place.offer.unit_id)
        return Assignment(task, place.offer, task.attempt if holder else None)

    def undo(self, taken: Iterable[Assignment], freed: Mapping[int, str]) -> None:
        """Take back what a transaction took, and what it freed, by task; what it knew of the backlog may not be so."""
        for each in taken:
            self.vacate(each.task.id)
        for task_id, unit_id in freed.items():
            self.occupy(task_id, unit_id)
        self.looks.again()

    def has_room(self, task: Task) -> bool:
        """Whether a task would get a slot now."""
        return self._holder(task) is not None or self._least_loaded(kind_of(task)) is not None

    def may_have_room(self, kind: Kind) -> bool:
        """Whether a task of this kind would get a slot now, held in memory or not: who holds it suits it too."""
        return self._least_loaded(kind) is not None

    def free(self, task_types: Iterable[str]) -> int:
        """Return how many slots are free for these types at the most."""
        return sum(self._free[each] for each in task_types)

    def _judge(self, unit_id: str) -> None:
        if place := self._places.get(unit_id):
            self._hide(place)
            place.is_doubtful = unit_id in self._doubtful
            self._show(place)

    def _change_load(self, unit_id: str, by: int) -> None:
        self._loads[unit_id] += by
        if place := self._places.get(unit_id):
            self._hide(place)
            place.load += by
            self._show(place)
            if by < 0:
                self.looks.opened(place.offer.task_types, place.offer.labels)

    def _show(self, place: _Place) -> None:
        """Let a unit be found by its free slots."""
        if not place.free:
            return
        for queue in place.queues:
            queue.add(place.rank)
        for task_type in place.offer.task_types:
            self._free[task_type] += place.free

    def _hide(self, place: _Place) -> None:
        if not place.free:
            return
        for queue in place.queues:
            queue.remove(place.rank)
        for task_type in place.offer.task_types:
            self._free[task_type] -= place.free

    def _close(self, unit_id: str) -> None:
        if place := self._places.pop(unit_id, None):
            self._hide(place)

    def _holder(self, task: Task) -> _Place | None:
        """Return the unit that holds the task's current attempt paused in memory, if it is to go on there and can.

        A task that is resumed from an older checkpoint than its last cannot go on from memory.
        """
        unit_id, attempt = self._holder_of.get(task.id, ("", 0))
        place = self._places.get(unit_id)
        goes_on = task.next_checkpoint_number in {None, task.last_checkpoint_number}
        is_held = place is not None and task.status is TaskStatus.PAUSED and attempt == task.attempt and goes_on
        return place if place and is_held and place.free and place.offer.suits(kind_of(task)) else None

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
