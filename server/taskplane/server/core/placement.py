"""Which unit gets which task. Pure: queued tasks and the units' free slots in, assignments out."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heapreplace

from taskplane.server.core.task import Task, TaskStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a connected unit has to offer at one moment. `held` are the attempts it holds paused, by task id."""

    unit_id: str
    unit_type: str
    capacity: int
    load: int
    task_types: frozenset[str]
    labels: Mapping[str, str] = field(default_factory=dict)
    held: Mapping[int, int] = field(default_factory=dict)

    @property
    def free(self) -> int:
        """Slots that hold no RUNNING task."""
        return max(0, self.capacity - self.load)

    def suits(self, task: Task) -> bool:
        """Whether the unit accepts the task's type and has every label that the task asks for."""
        return suits(self.task_types, self.labels, task)


def suits(task_types: Container[str], labels: Mapping[str, str], task: Task) -> bool:
    """Whether a unit that accepts these types and has these labels is one for the task."""
    return task.task_type in task_types and task.unit_labels.items() <= labels.items()


@dataclass(frozen=True, slots=True)
class Assignment:
    """A task goes to a unit; `held_attempt` is set if the unit holds it paused and can go on from memory."""

    task: Task
    offer: Offer
    held_attempt: int | None = None


def place(tasks: Iterable[Task], offers: Sequence[Offer]) -> list[Assignment]:
    """Assign tasks, in the order given, as far as there are slots.

    A paused task goes back to the unit that holds it if that has a free slot. Otherwise the least loaded unit that
    suits gets it (the smallest share of its capacity in use). A task that fits nowhere is left out.
    """
    slots = _Slots(offers)
    return [assignment for task in tasks if (assignment := slots.assign(task))]


class _Slots:
    """The free slots while tasks are placed, so found that thousands of units do not slow down each task."""

    def __init__(self, offers: Sequence[Offer]) -> None:
        self._offers = offers
        self._taken = {offer.unit_id: 0 for offer in offers}
        self._holders = {held: offer for offer in offers for held in offer.held.items()}
        # For each kind of task the units that suit it, as a heap. An entry's share may be outdated, thus too small.
        self._queues: dict[tuple[str, frozenset[tuple[str, str]]], list[tuple[float, str, Offer]]] = {}

    def assign(self, task: Task) -> Assignment | None:
        holder = self._holders.get((task.id, task.attempt))
        is_held = holder is not None and holds(holder, task) and holder.suits(task) and self._left(holder) > 0
        offer = holder if is_held else self._least_loaded(task)
        if offer is None:
            return None
        self._taken[offer.unit_id] += 1
        return Assignment(task, offer, held_attempt=task.attempt if is_held else None)

    def _least_loaded(self, task: Task) -> Offer | None:
        queue = self._queue(task)
        while queue:
            share, unit_id, offer = queue[0]
            if not self._left(offer):
                heappop(queue)
            elif share != self._share(offer):
                heapreplace(queue, (self._share(offer), unit_id, offer))
            else:
                return offer
        return None

    def _queue(self, task: Task) -> list[tuple[float, str, Offer]]:
        kind = (task.task_type, frozenset(task.unit_labels.items()))
        if kind not in self._queues:
            suiting = (offer for offer in self._offers if self._left(offer) and offer.suits(task))
            self._queues[kind] = [(self._share(offer), offer.unit_id, offer) for offer in suiting]
            heapify(self._queues[kind])
        return self._queues[kind]

    def _left(self, offer: Offer) -> int:
        return offer.free - self._taken[offer.unit_id]

    def _share(self, offer: Offer) -> float:
        return (offer.load + self._taken[offer.unit_id]) / offer.capacity


def holds(offer: Offer, task: Task) -> bool:
    """Whether the unit holds the task's current attempt paused in memory, where it is to go on.

    A task that is resumed from an older checkpoint than its last cannot go on from memory.
    """
    goes_on = task.checkpoint is None or task.checkpoint.number == task.last_checkpoint_number
    return task.status is TaskStatus.PAUSED and goes_on and offer.held.get(task.id) == task.attempt
