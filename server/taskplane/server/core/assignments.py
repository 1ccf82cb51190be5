"""The one map of assignments: slots in use, running attempts, and attempts that units hold paused in memory.

A transaction takes and frees slots when it is decided; listeners hear later, when it is durable. The assignment's state
shows the difference (RESERVED, ENDING), so no second map can disagree.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from taskplane.server.core.clock import monotonic
from taskplane.server.core.task import Task


class AssignmentState(StrEnum):
    """The progress of an assignment."""

    # A decided transaction gave the attempt a slot. Listeners have not heard yet.
    RESERVED = "RESERVED"
    RUNNING = "RUNNING"
    # A decided transaction freed the attempt's slot. Listeners have not heard yet.
    ENDING = "ENDING"
    # The unit holds the attempt paused in memory; the attempt takes no slot.
    HELD = "HELD"


@dataclass(slots=True, eq=False)
class Assignment:
    """One attempt of a task at a unit. Only `Assignments` changes the flags."""

    task_id: int
    attempt: int
    unit_id: str
    task_type: str = ""
    # As of the last decided transaction.
    has_slot: bool = False
    # As of the last transaction published to listeners.
    is_running: bool = False
    is_held: bool = False
    # Whether the unit has accepted the attempt, and the monotonic time of the assignment.
    accepted: bool = False
    since: float = field(default_factory=monotonic)

    @property
    def state(self) -> AssignmentState:
        """Return the state derived from the flags."""
        if self.has_slot:
            return AssignmentState.RUNNING if self.is_running else AssignmentState.RESERVED
        return AssignmentState.HELD if self.is_held and not self.is_running else AssignmentState.ENDING

    def __str__(self) -> str:
        return f"task {self.task_id} attempt {self.attempt} {self.state}"


class UnitAssignments:
    """The assignments of one unit, by task id: an index that `Assignments` maintains."""

    __slots__ = ("held", "in_slots", "running", "withheld")

    def __init__(self) -> None:
        self.in_slots: dict[int, Assignment] = {}
        self.running: dict[int, Assignment] = {}
        self.held: dict[int, Assignment] = {}
        # Slots that are temporarily not offered to any task.
        self.withheld = 0

    @property
    def load(self) -> int:
        """Return the number of unavailable slots."""
        return len(self.in_slots) + self.withheld


class Assignments:
    """All assignments, by task and by unit. `on_load` is called with a unit's id after its load changes."""

    def __init__(self, on_load: Callable[[str], None] = lambda _: None) -> None:
        self._on_load = on_load
        # Nearly always one for each task; two while a new attempt replaces an old one.
        self._of_task: dict[int, list[Assignment]] = {}
        self._of_unit: dict[str, UnitAssignments] = {}

    def of(self, unit_id: str) -> UnitAssignments:
        """Return the live index of a unit's assignments."""
        found = self._of_unit.get(unit_id)
        if found is None:
            found = self._of_unit[unit_id] = UnitAssignments()
        return found

    def forget_unit(self, unit_id: str) -> None:
        """Drop the index of a deleted unit, if the index is empty."""
        index = self._of_unit.get(unit_id)
        if index and not (index.in_slots or index.running or index.held or index.withheld):
            del self._of_unit[unit_id]

    def all(self) -> Iterator[Assignment]:
        """Return all assignments."""
        for found in self._of_task.values():
            yield from found

    def find(self, task_id: int, attempt: int) -> Assignment | None:
        """Return the assignment of an attempt."""
        for each in self._of_task.get(task_id, ()):
            if each.attempt == attempt:
                return each
        return None

    def holder(self, task_id: int) -> Assignment | None:
        """Return the assignment that a unit holds paused in memory."""
        for each in self._of_task.get(task_id, ()):
            if each.is_held:
                return each
        return None

    # Decided by transactions, and undone if they fail.

    def reserve(self, task: Task, unit_id: str) -> Assignment:
        """Give the next attempt of a task a slot of a unit."""
        return self._with_slot(task.id, task.attempt + 1, unit_id, task.task_type)

    def free(self, task_id: int) -> Assignment | None:
        """Free the slot of a task and return its assignment, which stays until listeners hear of the end."""
        for each in self._of_task.get(task_id, ()):
            if each.has_slot:
                self._set_slot(each, has_slot=False)
                return each
        return None

    def undo(self, reserved: Sequence[Assignment], freed: Sequence[Assignment]) -> None:
        """Undo the reserved and freed slots of a failed transaction, unless the map was corrected since."""
        for each in reversed(reserved):
            if self.find(each.task_id, each.attempt) is each:
                self._set_slot(each, has_slot=False)
                self._drop_if_over(each)
        for each in reversed(freed):
            if self.find(each.task_id, each.attempt) is each:
                self._set_slot(each, has_slot=True)

    # Published to listeners, so durable.

    def started(self, task: Task) -> None:
        """Mark a task as running. Its slot was reserved before, unless the server has just read the table."""
        each = self.find(task.id, task.attempt)
        if each is None:
            self._end(task.id, task.attempt - 1)
            each = self._with_slot(task.id, task.attempt, task.execution_unit_id or "", task.task_type)
        if not each.is_running:
            each.since = monotonic()
            each.accepted = task.accepted_at is not None
            self._set_running(each, is_running=True)

    def ended(self, task_id: int, attempt: int, *, stays_held: bool) -> None:
        """Mark this attempt and all earlier ones as ended; a paused one may stay held.

        A later attempt stays: an unpublished transaction may have reserved its slot already.
        """
        self._end(task_id, attempt)
        if not stays_held and task_id in self._of_task:
            self.release(task_id)

    # Held by units in memory.

    def hold(self, task_id: int, attempt: int, unit_id: str) -> None:
        """Mark an attempt as held paused in memory by a unit. No other unit holds the task then."""
        each = self.find(task_id, attempt)
        if each is None or not each.is_held:
            self.release(task_id)
            each = self.find(task_id, attempt) or self._add(Assignment(task_id, attempt, unit_id))
            self._set_held(each, is_held=True)

    def release(self, task_id: int) -> Assignment | None:
        """Mark a task as held by no unit. Returns the assignment that was held."""
        each = self.holder(task_id)
        if each:
            self._set_held(each, is_held=False)
            self._drop_if_over(each)
        return each

    # Withheld slots, and repairs.

    def withhold(self, unit_id: str, slots: int) -> None:
        """Withhold a number of a unit's slots from all tasks; a negative number offers slots again."""
        self.of(unit_id).withheld += slots
        self._on_load(unit_id)

    def differences(self, unit_id: str, running: Iterable[Task]) -> list[str]:
        """Return the differences between a unit's slots and its RUNNING tasks in the table."""
        wanted = {task.id: task.attempt for task in running}
        known = {task_id: each.attempt for task_id, each in self.of(unit_id).in_slots.items()}
        missing = [f"task {key} attempt {wanted[key]} has no slot" for key in wanted if known.get(key) != wanted[key]]
        surplus = [f"task {key} attempt {known[key]} has a slot" for key in known if wanted.get(key) != known[key]]
        return missing + surplus

    def correct(self, unit_id: str, running: Iterable[Task]) -> list[str]:
        """Replace a unit's assignments by its RUNNING tasks in the table. Returns the differences.

        The table must be read after all earlier transactions, and before later decisions.
        """
        tasks = {task.id: task for task in running}
        found = self.differences(unit_id, tasks.values())
        index = self.of(unit_id)
        for each in [*index.running.values(), *index.in_slots.values()]:
            task = tasks.get(each.task_id)
            if task is None or task.attempt != each.attempt:
                self._end(each.task_id, each.attempt)
        for task in tasks.values():
            self._with_slot(task.id, task.attempt, unit_id, task.task_type)
            self.started(task)
        return found

    def problems(self) -> list[str]:
        """Return the differences between indexes and assignments: none unless this class is wrong."""
        all_of_them = [*self.all()]
        wrong = [f"{each} is at no unit" for each in all_of_them if each.unit_id not in self._of_unit]
        for unit_id, index in self._of_unit.items():
            own = [each for each in all_of_them if each.unit_id == unit_id]
            for name, kept, flagged in (
                ("in_slots", index.in_slots, [each for each in own if each.has_slot]),
                ("running", index.running, [each for each in own if each.is_running]),
                ("held", index.held, [each for each in own if each.is_held]),
            ):
                if set(kept.values()) != set(flagged) or len(kept) != len(flagged):
                    wrong.append(f"{unit_id}: {name} is {[*map(str, kept.values())]}, not {[*map(str, flagged)]}")
        return wrong

    def _end(self, task_id: int, attempt: int) -> None:
        for each in [*self._of_task.get(task_id, ())]:
            if each.attempt <= attempt:
                self._set_running(each, is_running=False)
                self._set_slot(each, has_slot=False)
                self._drop_if_over(each)

    def _with_slot(self, task_id: int, attempt: int, unit_id: str, task_type: str) -> Assignment:
        each = self.find(task_id, attempt)
        if each and each.unit_id != unit_id:
            self._end(task_id, attempt)
            each = None
        if each is None:
            each = self._add(Assignment(task_id, attempt, unit_id, task_type))
        self._set_slot(each, has_slot=True)
        return each

    def _add(self, each: Assignment) -> Assignment:
        self.of(each.unit_id)
        self._of_task.setdefault(each.task_id, []).append(each)
        return each

    def _drop_if_over(self, each: Assignment) -> None:
        if each.has_slot or each.is_running or each.is_held:
            return
        others = self._of_task[each.task_id]
        others.remove(each)
        if not others:
            del self._of_task[each.task_id]

    def _set_slot(self, each: Assignment, *, has_slot: bool) -> None:
        if each.has_slot is not has_slot:
            each.has_slot = has_slot
            _index(self.of(each.unit_id).in_slots, each, is_in=has_slot)
            self._on_load(each.unit_id)

    def _set_running(self, each: Assignment, *, is_running: bool) -> None:
        if each.is_running is not is_running:
            each.is_running = is_running
            _index(self.of(each.unit_id).running, each, is_in=is_running)

    def _set_held(self, each: Assignment, *, is_held: bool) -> None:
        if each.is_held is not is_held:
            each.is_held = is_held
            _index(self.of(each.unit_id).held, each, is_in=is_held)


def _index(index: dict[int, Assignment], each: Assignment, *, is_in: bool) -> None:
    if is_in:
        index[each.task_id] = each
    elif index.get(each.task_id) is each:
        del index[each.task_id]
