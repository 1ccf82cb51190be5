"""The registry: assignments and offers of units, and reasons for waiting."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import pytest
from support.builders import NOW, OTHER_UNIT_ID, TASK_TYPE, UNIT_ID, a_task, a_unit, at

from taskplane.server.core.task import Task, TaskStatus, Transition
from taskplane.server.core.unit import TaskTypeSupport, UnitStatus
from taskplane.server.execution_units.links.stream import StreamLink
from taskplane.server.execution_units.registry import Registry
from taskplane.server.execution_units.session import Session
from taskplane.server.execution_units.unit_entry import UnitEntry
from taskplane.server.execution_units.waiting import WaitingReason
from taskplane.server.tasks.unit_of_work import CommittedEvent

RUNNING = TaskStatus.RUNNING


def connect(registry: Registry, unit_id: str = UNIT_ID, **changes: Any) -> UnitEntry:
    """Connect a unit by a session that accepts work."""
    unit = registry.add(a_unit(unit_id, **changes))
    session = Session(f"session of {unit_id}", unit_id, "boot-1", StreamLink())
    registry.attach_session(unit, session)
    session.set_flags(welcomed=True)
    return unit


def moved(task: Task, *, deleted: bool = False) -> CommittedEvent:
    """Return the event of a task's last transition."""
    transition = Transition(task.id, None, task.status, NOW, "alice", "", task.attempt)
    return CommittedEvent(task, None if deleted else transition, deleted=deleted)


def a_running_task(task_id: int, unit_id: str = UNIT_ID, attempt: int = 1) -> Task:
    return a_task(RUNNING, id=task_id, execution_unit_id=unit_id, attempt=attempt)


@pytest.fixture
def registry() -> Registry:
    return Registry()


def loads(registry: Registry) -> dict[str, int]:
    return {unit.record.id: unit.view().current_load for unit in registry.all()}


def test_what_makes_no_checkpoints_is_offered_from_the_start(registry: Registry) -> None:
    support = {
        "A": TaskTypeSupport("A", can_pause=True),
        "B": TaskTypeSupport("B", can_checkpoint=True),
    }
    offer = connect(registry, task_types=support).offer()
    assert offer
    assert offer.from_the_start == frozenset({"A"})


def test_the_load_follows_the_commits(registry: Registry) -> None:
    connect(registry, UNIT_ID)
    connect(registry, OTHER_UNIT_ID)
    registry.on_commit([moved(a_running_task(1)), moved(a_running_task(2)), moved(a_running_task(3, OTHER_UNIT_ID))])
    assert loads(registry) == {UNIT_ID: 2, OTHER_UNIT_ID: 1}
    registry.on_commit([moved(a_task(TaskStatus.SUCCESS, id=1)), moved(a_task(TaskStatus.PAUSED, id=2))])
    assert loads(registry) == {UNIT_ID: 0, OTHER_UNIT_ID: 1}


def test_a_task_that_moves_on_is_counted_where_it_now_is(registry: Registry) -> None:
    connect(registry, UNIT_ID)
    connect(registry, OTHER_UNIT_ID)
    registry.on_commit([moved(a_running_task(1, UNIT_ID))])
    registry.on_commit([moved(a_task(TaskStatus.PAUSED, id=1)), moved(a_running_task(1, OTHER_UNIT_ID, attempt=2))])
    assert loads(registry) == {UNIT_ID: 0, OTHER_UNIT_ID: 1}


def test_what_changes_no_status_changes_no_load_and_what_is_deleted_holds_no_slot(registry: Registry) -> None:
    connect(registry)
    registry.on_commit([CommittedEvent(a_running_task(1))])
    assert loads(registry) == {UNIT_ID: 0}
    registry.on_commit([moved(a_running_task(1))])
    registry.on_commit([moved(a_running_task(1), deleted=True)])
    assert loads(registry) == {UNIT_ID: 0}


