"""What waits, as far as it is known in memory: the same as the table would say, or nothing."""

from collections.abc import Sequence

import pytest
from builders import NOW, TASK_TYPE, a_task, at
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from taskplane.server.core.backlog import Backlog, Queued, turn_of
from taskplane.server.core.task import Task, TaskStatus

OTHER_TYPE = "VIDEO"
TYPES = [TASK_TYPE, OTHER_TYPE]


def queued(task_id: int, **changes: object) -> Queued:
    return Queued.of(waiting(task_id, **changes))


def waiting(task_id: int, **changes: object) -> Task:
    return a_task(TaskStatus.PENDING, **{"id": task_id, "queued_at": NOW, **changes})


def knowing(*first: Queued, is_whole: bool = True, most: int = 100) -> Backlog:
    """A backlog of one type that was read."""
    backlog = Backlog(most)
    backlog.learn([TASK_TYPE], first, is_whole=is_whole, age=backlog.age)
    return backlog


def ids(page: Sequence[Queued] | None) -> list[int] | None:
    return None if page is None else [each.task_id for each in page]


def test_it_goes_by_priority_then_age_then_id() -> None:
    first = waiting(9, queued_at=at(9), priority=1)
    second, third, fourth = waiting(8), waiting(4, queued_at=at(1)), waiting(5, queued_at=at(1))
    assert sorted([fourth, third, first, second], key=turn_of) == [first, second, third, fourth]
    assert min(map(Queued.of, [fourth, third, first, second])) == Queued.of(first)


def test_what_does_not_wait_has_no_turn() -> None:
    with pytest.raises(AssertionError):
        turn_of(a_task())


def test_nothing_is_known_of_a_type_that_was_not_read() -> None:
    backlog = knowing()
    backlog.put(queued(1, task_type=OTHER_TYPE))
    assert backlog.page([TASK_TYPE], None, 5) == []
    assert backlog.page([TASK_TYPE, OTHER_TYPE], None, 5) is None
    assert backlog.labels(OTHER_TYPE) is None


def test_a_page_that_may_go_on_behind_what_was_read_is_not_known() -> None:
    backlog = knowing(queued(1), queued(2), is_whole=False)
    assert ids(backlog.page([TASK_TYPE], None, 2)) == [1, 2]
    assert backlog.page([TASK_TYPE], None, 3) is None
    assert backlog.page([TASK_TYPE], queued(1), 2) is None
    backlog.put(queued(3))
    assert backlog.page([TASK_TYPE], None, 3) is None, "others may be between"
    backlog.put(queued(9, priority=5))
    assert ids(backlog.page([TASK_TYPE], None, 3)) == [9, 1, 2]


def test_what_is_all_read_stays_known_whatever_comes_and_goes() -> None:
    backlog = knowing(queued(1), queued(2))
    backlog.put(queued(3))
    backlog.discard(1)
    backlog.put(queued(2, priority=-1))
    assert ids(backlog.page([TASK_TYPE], None, 5)) == [3, 2]
    assert ids(backlog.page([TASK_TYPE], queued(3), 5)) == [2]


def test_labels_are_those_of_all_that_waits() -> None:
    backlog = knowing(queued(1, unit_labels={"gpu": "yes"}), queued(2))
    assert set(backlog.labels(TASK_TYPE) or ()) == {frozenset(), frozenset({("gpu", "yes")})}
    backlog.discard(1)
    assert set(backlog.labels(TASK_TYPE) or ()) == {frozenset()}
    backlog.learn([TASK_TYPE], [queued(2)], is_whole=False, age=backlog.age)
    assert backlog.labels(TASK_TYPE) is None


def test_what_was_read_before_all_was_forgotten_is_not_learned() -> None:
    backlog = knowing(queued(1))
    age = backlog.age
    backlog.forget()
    backlog.learn([TASK_TYPE], [queued(1)], is_whole=True, age=age)
    assert backlog.page([TASK_TYPE], None, 1) is None


def test_what_is_found_is_added_to_what_is_known_and_to_nothing_else() -> None:
    backlog = knowing(queued(2))
    moved = queued(1, priority=7)
    backlog.put(moved)
    assert backlog.add([queued(1), queued(3), queued(4, task_type=OTHER_TYPE)]) == {TASK_TYPE, OTHER_TYPE}
    assert backlog.page([TASK_TYPE], None, 5) == [moved, queued(2), queued(3)]
    assert backlog.page([OTHER_TYPE], None, 5) is None
    assert backlog.add([queued(3)]) == set()
    assert backlog.types() == [TASK_TYPE]


class AsTheTable(RuleBasedStateMachine):
    """Whatever happens to the tasks that wait, a page that is known is the one that the table would give."""

    @initialize(most=st.integers(1, 4))
    def begin(self, most: int) -> None:
        self.backlog = Backlog(most)
        self.table: dict[int, Queued] = {}

    def sorted_of(self, types: Sequence[str]) -> list[Queued]:
        return sorted(each for each in self.table.values() if each.task_type in types)

    @rule(
        task_id=st.integers(1, 9), task_type=st.sampled_from(TYPES), priority=st.integers(0, 2), age=st.integers(0, 2)
    )
    def put(self, task_id: int, task_type: str, priority: int, age: int) -> None:
        changed = queued(task_id, task_type=task_type, priority=priority, queued_at=at(age))
        self.table[task_id] = changed
        self.backlog.put(changed)

    @rule(task_id=st.integers(1, 9))
    def discard(self, task_id: int) -> None:
        self.table.pop(task_id, None)
        self.backlog.discard(task_id)

    @rule(types=st.sets(st.sampled_from(TYPES), min_size=1), limit=st.integers(1, 10))
    def learn(self, types: set[str], limit: int) -> None:
        first = self.sorted_of(sorted(types))[:limit]
        self.backlog.learn(sorted(types), first, is_whole=len(first) < limit, age=self.backlog.age)

    @rule()
    def forget(self) -> None:
        self.backlog.forget()

    @invariant()
    def is_as_the_table(self) -> None:
        if not hasattr(self, "backlog"):
            return
        for types in ([TASK_TYPE], [OTHER_TYPE], TYPES):
            rows = self.sorted_of(types)
            for start in range(len(rows) + 1):
                after = rows[start - 1] if start else None
                for count in (1, 3, 20):
                    page = self.backlog.page(types, after, count)
                    assert page is None or page == rows[start : start + count]
        for task_type in TYPES:
            labels = self.backlog.labels(task_type)
            assert labels is None or set(labels) == {each.labels for each in self.sorted_of([task_type])}


TestAsTheTable = AsTheTable.TestCase
