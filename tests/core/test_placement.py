"""Which unit gets which task."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from builders import TASK_TYPE, UNIT_ID, a_checkpoint, a_task, an_offer
from hypothesis import given
from hypothesis import strategies as st

from taskplane.server.core.placement import Assignment, Offer, place
from taskplane.server.core.task import Task, TaskStatus


def who_gets(*tasks: Task, offers: list[Offer]) -> list[tuple[int, str]]:
    return [(each.task.id, each.offer.unit_id) for each in place(tasks, offers)]


def paused(task_id: int = 1, **changes: object) -> Task:
    return a_task(TaskStatus.PAUSED, **{"id": task_id, "attempt": 4, **changes})


def test_tasks_are_placed_in_the_order_given() -> None:
    tasks = [a_task(id=task_id) for task_id in (3, 1, 2)]
    assert who_gets(*tasks, offers=[an_offer("a", capacity=2)]) == [(3, "a"), (1, "a")]


def test_the_smallest_share_of_capacity_in_use_wins() -> None:
    offers = [an_offer("half", capacity=2, load=1), an_offer("third", capacity=9, load=3)]
    assert who_gets(a_task(), offers=offers) == [(1, "third")]


def test_what_was_just_placed_counts_as_load() -> None:
    offers = [an_offer("a", capacity=2), an_offer("b", capacity=2)]
    placed = who_gets(*(a_task(id=task_id) for task_id in range(1, 5)), offers=offers)
    assert Counter(unit for _, unit in placed) == {"a": 2, "b": 2}


def test_a_unit_with_capacity_0_is_quiet() -> None:
    assert who_gets(a_task(), offers=[an_offer(capacity=0)]) == []


def test_a_unit_with_more_tasks_than_slots_gets_nothing() -> None:
    offer = an_offer(capacity=1, load=3)
    assert offer.free == 0
    assert who_gets(a_task(), offers=[offer]) == []


def test_a_task_goes_only_where_its_type_is_accepted() -> None:
    assert who_gets(a_task(task_type="VIDEO"), offers=[an_offer()]) == []


def test_a_task_goes_only_where_all_its_labels_are() -> None:
    task = a_task(unit_labels={"gpu": "yes", "zone": "b"})
    offers = [
        an_offer("no labels"),
        an_offer("one of two", labels={"gpu": "yes"}),
        an_offer("another value", labels={"gpu": "yes", "zone": "a"}),
    ]
    assert who_gets(task, offers=offers) == []
    offers.append(an_offer("both and more", labels={"gpu": "yes", "zone": "b", "os": "linux"}))
    assert who_gets(task, offers=offers) == [(1, "both and more")]


def test_one_that_fits_nowhere_does_not_hold_up_the_next() -> None:
    tasks = [a_task(id=1, unit_labels={"gpu": "yes"}), a_task(id=2)]
    assert who_gets(*tasks, offers=[an_offer()]) == [(2, UNIT_ID)]


def test_a_paused_task_goes_back_to_its_holder_even_if_that_is_busier() -> None:
    task = paused()
    holder = an_offer("holder", capacity=10, load=9, held={1: 4})
    assert place([task], [an_offer("idle", capacity=10), holder]) == [Assignment(task, holder, held_attempt=4)]


def test_a_full_holder_does_not_keep_a_task_waiting() -> None:
    task, idle = paused(), an_offer("idle")
    assert place([task], [an_offer("holder", load=1, held={1: 4}), idle]) == [Assignment(task, idle)]


def test_who_holds_an_older_attempt_cannot_go_on_from_memory() -> None:
    task, holder = paused(), an_offer("holder", held={1: 3})
    assert place([task], [holder]) == [Assignment(task, holder)]


def test_a_task_that_begins_anew_does_not_go_on_from_memory() -> None:
    task = a_task(TaskStatus.PENDING, attempt=4)
    holder = an_offer("holder", held={1: 4})
    assert place([task], [holder]) == [Assignment(task, holder)]


def test_a_task_that_goes_on_from_an_older_checkpoint_does_not_go_on_from_memory() -> None:
    holder = an_offer("holder", held={1: 4})
    newest = paused(checkpoint=a_checkpoint(7), last_checkpoint_number=7)
    older = paused(checkpoint=a_checkpoint(6), last_checkpoint_number=7)
    assert place([newest], [holder]) == [Assignment(newest, holder, held_attempt=4)]
    assert place([older], [holder]) == [Assignment(older, holder)]


def as_they_can_be(offers: Iterable[Offer]) -> Iterator[Offer]:
    """Give each offer a name, and leave each held attempt to the first: only one unit can hold it."""
    held_before: set[int] = set()
    for number, offer in enumerate(offers):
        held = {task_id: attempt for task_id, attempt in offer.held.items() if task_id not in held_before}
        held_before |= held.keys()
        yield replace(offer, unit_id=f"unit-{number}", held=held)


labels = st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy"), max_size=2)
types = st.sampled_from([TASK_TYPE, "VIDEO"])
tasks = st.lists(
    st.builds(
        lambda status, each, wanted: a_task(status, task_type=each, unit_labels=wanted, attempt=1),
        st.sampled_from([TaskStatus.PENDING, TaskStatus.PAUSED]),
        types,
        labels,
    ),
    max_size=12,
).map(lambda found: [replace(task, id=number) for number, task in enumerate(found, 1)])
offers = st.lists(
    st.builds(
        lambda capacity, load, accepted, has, held: an_offer(
            capacity=capacity, load=load, task_types=accepted, labels=has, held=dict.fromkeys(held, 1)
        ),
        st.integers(0, 4),
        st.integers(0, 5),
        st.frozensets(types),
        labels,
        st.frozensets(st.integers(1, 12), max_size=3),
    ),
    max_size=4,
).map(lambda found: list(as_they_can_be(found)))


@given(tasks, offers)
def test_never_above_capacity_never_twice_never_unsuited_and_never_left_out_without_need(
    tasks: list[Task], offers: list[Offer]
) -> None:
    placed = place(tasks, offers)
    used = Counter(each.offer.unit_id for each in placed)
    assert all(used[offer.unit_id] <= max(0, offer.capacity - offer.load) for offer in offers)
    assert len({each.task.id for each in placed}) == len(placed)
    assert all(each.offer.suits(each.task) for each in placed)
    left_out = [task for task in tasks if task.id not in {each.task.id for each in placed}]
    for task in left_out:
        assert not any(offer.suits(task) and offer.free > used[offer.unit_id] for offer in offers)


@given(tasks, offers)
def test_from_memory_goes_on_who_is_paused_and_held(tasks: list[Task], offers: list[Offer]) -> None:
    for each in place(tasks, offers):
        held = each.task.status is TaskStatus.PAUSED and each.task.id in each.offer.held
        assert each.held_attempt == (1 if held else None)


@given(tasks, offers)
def test_whoever_gets_a_task_that_it_does_not_hold_has_the_smallest_share_in_use(
    tasks: list[Task], offers: list[Offer]
) -> None:
    load = {offer.unit_id: offer.load for offer in offers}
    for each in place(tasks, offers):
        shares = {
            offer.unit_id: load[offer.unit_id] / offer.capacity
            for offer in offers
            if offer.suits(each.task) and offer.capacity > load[offer.unit_id]
        }
        if each.held_attempt is None:
            assert shares[each.offer.unit_id] == min(shares.values())
        load[each.offer.unit_id] += 1
