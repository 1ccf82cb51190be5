"""Which unit gets which task. Pure: queued tasks and the units' free slots in, assignments out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

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
        return task.task_type in self.task_types and task.unit_labels.items() <= self.labels.items()


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
    taken = {offer.unit_id: 0 for offer in offers}
    assignments = []
    for task in tasks:
        open_offers = [offer for offer in offers if offer.free > taken[offer.unit_id] and offer.suits(task)]
        if open_offers:
            chosen = _choose(task, open_offers, taken)
            taken[chosen.offer.unit_id] += 1
            assignments.append(chosen)
    return assignments


def _choose(task: Task, offers: Sequence[Offer], taken: Mapping[str, int]) -> Assignment:
    for offer in offers:
        if holds(offer, task):
            return Assignment(task, offer, held_attempt=task.attempt)
    least = min(offers, key=lambda offer: ((offer.load + taken[offer.unit_id]) / offer.capacity, offer.unit_id))
    return Assignment(task, least)


def holds(offer: Offer, task: Task) -> bool:
    """Whether the unit holds the task's current attempt paused in memory, where it is to go on.

    A task that is resumed from an older checkpoint than its last cannot go on from memory.
    """
    goes_on = task.checkpoint is None or task.checkpoint.number == task.last_checkpoint_number
    return task.status is TaskStatus.PAUSED and goes_on and offer.held.get(task.id) == task.attempt
