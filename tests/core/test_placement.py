"""Placement: the unit of each task, and the free slots."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st
from support.builders import NOW, TASK_TYPE, a_checkpoint, a_task, an_offer, at

from taskplane.server.core.placement import Offer, Placement, Slots, is_due
from taskplane.server.core.task import Limits, Task, TaskStatus
from taskplane.server.core.task_queue import FRONT, QueuedTask, kind_of

# Running tasks of other tests' units.
OTHERS = 1_000


def slots_of(*offers: Offer, loads: Mapping[str, int] | None = None, held: Mapping[int, str] | None = None) -> Slots:
    """Return the slots of units; `loads` are slots in use, `held` maps units to tasks whose attempt 4 they hold."""
    slots = Slots()
    others = iter(range(OTHERS, 2 * OTHERS))
    for unit_id, load in (loads or {}).items():
        for _ in range(load):
            occupy(slots, next(others), unit_id)
    for task_id, unit_id in (held or {}).items():
        slots.assignments.hold(task_id, 4, unit_id)
    for offer in offers:
        slots.offer(offer)
    return slots


def occupy(slots: Slots, task_id: int, unit_id: str) -> None:
    """Let attempt 1 of a task run on a unit."""
    slots.assignments.started(a_task(TaskStatus.RUNNING, id=task_id, execution_unit_id=unit_id))


def vacate(slots: Slots, task_id: int) -> None:
    """End a task in an unpublished transaction."""
    slots.assignments.free(task_id)


def placed(slots: Slots, *tasks: Task) -> list[Placement]:
    return [each for task in tasks if (each := slots.take(task))]


def who_gets(slots: Slots, *tasks: Task) -> list[tuple[int, str]]:
    return [(each.task.id, each.offer.unit_id) for each in placed(slots, *tasks)]


def paused(task_id: int = 1, **changes: object) -> Task:
    return a_task(TaskStatus.PAUSED, **{"id": task_id, "attempt": 4, **changes})


def test_only_what_is_queued_and_whose_time_has_come_is_due() -> None:
    assert is_due(a_task(queued_at=NOW), NOW)
    assert is_due(paused(queued_at=NOW), NOW)
    assert not is_due(a_task(), NOW)
    assert not is_due(a_task(TaskStatus.RUNNING, queued_at=NOW), NOW)
    assert not is_due(a_task(queued_at=NOW, not_before=at(5)), at(4))
    assert is_due(a_task(queued_at=NOW, not_before=at(5)), at(5))
    assert is_due(a_task(queued_at=NOW, limits=Limits(deadline=at(5))), at(4))
    assert not is_due(a_task(queued_at=NOW, limits=Limits(deadline=at(5))), at(5)), "it is about to be cancelled"


def test_the_smallest_share_of_capacity_in_use_wins() -> None:
    slots = slots_of(an_offer("half", capacity=2), an_offer("third", capacity=9), loads={"half": 1, "third": 3})
    assert who_gets(slots, a_task()) == [(1, "third")]


def test_what_was_just_taken_counts_as_load() -> None:
    slots = slots_of(an_offer("a", capacity=2), an_offer("b", capacity=2))
    found = who_gets(slots, *(a_task(id=task_id) for task_id in range(1, 6)))
    assert Counter(unit for _, unit in found) == {"a": 2, "b": 2}


def test_a_unit_with_capacity_0_is_quiet() -> None:
    assert who_gets(slots_of(an_offer(capacity=0)), a_task()) == []


def test_a_unit_with_more_tasks_than_slots_gets_nothing() -> None:
    slots = slots_of(an_offer("a", capacity=1), loads={"a": 3})
    assert who_gets(slots, a_task()) == []
    vacate(slots, OTHERS)
    vacate(slots, OTHERS + 1)
    assert who_gets(slots, a_task()) == []
    vacate(slots, OTHERS + 2)
    assert who_gets(slots, a_task()) == [(1, "a")]


def test_a_task_goes_only_where_its_type_is_accepted() -> None:
    assert who_gets(slots_of(an_offer()), a_task(task_type="VIDEO")) == []


def test_a_task_goes_only_where_all_its_labels_are() -> None:
    task = a_task(unit_labels={"gpu": "yes", "zone": "b"})
    slots = slots_of(
        an_offer("no labels"),
        an_offer("one of two", labels={"gpu": "yes"}),
        an_offer("another value", labels={"gpu": "yes", "zone": "a"}),
    )
    assert who_gets(slots, task) == []
    slots.offer(an_offer("both and more", labels={"gpu": "yes", "zone": "b", "os": "linux"}))
    assert who_gets(slots, task) == [(1, "both and more")]


def test_who_takes_no_work_any_more_gets_none_and_keeps_what_it_has() -> None:
    slots = slots_of(an_offer("a", capacity=2), loads={"a": 1})
    assert slots.fits_now(a_task())
    slots.withdraw("a")
    assert not slots.fits_now(a_task())
    assert slots.free([TASK_TYPE]) == 0
    slots.offer(an_offer("a", capacity=2))
    assert slots.free([TASK_TYPE]) == 1


def test_what_a_unit_offers_now_takes_the_place_of_what_it_offered() -> None:
    slots = slots_of(an_offer("a", capacity=5))
    assert slots.fits_now(a_task())
    slots.offer(an_offer("a", capacity=2, task_types=frozenset({"VIDEO"})))
    assert not slots.fits_now(a_task())
    assert (slots.free([TASK_TYPE]), slots.free(["VIDEO"])) == (0, 2)


def test_a_task_is_in_one_slot_however_often_that_is_said() -> None:
    slots = slots_of(an_offer("a"), an_offer("b"))
    occupy(slots, 7, "a")
    occupy(slots, 7, "a")
    assert slots.free([TASK_TYPE]) == 1
    slots.assignments.started(a_task(TaskStatus.RUNNING, id=7, attempt=2, execution_unit_id="b"))
    assert who_gets(slots, a_task()) == [(1, "a")]
    vacate(slots, 7)
    vacate(slots, 7)
    assert who_gets(slots, a_task(id=2), a_task(id=3)) == [(2, "b")]


def test_a_paused_task_goes_back_to_its_holder_even_if_that_is_busier() -> None:
    holder = an_offer("holder", capacity=10)
    slots = slots_of(an_offer("idle", capacity=10), holder, loads={"holder": 9}, held={1: "holder"})
    assert placed(slots, paused()) == [Placement(paused(), holder, held_attempt=4)]


def test_a_full_holder_does_not_keep_a_task_waiting() -> None:
    idle = an_offer("idle")
    slots = slots_of(an_offer("holder"), idle, loads={"holder": 1}, held={1: "holder"})
    assert placed(slots, paused()) == [Placement(paused(), idle)]


def test_only_the_holder_of_the_newest_attempt_and_checkpoint_continues_from_memory() -> None:
    holder = an_offer("holder", capacity=9)
    slots = slots_of(holder, held={1: "holder"})
    newest = paused(checkpoint=a_checkpoint(7), last_checkpoint_number=7)
    older = paused(checkpoint=a_checkpoint(6), last_checkpoint_number=7)
    anew = a_task(TaskStatus.PENDING, attempt=4)
    assert placed(slots, newest) == [Placement(newest, holder, held_attempt=4)]
    for task in (older, anew, paused(attempt=5)):
        assert placed(slots, task) == [Placement(task, holder)]
    slots.assignments.release(1)
    assert placed(slots, newest) == [Placement(newest, holder)]


def test_what_a_transaction_took_is_free_again_if_it_fails_and_what_others_took_is_not() -> None:
    slots = slots_of(an_offer("a", capacity=4))
    placed(slots, a_task(id=1))
    taken = placed(slots, a_task(id=2), a_task(id=3))
    assert slots.free([TASK_TYPE]) == 1
    slots.undo(taken, [])
    assert slots.free([TASK_TYPE]) == 3
    slots.undo([], [])
    assert slots.free([TASK_TYPE]) == 3


def test_what_a_transaction_freed_is_in_use_again_if_it_fails() -> None:
    """By then another task may be in the slot, or the same task elsewhere."""
    slots = slots_of(an_offer("a"), an_offer("b"))
    occupy(slots, 1, "a")
    freed = slots.assignments.free(1)
    assert freed
    assert freed.unit_id == "a"
    assert slots.assignments.free(1) is None
    taken = placed(slots, a_task(id=2), a_task(id=1, attempt=1))
    assert [each.offer.unit_id for each in taken] == ["a", "b"]
    slots.undo(taken, [freed])
    assert who_gets(slots, a_task(id=3), a_task(id=4)) == [(3, "b")]


def test_after_a_failure_nothing_is_taken_as_known() -> None:
    slots = slots_of(an_offer("a"))
    look_at_all(slots, [])
    slots.undo([], [])
    assert slots.scan.types() == {TASK_TYPE}
    assert slots.scan.task_queue.labels(TASK_TYPE) is None


def look_at_all(slots: Slots, waiting: list[Task]) -> None:
    """Scan the whole queue of these types."""
    task_queue = slots.scan.task_queue
    first = sorted(QueuedTask.of(task.but(queued_at=NOW)) for task in waiting)
    task_queue.learn(slots.scan.start(), FRONT, first, is_whole=True, age=task_queue.age)


def test_types_are_scanned_when_a_slot_is_free_and_a_task_may_be_queued() -> None:
    slots = slots_of(an_offer("a"))
    assert slots.scan.types() == {TASK_TYPE}
    look_at_all(slots, [])
    assert slots.scan.types() == set()
    occupy(slots, 7, "a")
    vacate(slots, 7)
    assert slots.scan.types() == set(), "nothing waits for the slot"
    slots.scan.reset()
    assert slots.scan.types() == {TASK_TYPE}


def test_a_freed_slot_calls_for_a_scan_if_a_queued_task_may_fit() -> None:
    slots = slots_of(an_offer("a"), an_offer("b", labels={"gpu": "yes"}))
    look_at_all(slots, [a_task(unit_labels={"gpu": "yes"})])
    occupy(slots, 1, "a")
    occupy(slots, 2, "b")
    vacate(slots, 1)
    assert slots.scan.types() == set(), "the unit that is free has not the labels"
    vacate(slots, 2)
    assert slots.scan.types() == {TASK_TYPE}


def test_a_call_for_a_scan_is_over_when_its_slot_is_taken() -> None:
    """Otherwise every transaction would scan all types of all former units."""
    slots = slots_of(an_offer("a", labels={"gpu": "yes"}))
    look_at_all(slots, [a_task(unit_labels={"gpu": "yes"})])
    occupy(slots, 1, "a")
    vacate(slots, 1)
    assert slots.scan.types() == {TASK_TYPE}
    slots.withdraw("a")
    assert slots.scan.start() == set()
    slots.offer(an_offer("b"))
    assert slots.scan.types() == set(), "the unit that is free has not the labels"
    slots.offer(an_offer("a", labels={"gpu": "yes"}))
    assert slots.scan.types() == {TASK_TYPE}


def test_types_with_an_unknown_queue_are_scanned_at_every_free_slot() -> None:
    slots = slots_of(an_offer("a"))
    slots.scan.start()
    occupy(slots, 1, "a")
    vacate(slots, 1)
    assert slots.scan.types() == {TASK_TYPE}


def test_a_slot_that_opens_during_a_scan_calls_for_another() -> None:
    slots = slots_of(an_offer("a", capacity=2), loads={"a": 1})
    assert slots.scan.start() == {TASK_TYPE}
    assert who_gets(slots, a_task(id=1), a_task(id=2)) == [(1, "a")]
    assert slots.scan.types() == set(), "what is taken meanwhile is no news"
    vacate(slots, OTHERS)
    assert slots.scan.types() == {TASK_TYPE}


def test_a_scan_continues_to_its_end_and_a_slot_opened_since_calls_for_another() -> None:
    slots = slots_of(an_offer("a", capacity=3), loads={"a": 1})
    assert slots.scan.start() == {TASK_TYPE}
    slots.scan.continue_later([TASK_TYPE])
    vacate(slots, OTHERS)
    assert slots.scan.start() == {TASK_TYPE}, "it goes on"
    assert slots.scan.start() == {TASK_TYPE}, "it may have been past what waits for the slot that opened"
    assert slots.scan.start() == set()


def test_kinds_that_fit_are_known_by_their_requested_labels() -> None:
    slots = slots_of(an_offer("a", labels={"gpu": "yes"}))
    kinds = [kind_of(a_task(unit_labels=labels)) for labels in ({}, {"gpu": "yes"}, {"tpu": "yes"})]
    assert [slots.kind_fits_now(kind) for kind in kinds] == [True, True, False]
    occupy(slots, 9, "a")
    assert [slots.kind_fits_now(kind) for kind in kinds] == [False, False, False]


def test_a_task_that_came_to_wait_later_is_remembered_too() -> None:
    slots = slots_of(an_offer("a"))
    look_at_all(slots, [])
    occupy(slots, 1, "a")
    slots.scan.task_queue.put(QueuedTask.of(a_task(queued_at=NOW)))
    vacate(slots, 1)
    assert slots.scan.types() == {TASK_TYPE}


@dataclass
class Fleet:
    """Units with the tasks in their slots, and the tasks that each holds in memory."""

    offers: list[Offer]
    loads: dict[str, int]
    held: dict[int, str]

    def slots(self) -> Slots:
        return slots_of(*self.offers, loads=self.loads, held=self.held)

    def free(self, offer: Offer) -> int:
        return max(0, offer.capacity - self.loads[offer.unit_id])


def a_fleet(found: Iterable[tuple[Offer, int, frozenset[int]]]) -> Fleet:
    """Name the units, and give each held task to the first unit that claims it."""
    fleet = Fleet([], {}, {})
    for number, (offer, load, held) in enumerate(found):
        unit_id = f"unit-{number}"
        fleet.offers.append(replace(offer, unit_id=unit_id))
        fleet.loads[unit_id] = load
        fleet.held = dict.fromkeys(held, unit_id) | fleet.held
    return fleet


labels = st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy"), max_size=2)
types = st.sampled_from([TASK_TYPE, "VIDEO"])
tasks = st.lists(
    st.builds(
        lambda status, each, wanted: a_task(status, task_type=each, unit_labels=wanted, attempt=4),
        st.sampled_from([TaskStatus.PENDING, TaskStatus.PAUSED]),
        types,
        labels,
    ),
    max_size=12,
).map(lambda found: [replace(task, id=number) for number, task in enumerate(found, 1)])
offers = st.builds(
    lambda capacity, accepted, has: an_offer(capacity=capacity, task_types=accepted, labels=has),
    st.integers(0, 4),
    st.frozensets(types),
    labels,
)
fleets = st.lists(st.tuples(offers, st.integers(0, 5), st.frozensets(st.integers(1, 12), max_size=3)), max_size=4).map(
    a_fleet
)


@given(tasks, fleets)
def test_never_above_capacity_never_unsuited_and_never_left_out_without_need(tasks: list[Task], fleet: Fleet) -> None:
    found = placed(fleet.slots(), *tasks)
    used = Counter(each.offer.unit_id for each in found)
    assert all(used[offer.unit_id] <= fleet.free(offer) for offer in fleet.offers)
    assert all(each.offer.suits(kind_of(each.task)) for each in found)
    for task in tasks:
        if task.id not in {each.task.id for each in found}:
            assert not any(
                offer.suits(kind_of(task)) and fleet.free(offer) > used[offer.unit_id] for offer in fleet.offers
            )


@given(tasks, fleets)
def test_a_paused_and_held_task_continues_from_memory(tasks: list[Task], fleet: Fleet) -> None:
    for each in placed(fleet.slots(), *tasks):
        is_held = each.task.status is TaskStatus.PAUSED and fleet.held.get(each.task.id) == each.offer.unit_id
        assert each.held_attempt == (4 if is_held else None)


@given(tasks, fleets)
def test_whoever_gets_a_task_that_it_does_not_hold_has_the_smallest_share_in_use(
    tasks: list[Task], fleet: Fleet
) -> None:
    def shares(task: Task) -> Iterator[tuple[bool, float]]:
        for offer in fleet.offers:
            if offer.suits(kind_of(task)) and fleet.free(offer):
                yield share(offer)

    def share(offer: Offer) -> tuple[bool, float]:
        """Order units that accept every type after units that name the type."""
        return not offer.task_types, fleet.loads[offer.unit_id] / offer.capacity

    slots = fleet.slots()
    for task in tasks:
        smallest = min(shares(task), default=None)
        if found := slots.take(task):
            unit_id = found.offer.unit_id
            assert found.held_attempt or share(found.offer) == smallest
            fleet.loads[unit_id] += 1


@given(tasks, fleets)
def test_what_is_undone_leaves_no_trace(tasks: list[Task], fleet: Fleet) -> None:
    slots = fleet.slots()
    before = placed(slots, *tasks)
    slots.undo(before, [])
    assert placed(slots, *tasks) == before


@given(tasks, fleets)
def test_what_has_room_where_it_is_held_is_of_a_kind_that_has_room(tasks: list[Task], fleet: Fleet) -> None:
    slots = fleet.slots()
    for task in tasks:
        assert slots.fits_now(task) == slots.kind_fits_now(kind_of(task))


def test_a_unit_of_every_type_calls_for_a_scan_of_all_types_maybe_queued() -> None:
    slots = slots_of()
    slots.scan.task_queue.add_types(["A", "B"])
    slots.offer(an_offer("a", task_types=frozenset()))
    assert slots.scan.start() == {"A", "B"}
    slots.scan.task_queue.learn(["A", "B"], FRONT, [], is_whole=True, age=0)
    assert slots.scan.start() == frozenset()
    slots.offer(an_offer("b", task_types=frozenset()))
    assert slots.scan.start() == frozenset(), "nothing waits of either"
    slots.scan.reset()
    assert slots.scan.start() == {"A", "B"}, "since that is not certain any more"