def test_after_a_restart_the_load_is_that_of_the_database() -> None:
    registry = Registry([a_unit(UNIT_ID, capacity=3)], [a_running_task(1), a_running_task(2, "a unit that is gone")])
    assert loads(registry) == {UNIT_ID: 1}
    registry.on_commit([moved(a_task(TaskStatus.SUCCESS, id=1))])
    assert loads(registry) == {UNIT_ID: 0}


def test_a_unit_shows_whether_it_can_be_given_work(registry: Registry) -> None:
    unit = registry.add(a_unit())
    assert unit.view().status is UnitStatus.OFFLINE
    unit = connect(registry)
    assert (unit.view().status, unit.view().session_id) == (UnitStatus.AVAILABLE, f"session of {UNIT_ID}")
    registry.on_commit([moved(a_running_task(1))])
    assert unit.view().status is UnitStatus.BUSY
    registry.detach_session(unit)
    assert (unit.view().status, unit.view().current_load) == (UnitStatus.OFFLINE, 1)


NO_OFFER: Mapping[str, Callable[[Session], None]] = {
    "not welcomed": lambda session: session.set_flags(welcomed=False),
    "not answering": lambda session: session.set_flags(is_responsive=False),
    "draining": lambda session: session.set_flags(draining=True),
}


@pytest.mark.parametrize("why", NO_OFFER)
def test_only_sessions_that_take_work_offer_slots(registry: Registry, why: str) -> None:
    unit = connect(registry)
    assert registry.slots.free([TASK_TYPE]) == 1
    assert unit.session
    NO_OFFER[why](unit.session)
    assert registry.slots.free([TASK_TYPE]) == 0


def test_only_connected_units_with_a_free_slot_offer_one(registry: Registry) -> None:
    connect(registry, "full")
    connect(registry, "quiet", capacity=0)
    registry.detach_session(connect(registry, "offline"))
    registry.remove(connect(registry, "gone").record.id)
    registry.on_commit([moved(a_running_task(1, "full"))])
    assert registry.slots.take(a_task(id=2)) is None
    registry.slots.assignments.free(1)  # like the transaction that ends the task
    found = registry.slots.take(a_task(id=2))
    assert found
    assert found.offer.unit_id == "full"


def test_an_offer_says_what_the_unit_accepts_and_has(registry: Registry) -> None:
    offer = connect(registry, capacity=5, labels={"gpu": "yes"}).offer()
    assert offer
    assert (offer.unit_id, offer.capacity) == (UNIT_ID, 5)
    assert offer.task_types == frozenset({TASK_TYPE})
    assert dict(offer.labels) == {"gpu": "yes"}


def test_the_slots_know_what_runs_and_what_is_held(registry: Registry) -> None:
    unit = connect(registry, capacity=5)
    connect(registry, OTHER_UNIT_ID, capacity=5)
    registry.on_commit([moved(a_running_task(1))])
    assert registry.slots.free([TASK_TYPE]) == 9
    registry.hold(unit, 2, 4)
    found = registry.slots.take(a_task(TaskStatus.PAUSED, id=2, attempt=4))
    assert found
    assert (found.offer.unit_id, found.held_attempt) == (UNIT_ID, 4)


def test_a_unit_that_connects_anew_keeps_its_running_tasks(registry: Registry) -> None:
    connect(registry, capacity=2)
    registry.on_commit([moved(a_running_task(1))])
    unit = connect(registry, capacity=5)
    assert (unit.view().current_load, unit.view().capacity) == (1, 5)


def test_what_is_held_is_held_until_it_is_released(registry: Registry) -> None:
    unit = connect(registry)
    paused = a_task(TaskStatus.PAUSED, attempt=4)
    registry.hold(unit, 1, 4)
    assert registry.is_held(paused)
    registry.release_if(1, UNIT_ID, attempt=3)
    registry.release_if(1, OTHER_UNIT_ID, attempt=4)
    assert registry.is_held(paused), "another attempt, or another unit, is another matter"
    assert registry.release(1) == (unit, 4)
    assert not registry.is_held(paused)
    assert registry.release(1) is None


