"""Delayed tasks: none is late, none is lost, and few are in memory."""

from datetime import datetime, timedelta

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.builders import NOW, a_task, at

from taskplane.server.core.delayed_tasks import NEVER, DelayedTask, DelayedTasks
from taskplane.server.core.task import Task
from taskplane.server.core.task_queue import QueuedTask


def delayed(task_id: int, seconds: float) -> Task:
    return a_task(id=task_id, queued_at=NOW, not_before=at(seconds))


def read(delays: DelayedTasks, *table: Task) -> None:
    """Read the next page of a table."""
    limit = delays.begin_read()
    delays.learn(page(table, delays.end, limit), limit)


def page(table: tuple[Task, ...], end: DelayedTask, limit: int) -> list[tuple[datetime, QueuedTask]]:
    found = sorted((DelayedTask(task.not_before, task.id), QueuedTask.of(task)) for task in table if task.not_before)
    return [(due.not_before, queued) for due, queued in found if due >= end][:limit]


def taken(delays: DelayedTasks, seconds: float, most: int = 100) -> list[int]:
    return [each.task_id for each in delays.take(at(seconds), most)]


def test_each_task_comes_when_its_time_comes_the_earliest_first() -> None:
    delays = DelayedTasks(NOW)
    read(delays, delayed(1, 30), delayed(2, 10))
    delays.put(delayed(3, 20))
    assert delays.next_at() == at(10)
    assert taken(delays, 9) == []
    assert taken(delays, 20) == [2, 3]
    assert taken(delays, 100) == [1]
    assert delays.next_at() is None


def test_no_more_are_taken_at_once_than_asked_for() -> None:
    delays = DelayedTasks(NOW)
    read(delays, *(delayed(number, 1) for number in range(1, 6)))
    assert taken(delays, 1, most=3) == [1, 2, 3]
    assert taken(delays, 1, most=3) == [4, 5]


def test_what_was_due_before_the_start_is_no_concern_of_it() -> None:
    delays = DelayedTasks(NOW)
    read(delays, delayed(1, -1), delayed(2, 0))
    assert taken(delays, 1) == [2]


def test_what_comes_while_a_page_is_read_is_kept_until_it_is_known_how_far_the_page_goes() -> None:
    delays = DelayedTasks(NOW, most=4)
    limit = delays.begin_read()
    delays.put(delayed(9, 1))
    delays.put(delayed(8, 99))
    delays.learn(page((delayed(1, 5), delayed(2, 6), delayed(3, 7)), delays.end, limit), limit)
    assert taken(delays, 100) == [9, 1, 2]
    assert delays.needs_page()
    read(delays, delayed(3, 7), delayed(8, 99))
    assert taken(delays, 100) == [3, 8]
    read(delays)
    assert delays.end == NEVER
    assert not delays.needs_page()


def test_a_page_that_cannot_be_read_is_read_later() -> None:
    delays = DelayedTasks(NOW)
    delays.begin_read()
    delays.put(delayed(1, 5))
    delays.give_up_read()
    assert delays.needs_page()
    assert len(delays) == 0
    read(delays, delayed(1, 5))
    assert taken(delays, 5) == [1]


class AsTheTable(RuleBasedStateMachine):
    """No due task is missing, in any order of changes and reads."""

    @initialize(most=st.integers(4, 8))
    def begin(self, most: int) -> None:
        self.delays = DelayedTasks(NOW, most)
        self.most = most
        self.now = self.created = 0
        self.table: dict[int, Task] = {}
        self.snapshot: list[tuple[datetime, QueuedTask]] | None = None

    @rule(seconds=st.lists(st.integers(1, 20), min_size=1, max_size=6))
    def some_are_delayed(self, seconds: list[int]) -> None:
        for each in seconds:
            self.created += 1
            task = delayed(self.created, self.now + each)
            self.table[task.id] = task
            self.delays.put(task)

    @precondition(lambda self: self.snapshot is None and self.delays.needs_page())
    @rule()
    def a_read_begins(self) -> None:
        self.limit = self.delays.begin_read()
        self.snapshot = page(tuple(self.table.values()), self.delays.end, self.limit)

    @precondition(lambda self: self.snapshot is not None)
    @rule(works=st.booleans())
    def the_read_ends(self, *, works: bool) -> None:
        if works and self.snapshot is not None:
            self.delays.learn(self.snapshot, self.limit)
        else:
            self.delays.give_up_read()
        self.snapshot = None

    @rule(seconds=st.integers(1, 5))
    def time_passes(self, seconds: int) -> None:
        """Read pages while needed, and take the due tasks, as the loop does."""
        self.now += seconds
        if self.snapshot is not None:
            self.the_read_ends(works=True)
        due: list[int] = []
        while True:
            due += taken(self.delays, self.now)
            if not self.delays.needs_page():
                break
            read(self.delays, *self.table.values())
        for task_id in due:
            self.table.pop(task_id, None)
        left = [task.id for task in self.table.values() if task.not_before and task.not_before <= at(self.now)]
        assert left == []

    @invariant()
    def few_are_kept(self) -> None:
        if self.snapshot is None:
            assert len(self.delays) <= self.most


TestAsTheTable = AsTheTable.TestCase
TestAsTheTable.settings = settings(max_examples=100, stateful_step_count=25, deadline=timedelta(seconds=5))
