"""The map of assignments, under any order of decisions, failures and publications."""

from dataclasses import dataclass, field

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.builders import a_task, an_offer

from taskplane.server.core.assignments import Assignment, Assignments, AssignmentState
from taskplane.server.core.placement import Placement, Slots
from taskplane.server.core.task import Task, TaskStatus

RUNNING, PENDING, PAUSED, SUCCESS = TaskStatus.RUNNING, TaskStatus.PENDING, TaskStatus.PAUSED, TaskStatus.SUCCESS


def running(task_id: int = 1, unit_id: str = "a", attempt: int = 1) -> Task:
    return a_task(RUNNING, id=task_id, execution_unit_id=unit_id, attempt=attempt)


def state_of(assignments: Assignments, task_id: int = 1, attempt: int = 1) -> AssignmentState | None:
    found = assignments.find(task_id, attempt)
    return found.state if found else None


def test_an_attempt_goes_from_its_reservation_to_its_end() -> None:
    assignments = Assignments()
    assignments.reserve(a_task(), "a")
    assert state_of(assignments) is AssignmentState.RESERVED
    assert not assignments.of("a").running, "nobody has heard of it"
    assignments.started(running())
    assert state_of(assignments) is AssignmentState.RUNNING
    assignments.free(1)
    assert state_of(assignments) is AssignmentState.ENDING
    assert (len(assignments.of("a").running), assignments.of("a").load) == (1, 0)
    assignments.ended(1, 1, stays_held=False)
    assert state_of(assignments) is None


def test_an_attempt_that_ends_before_its_start_is_published_leaves_no_slot_in_use() -> None:
    """A retried transaction becomes durable, and the next one is decided, before listeners hear of the first."""
    assignments = Assignments()
    assignments.reserve(a_task(), "a")
    assignments.free(1)
    assignments.started(running())
    assert assignments.of("a").load == 0
    assignments.ended(1, 1, stays_held=False)
    assert (state_of(assignments), assignments.of("a").load) == (None, 0)


def test_the_end_of_an_attempt_leaves_the_next_one_that_is_reserved_already() -> None:
    assignments = Assignments()
    assignments.started(running())
    assignments.free(1)
    assignments.reserve(a_task(attempt=1), "b")
    assignments.ended(1, 1, stays_held=False)
    assert (state_of(assignments), state_of(assignments, attempt=2)) == (None, AssignmentState.RESERVED)


def test_a_paused_attempt_that_is_held_takes_no_slot_and_stays_until_it_is_let_go() -> None:
    assignments = Assignments()
    assignments.started(running())
    assignments.hold(1, 1, "a")
    assert state_of(assignments) is AssignmentState.RUNNING, "the table does not say yet that it is paused"
    assignments.free(1)
    assignments.ended(1, 1, stays_held=True)
    assert (state_of(assignments), assignments.of("a").load) == (AssignmentState.HELD, 0)
    held = assignments.release(1)
    assert held
    assert held.attempt == 1
    assert state_of(assignments) is None
    assert assignments.release(1) is None


def test_the_table_corrects_any_error_of_the_map() -> None:
    assignments = Assignments()
    for task in (running(1), running(2), running(3), running(4, "b")):
        assignments.started(task)
    assignments.free(2)
    table = [running(1), running(2), running(3, attempt=2), running(5)]
    found = assignments.correct("a", table)
    assert sorted(found) == [
        "task 2 attempt 1 has no slot",
        "task 3 attempt 1 has a slot",
        "task 3 attempt 2 has no slot",
        "task 5 attempt 1 has no slot",
    ]
    assert {key: each.attempt for key, each in assignments.of("a").in_slots.items()} == {1: 1, 2: 1, 3: 2, 5: 1}
    assert assignments.of("a").running == assignments.of("a").in_slots
    assert assignments.of("b").load == 1
    assert assignments.correct("a", table) == []
    assert assignments.problems() == []


def test_a_correction_is_not_undone_by_a_transaction_that_fails_later() -> None:
    slots = Slots()
    slots.offer(an_offer("a", capacity=2))
    slots.assignments.started(running(1))
    freed = slots.assignments.free(1)
    assert freed
    taken = slots.take(a_task(id=2))
    assert taken
    slots.assignments.correct("a", [])
    slots.undo([taken], [freed])
    assert (slots.load("a"), slots.problems()) == (0, [])


@dataclass
class Decided:
    """A decided transaction: the slots taken and freed, and the events to publish."""

    taken: list[Placement] = field(default_factory=list)
    freed: list[Assignment] = field(default_factory=list)
    before: dict[int, Task] = field(default_factory=dict)
    news: list[Task] = field(default_factory=list)
    is_durable: bool = False


UNITS = {"a": 1, "b": 2, "c": 3}