def test_what_is_held_cannot_be_reached_while_the_unit_is_away(registry: Registry) -> None:
    unit = connect(registry)
    registry.hold(unit, 1, 1)
    registry.detach_session(unit)
    assert not registry.is_held(a_task(TaskStatus.PAUSED))
    connect(registry)
    assert not registry.is_held(a_task(TaskStatus.PAUSED)), "it has to say again what it holds"


def test_an_attempt_of_an_earlier_dispatch_is_not_held(registry: Registry) -> None:
    registry.hold(connect(registry), 1, 1)
    assert not registry.is_held(a_task(TaskStatus.PAUSED, attempt=2))


@pytest.mark.parametrize("can_pause", [True, False])
def test_who_cannot_pause_has_said_so(registry: Registry, *, can_pause: bool) -> None:
    connect(registry, can_pause=can_pause)
    assert registry.can_pause(a_running_task(1)) is can_pause
    assert not registry.can_pause(a_running_task(1, "never heard of"))
    assert not registry.can_pause(a_task(RUNNING, task_type="VIDEO"))


def reason(registry: Registry, task: Task, now: datetime = NOW) -> WaitingReason | None:
    waiting = registry.waiting(task, now)
    return waiting.reason if waiting else None


QUEUED = a_task(queued_at=NOW, unit_labels={"gpu": "yes"})


def test_what_does_not_want_to_run_does_not_wait(registry: Registry) -> None:
    assert reason(registry, a_task()) is None
    assert reason(registry, a_task(TaskStatus.PAUSED)) is None


def test_a_retry_waits_for_its_time(registry: Registry) -> None:
    connect(registry, labels={"gpu": "yes"})
    task = a_task(queued_at=NOW, not_before=at(10))
    waiting = registry.waiting(task, at(9))
    assert waiting
    assert waiting.reason is WaitingReason.RETRY_BACKOFF
    assert "2026-01-02T03:04:15" in waiting.message
    assert reason(registry, task, at(10)) is WaitingReason.DISPATCHING


def test_each_reason_comes_after_what_would_have_to_be_mended_first(registry: Registry) -> None:
    """Check all reasons, from no unit to a free slot: each step removes the reason before."""
    assert reason(registry, QUEUED) is WaitingReason.NO_UNIT_FOR_TYPE
    registry.add(a_unit("offline", labels={"gpu": "yes"}))
    connect(registry, "another type", task_types={"OTHER": TaskTypeSupport("OTHER")}, labels={"gpu": "yes"})
    assert reason(registry, QUEUED) is WaitingReason.NO_UNIT_FOR_TYPE
    connect(registry, "another label", labels={"gpu": "no"})
    assert reason(registry, QUEUED) is WaitingReason.NO_UNIT_WITH_LABELS
    leaving = connect(registry, "leaving", labels={"gpu": "yes"})
    assert leaving.session
    leaving.session.set_flags(draining=True)
    assert reason(registry, QUEUED) is WaitingReason.UNITS_DRAINING
    connect(registry, "quiet", labels={"gpu": "yes"}, capacity=0)
    connect(registry, "full", labels={"gpu": "yes"})
    registry.on_commit([moved(a_running_task(1, "full"))])
    assert reason(registry, QUEUED) is WaitingReason.UNITS_BUSY
    connect(registry, "free", labels={"gpu": "yes"})
    assert reason(registry, QUEUED) is WaitingReason.DISPATCHING


def test_the_message_says_what_would_help(registry: Registry) -> None:
    def message() -> str:
        waiting = registry.waiting(QUEUED, NOW)
        assert waiting
        return waiting.message

    assert message() == f"no connected unit accepts {TASK_TYPE}; start one"
    connect(registry, "a")
    assert message() == f"no unit for {TASK_TYPE} has the labels gpu=yes"
    connect(registry, "b", labels={"gpu": "yes"}, capacity=0)
    assert message() == f"all 0 slots for {TASK_TYPE} are in use"
    session = connect(registry, "b", labels={"gpu": "yes"}).session
    assert session
    session.set_flags(is_responsive=False)
    assert message() == f"no unit for {TASK_TYPE} answers at the moment"
