"""The queue in memory: equal to the table, or unknown."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import product

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support.builders import NOW, TASK_TYPE, a_task, at

from taskplane.server.core import task_queue as module
from taskplane.server.core.task import Task, TaskStatus
from taskplane.server.core.task_queue import BACK, FRONT, Kind, QueuedTask, QueueKey, TaskQueue, queue_key_of

OTHER_TYPE = "VIDEO"
TYPES = [TASK_TYPE, OTHER_TYPE]
GPU = {"gpu": "yes"}


def queued(task_id: int, **changes: object) -> QueuedTask:
    return QueuedTask.of(waiting(task_id, **changes))


def waiting(task_id: int, **changes: object) -> Task:
    return a_task(TaskStatus.PENDING, **{"id": task_id, "queued_at": NOW, **changes})


def knowing(*first: QueuedTask, is_whole: bool = True, most: int = 100) -> TaskQueue:
    """Return the queue of one type after a read."""
    task_queue = TaskQueue(most)
    task_queue.learn([TASK_TYPE], FRONT, first, is_whole=is_whole, age=task_queue.age)
    return task_queue


def everything(_: Kind) -> bool:
    return True


def without_labels(kind: Kind) -> bool:
    return not kind[1]


def page(task_queue: TaskQueue, after: QueuedTask | None = None, count: int = 5) -> tuple[list[int], QueueKey]:
    """Return the ids of a page, and its end."""
    queued, end = task_queue.page([TASK_TYPE], after, count, everything)
    return [each.task_id for each in queued], end


def test_a_read_that_began_before_a_delay_was_over_is_void() -> None:
    """The task was not due at the read of the table, and its place is unknown until the read is added."""
    task_queue = TaskQueue()
    begun = task_queue.age
    task_queue.put_if_new(queued(1))
    task_queue.learn([TASK_TYPE], FRONT, [], is_whole=True, age=begun)
    assert page(task_queue) == ([], FRONT)  # read again


def test_a_read_stays_valid_while_a_task_with_a_known_place_is_added() -> None:
    task_queue = knowing(queued(1), is_whole=True)
    begun = task_queue.age
    task_queue.put_if_new(queued(2))
    assert task_queue.age == begun
    assert page(task_queue) == ([1, 2], BACK)


def test_it_goes_by_priority_then_age_then_id() -> None:
    first = waiting(9, queued_at=at(9), priority=1)
    second, third, fourth = waiting(8), waiting(4, queued_at=at(1)), waiting(5, queued_at=at(1))
    assert sorted([fourth, third, first, second], key=queue_key_of) == [first, second, third, fourth]
    assert min(map(QueuedTask.of, [fourth, third, first, second])) == QueuedTask.of(first)


def test_a_task_that_is_not_queued_has_no_place() -> None:
    with pytest.raises(AssertionError):
        queue_key_of(a_task())


def test_nothing_is_known_of_a_type_that_was_not_read() -> None:
    task_queue = knowing()
    task_queue.put(queued(1, task_type=OTHER_TYPE))
    assert task_queue.page([TASK_TYPE], None, 5, everything) == ([], BACK)
    assert task_queue.page([TASK_TYPE, OTHER_TYPE], None, 5, everything) == ([], FRONT)
    assert task_queue.labels(OTHER_TYPE) is None


def test_a_page_goes_as_far_as_was_read() -> None:
    task_queue = knowing(queued(1), queued(2), is_whole=False)
    read = queued(2).queue_key
    assert page(task_queue, count=2) == ([1, 2], read)
    assert page(task_queue, count=3) == ([1, 2], read)
    assert page(task_queue, queued(1), 2) == ([2], read)
    task_queue.put(queued(3))
    assert page(task_queue) == ([1, 2], read), "others may be between"
    task_queue.put(queued(9, priority=5))
    assert page(task_queue) == ([9, 1, 2], read)
    task_queue.learn([TASK_TYPE], read, [queued(3), queued(4)], is_whole=True, age=task_queue.age)
    assert page(task_queue, count=6) == ([9, 1, 2, 3, 4], BACK)


def test_what_is_all_read_stays_known_whatever_comes_and_goes() -> None:
    task_queue = knowing(queued(1), queued(2))
    task_queue.put(queued(3))
    task_queue.discard(1)
    task_queue.put(queued(2, priority=-1))
    assert page(task_queue) == ([3, 2], BACK)
    assert page(task_queue, queued(3)) == ([2], BACK)


def test_kinds_that_are_not_requested_block_no_other() -> None:
    """Neither if more tasks of the kind are queued than kept, nor if later tasks were read with them."""
    misfits = [queued(number, unit_labels=GPU) for number in range(1, 6)]
    task_queue = knowing(*misfits, queued(6), is_whole=False, most=2)
    assert task_queue.page([TASK_TYPE], None, 1, without_labels) == ([queued(6)], queued(6).queue_key)
    task_queue.learn(
        [TASK_TYPE], queued(6).queue_key, [queued(7), queued(8, unit_labels=GPU)], is_whole=True, age=task_queue.age
    )
    assert task_queue.page([TASK_TYPE], None, 9, without_labels) == ([queued(6), queued(7)], BACK)
    assert task_queue.page([TASK_TYPE], None, 9, everything) == (misfits[:2], misfits[1].queue_key)
    task_queue.discard(1)
    task_queue.discard(2)
    task_queue.learn([TASK_TYPE], misfits[1].queue_key, misfits[2:4], is_whole=False, age=task_queue.age)
    assert task_queue.page([TASK_TYPE], None, 9, everything) == (misfits[2:4], misfits[3].queue_key)


@pytest.mark.parametrize("limit", ["MAX_KINDS_OF_TYPE", "MAX_QUEUED_OF_TYPE"])
def test_what_there_is_no_room_for_is_let_go_and_all_is_seen_nonetheless(
    monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(module, limit, 3)
    table = [queued(number, unit_labels={"job": str(number)}) for number in range(1, 9)]
    task_queue, seen = TaskQueue(), list[QueuedTask]()
    while (known := task_queue.page([TASK_TYPE], None, 9, everything)).end != BACK:
        found = [each for each in table if each.queue_key > known.end][:2]
        task_queue.learn([TASK_TYPE], known.end, found, is_whole=len(found) < 2, age=task_queue.age)
        seen += task_queue.page([TASK_TYPE], None, 9, everything).queued
        assert task_queue.labels(TASK_TYPE) is None
    assert sorted(set(seen)) == table
    task_queue.start_scan([TASK_TYPE])
    assert task_queue.page([TASK_TYPE], None, 9, everything) == ([], FRONT), "it is read anew"


def test_what_comes_to_wait_is_not_kept_without_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KINDS_OF_TYPE", 3)
    task_queue = knowing()
    for number in range(1, 5):
        task_queue.put(queued(number, unit_labels={"job": str(number)}))
    assert page(task_queue) == ([], FRONT)
    task_queue.discard(1)


def test_labels_are_those_of_all_queued_tasks() -> None:
    task_queue = knowing(queued(1, unit_labels=GPU), queued(2))
    assert set(task_queue.labels(TASK_TYPE) or ()) == {frozenset(), frozenset({("gpu", "yes")})}
    task_queue.discard(1)
    assert set(task_queue.labels(TASK_TYPE) or ()) == {frozenset()}
    assert knowing(queued(2), is_whole=False).labels(TASK_TYPE) is None


def test_what_was_read_before_all_was_forgotten_is_not_learned() -> None:
    task_queue = knowing(queued(1))
    age = task_queue.age
    task_queue.forget()
    task_queue.learn([TASK_TYPE], FRONT, [queued(1)], is_whole=True, age=age)
    assert page(task_queue) == ([], FRONT)


def test_a_task_whose_delay_is_over_takes_the_place_of_nothing_that_is_known_later() -> None:
    task_queue = knowing(queued(2))
    moved = queued(1, priority=7)
    task_queue.put(moved)
    for each in (queued(1), queued(3), queued(4, task_type=OTHER_TYPE)):
        task_queue.put_if_new(each)
    assert task_queue.page([TASK_TYPE], None, 5, everything) == ([moved, queued(2), queued(3)], BACK)
    assert task_queue.page([OTHER_TYPE], None, 5, everything) == ([], FRONT)


class AsTheTable(RuleBasedStateMachine):
    """A page equals the table up to the page's end, after any changes."""

    @initialize(most=st.integers(1, 4))
    def begin(self, most: int) -> None:
        self.task_queue = TaskQueue(most)
        self.table: dict[int, QueuedTask] = {}

    def sorted_of(self, types: Sequence[str], asked_for: Callable[[Kind], bool] = everything) -> list[QueuedTask]:
        return sorted(each for each in self.table.values() if each.task_type in types and asked_for(each.kind))

    @rule(
        task_id=st.integers(1, 9),
        task_type=st.sampled_from(TYPES),
        priority=st.integers(0, 2),
        age=st.integers(0, 2),
        labels=st.sampled_from([{}, GPU]),
    )
    def put(self, task_id: int, task_type: str, priority: int, age: int, labels: dict[str, str]) -> None:
        changed = queued(task_id, task_type=task_type, priority=priority, queued_at=at(age), unit_labels=labels)
        self.table[task_id] = changed
        self.task_queue.put(changed)

    @rule(task_id=st.integers(1, 9))
    def discard(self, task_id: int) -> None:
        self.table.pop(task_id, None)
        self.task_queue.discard(task_id)

    @rule(
        types=st.sets(st.sampled_from(TYPES), min_size=1),
        asked_for=st.sampled_from([everything, without_labels]),
        limit=st.integers(1, 10),
    )
    def read_on(self, types: set[str], asked_for: Callable[[Kind], bool], limit: int) -> None:
        end = self.task_queue.page(sorted(types), None, 100, asked_for).end
        found = [each for each in self.sorted_of(sorted(types)) if each.queue_key > end][:limit]
        self.task_queue.learn(sorted(types), end, found, is_whole=len(found) < limit, age=self.task_queue.age)

    @rule()
    def forget(self) -> None:
        self.task_queue.forget()

    @invariant()
    def is_as_the_table(self) -> None:
        if not hasattr(self, "task_queue"):
            return
        for types, asked_for in product(([TASK_TYPE], [OTHER_TYPE], TYPES), (everything, without_labels)):
            rows = self.sorted_of(types, asked_for)
            for start, count in product(range(len(rows) + 1), (1, 3, 20)):
                known = self.task_queue.page(types, rows[start - 1] if start else None, count, asked_for)
                assert known.queued == [each for each in rows[start:] if each.queue_key <= known.end][:count]
                assert len(known.queued) < count or known.end == known.queued[-1].queue_key
        for task_type in TYPES:
            labels = self.task_queue.labels(task_type)
            assert labels is None or set(labels) >= {each.labels for each in self.sorted_of([task_type])}

    @invariant()
    def keeps_no_more_than_it_may(self) -> None:
        if hasattr(self, "task_queue"):
            kinds = Counter(each.kind for each in self.task_queue.page(TYPES, None, 100, everything).queued)
            assert all(count <= self.task_queue._most for count in kinds.values())


TestAsTheTable = AsTheTable.TestCase