class WriterAndListeners(RuleBasedStateMachine):
    """At most two pending transactions: the older is published first, the younger undone first.

    The younger one may be decided when the older is durable and unpublished.
    """

    @initialize()
    def begin(self) -> None:
        self.slots = Slots()
        for unit_id, capacity in UNITS.items():
            self.slots.offer(an_offer(unit_id, capacity=capacity))
        # As left by the last decided transaction, and as published to listeners.
        self.tasks = {task_id: a_task(id=task_id) for task_id in range(1, 7)}
        self.heard = dict(self.tasks)
        self.under_way: list[Decided] = []

    @precondition(lambda self: len(self.under_way) < 2)
    @rule(
        ending=st.dictionaries(st.integers(1, 6), st.sampled_from([PENDING, PAUSED, SUCCESS]), max_size=3),
        data=st.data(),
    )
    def decide(self, ending: dict[int, TaskStatus], data: st.DataObject) -> None:
        decided = Decided()
        for task_id, status in ending.items():
            if (task := self.tasks[task_id]).status is RUNNING:
                freed = self.slots.assignments.free(task_id)
                assert freed, f"task {task_id} runs without a slot"
                decided.freed.append(freed)
                self._change(decided, task.but(status=status))
        for task_id in data.draw(st.sets(st.integers(1, 6))):
            task = self.tasks[task_id]
            if task.status in {PENDING, PAUSED} and (placement := self.slots.take(task)):
                decided.taken.append(placement)
                unit_id = placement.offer.unit_id
                self._change(decided, task.but(status=RUNNING, attempt=task.attempt + 1, execution_unit_id=unit_id))
        self.under_way.append(decided)

    def _change(self, decided: Decided, task: Task) -> None:
        decided.before.setdefault(task.id, self.tasks[task.id])
        decided.news.append(task)
        self.tasks[task.id] = task

    @precondition(lambda self: self.under_way)
    @rule()
    def tell(self) -> None:
        for task in self.under_way.pop(0).news:
            self.heard[task.id] = task
            if task.status is RUNNING:
                self.slots.assignments.started(task)
            else:
                self.slots.assignments.ended(task.id, task.attempt, stays_held=task.status is PAUSED)

    @precondition(lambda self: self.under_way and not self.under_way[-1].is_durable)
    @rule()
    def fail(self) -> None:
        decided = self.under_way.pop()
        self.slots.undo(decided.taken, decided.freed)
        self.tasks |= decided.before

    @rule(task_id=st.integers(1, 6))
    def pause_is_reported(self, task_id: int) -> None:
        task = self.heard[task_id]
        if task.status is RUNNING and task.execution_unit_id:
            self.slots.assignments.hold(task_id, task.attempt, task.execution_unit_id)

    @rule(task_id=st.integers(1, 6))
    def memory_is_lost(self, task_id: int) -> None:
        self.slots.assignments.release(task_id)

    @rule(unit_id=st.sampled_from([*UNITS]), by=st.sampled_from([1, -1]))
    def withhold(self, unit_id: str, by: int) -> None:
        if self.slots.assignments.of(unit_id).withheld + by >= 0:
            self.slots.assignments.withhold(unit_id, by)

    @rule(unit_id=st.sampled_from([*UNITS]), is_suspect=st.booleans())
    def suspect(self, unit_id: str, *, is_suspect: bool) -> None:
        (self.slots.mark_suspect if is_suspect else self.slots.clear_suspect)(unit_id)

    @precondition(lambda self: len(self.under_way) < 2)
    @rule(unit_id=st.sampled_from([*UNITS]))
    def welcome_finds_nothing_to_correct(self, unit_id: str) -> None:
        """Read in a welcome, which is a transaction: earlier decisions are durable, but perhaps unpublished."""
        for each in self.under_way:
            each.is_durable = True
        assert self.slots.assignments.correct(unit_id, self._running_on(unit_id, self.tasks)) == []

    @invariant()
    def slots_are_those_of_the_last_decision(self) -> None:
        for unit_id in UNITS:
            in_slots = self.slots.assignments.of(unit_id).in_slots
            wanted = {task.id: task.attempt for task in self._running_on(unit_id, self.tasks)}
            assert {key: each.attempt for key, each in in_slots.items()} == wanted

    @invariant()
    def indexes_agree(self) -> None:
        assert self.slots.problems() == []

    @invariant()
    def nothing_is_left_when_all_is_told(self) -> None:
        if not self.under_way:
            for task_id, task in self.tasks.items():
                ran = self.slots.assignments.find(task_id, task.attempt)
                assert (ran is not None and ran.is_running) is (task.status is RUNNING)
                assert ran is None or ran.is_running or ran.is_held

    @staticmethod
    def _running_on(unit_id: str, tasks: dict[int, Task]) -> list[Task]:
        return [task for task in tasks.values() if task.status is RUNNING and task.execution_unit_id == unit_id]


TestWriterAndListeners = WriterAndListeners.TestCase
TestWriterAndListeners.settings = settings(max_examples=100, stateful_step_count=25, deadline=None)
