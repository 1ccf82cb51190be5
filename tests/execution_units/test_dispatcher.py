"""From the queue to a unit and back: dispatch, slots and drops."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from support.actions import do
from support.builders import ALICE, TASK_TYPE, a_spec
from support.connected_unit import ConnectedUnit

from taskplane.server.core.command import (
    CancelOrder,
    Command,
    DropOrder,
    PauseOrder,
    ResumeOrder,
    StartOrder,
    VerdictAction,
)
from taskplane.server.core.effect import Effect
from taskplane.server.core.errors import DropReason
from taskplane.server.core.reports import REJECTED_START_DELAY
from taskplane.server.core.task import Task, TaskStatus, Verb
from taskplane.server.core.unit import AttemptState, HeldAttempt
from taskplane.server.core.unit_report import Accepted, Paused, Rejected, Released, Succeeded
from taskplane.server.execution_units.manager import ExecutionUnitManager
from taskplane.server.execution_units.registry import Registry
from taskplane.server.store.store import Store
from taskplane.server.tasks.state_manager import TaskStateManager

Connect = Callable[..., Awaitable[ConnectedUnit]]
PAUSED = Paused(checkpoint=None, progress=None)


async def queue(states: TaskStateManager, *priorities: int) -> list[int]:
    """Create queued tasks, and return their ids."""
    specs = [a_spec(start=True, priority=priority) for priority in priorities or (0,)]
    return [task.id for task in await states.create(specs, ALICE)]


async def caller(states: TaskStateManager, registry: Registry, task_id: int, verb: Verb) -> Task:
    return await states.change(
        task_id, lambda task, now: do(verb, task, now, command_id=f"{verb}", is_held=registry.is_held(task))
    )


async def pause(unit: ConnectedUnit, states: TaskStateManager, registry: Registry, task_id: int) -> Command:
    """Pause a task, which its unit then holds in memory."""
    await caller(states, registry, task_id, Verb.PAUSE)
    (order,) = await unit.hears(1)
    assert isinstance(order.order, PauseOrder)
    await unit.says(order, PAUSED)
    return order


async def test_a_queued_task_is_started_at_the_unit(connect: Connect, states: TaskStateManager) -> None:
    unit = await connect()
    (task_id,) = await queue(states)
    (start,) = await unit.hears(1)
    assert (start.task_id, start.attempt) == (task_id, 1)
    assert isinstance(start.order, StartOrder)
    assert start.order.dispatch.task.status is TaskStatus.RUNNING


async def test_what_is_sent_is_durable(connect: Connect, states: TaskStateManager, store: Store) -> None:
    unit = await connect()
    await queue(states)
    (start,) = await unit.hears(1)
    stored = await store.get_task(start.task_id)
    assert stored
    assert (stored.status, stored.attempt, stored.execution_unit_id) == (TaskStatus.RUNNING, start.attempt, "unit-1")


async def test_the_highest_priority_runs_first_and_a_free_slot_gets_the_next(
    connect: Connect, states: TaskStateManager
) -> None:
    low, high, middle = await queue(states, 1, 9, 5)
    unit = await connect()
    order = []
    for _ in range(3):
        (start,) = await unit.hears(1)
        order.append(start.task_id)
        await unit.says(start, Succeeded(None))
    assert order == [high, middle, low]


async def test_no_unit_ever_gets_more_than_its_slots(
    connect: Connect, states: TaskStateManager, registry: Registry
) -> None:
    """Check the capacity after each message, under concurrent creates, successes and dispatches."""
    units = [await connect("unit-1", capacity=2), await connect("unit-2", capacity=3)]
    done = 0

    async def work(unit: ConnectedUnit, capacity: int) -> None:
        nonlocal done
        running: list[Command] = []
        while done < 60:
            running += await unit.hears(1)
            assert len(running) <= capacity
            while running:
                await unit.says(running.pop(), Succeeded(None))
                done += 1

    workers = [asyncio.create_task(work(unit, capacity)) for unit, capacity in zip(units, (2, 3), strict=True)]
    await asyncio.gather(*(queue(states, *range(10)) for _ in range(6)))
    await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
    for worker in workers:
        worker.cancel()
    outcomes = await asyncio.gather(*workers, return_exceptions=True)
    assert [each for each in outcomes if isinstance(each, AssertionError)] == []
    assert done == 60
    assert [unit.view().current_load for unit in registry.all()] == [0, 0]


async def test_a_paused_task_goes_on_at_its_holder_from_memory(
    connect: Connect, states: TaskStateManager, registry: Registry
) -> None:
    holder = await connect("holder")
    (task_id,) = await queue(states)
    await holder.hears(1)
    await pause(holder, states, registry, task_id)
    await connect("idle", capacity=9)
    await caller(states, registry, task_id, Verb.RESUME)
    (resume,) = await holder.hears(1)
    assert (resume.task_id, resume.attempt) == (task_id, 2)
    assert isinstance(resume.order, ResumeOrder)
    assert resume.order.held_attempt == 1


async def test_a_full_holder_is_told_to_drop_what_goes_on_elsewhere(
    connect: Connect, states: TaskStateManager, registry: Registry
) -> None:
    holder = await connect("holder")
    (task_id,) = await queue(states)
    await holder.hears(1)
    await pause(holder, states, registry, task_id)
    await queue(states)
    (other_start,) = await holder.hears(1)
    assert other_start.is_start
    other = await connect("other")
    await caller(states, registry, task_id, Verb.RESUME)
    (start,) = await other.hears(1)
    assert isinstance(start.order, StartOrder)
    assert (start.task_id, start.attempt) == (task_id, 2)
    (drop,) = await holder.hears(1)
    assert (drop.task_id, drop.attempt, drop.order) == (task_id, 1, DropOrder(DropReason.SUPERSEDED))


async def test_a_cancel_reaches_the_unit_that_holds_the_task(
    connect: Connect, states: TaskStateManager, registry: Registry
) -> None:
    unit = await connect()
    (task_id,) = await queue(states)
    await unit.hears(1)
    await pause(unit, states, registry, task_id)
    pending = await caller(states, registry, task_id, Verb.CANCEL)
    assert pending.status is TaskStatus.PAUSED
    (cancel,) = await unit.hears(1)
    assert isinstance(cancel.order, CancelOrder)


async def test_a_late_word_of_an_attempt_that_is_over_is_answered_with_a_drop(
    connect: Connect, states: TaskStateManager, registry: Registry, store: Store
) -> None:
    unit = await connect()
    (task_id,) = await queue(states)
    (start,) = await unit.hears(1)
    await states.lose("unit-1", {task_id: 1}, "unit lost")
    (drop, *_) = await unit.hears(1)
    assert drop.order == DropOrder(DropReason.SUPERSEDED)
    await unit.says(start, Succeeded({"too": "late"}))
    stored = await store.get_task(task_id)
    assert stored
    assert stored.result is None


async def test_a_refused_start_is_offered_again_without_a_retry(
    connect: Connect, states: TaskStateManager, store: Store
) -> None:
    unit = await connect()
    (task_id,) = await queue(states)
    (start,) = await unit.hears(1)
    await unit.says(start, Rejected("NO_SLOT", "busy"))
    stored = await store.get_task(task_id)
    assert stored
    assert (stored.status, stored.retry_count) == (TaskStatus.PENDING, 0)
    assert stored.not_before == stored.updated_at + REJECTED_START_DELAY
    (again,) = await unit.hears(1)
    assert (again.task_id, again.attempt) == (task_id, 2)


async def test_a_unit_that_refuses_is_not_sent_the_whole_backlog(
    connect: Connect, states: TaskStateManager, store: Store, registry: Registry
) -> None:
    unit = await connect()
    first, *others = await queue(states, 9, 1, 1)
    (start,) = await unit.hears(1)
    await unit.says(start, Rejected("NO_SLOT", "busy"))
    assert registry.slots.free([TASK_TYPE]) == 0
    for task_id in (first, *others):
        stored = await store.get_task(task_id)
        assert stored
        assert stored.status is TaskStatus.PENDING
    (again,) = await unit.hears(1)
    await unit.says(again, Succeeded(None))
    assert await unit.hears(1), "and then as before"


async def test_a_unit_that_stays_and_gives_everything_back_is_treated_as_one_that_refuses(
    connect: Connect, states: TaskStateManager, store: Store, registry: Registry
) -> None:
    unit = await connect()
    first, *others = await queue(states, 9, 1, 1)
    (start,) = await unit.hears(1)
    await unit.says(start, Accepted())
    await unit.says(start, Released(None, "not mine"))
    assert registry.slots.free([TASK_TYPE]) == 0
    stored = await store.get_task(first)
    assert stored
    assert stored.not_before == stored.updated_at + REJECTED_START_DELAY
    for task_id in others:
        waiting = await store.get_task(task_id)
        assert waiting
        assert waiting.status is TaskStatus.PENDING
    other = await connect("other")
    (elsewhere,) = await other.hears(1)
    await other.says(elsewhere, Succeeded(None))
    assert elsewhere.task_id in others


async def test_a_unit_that_gives_a_task_back_because_it_was_asked_to_pause_is_not_suspected(
    connect: Connect, states: TaskStateManager, registry: Registry, store: Store
) -> None:
    unit = await connect()
    (task_id,) = await queue(states)
    (start,) = await unit.hears(1)
    await unit.says(start, Accepted())
    await caller(states, registry, task_id, Verb.PAUSE)
    (order,) = await unit.hears(1)
    await unit.says(order, Accepted())
    await unit.says(order, Released(None, ""))
    assert registry.slots.free([TASK_TYPE]) == 1
    stored = await store.get_task(task_id)
    assert stored
    assert (stored.status, stored.queued_at, stored.not_before) == (TaskStatus.PAUSED, None, None)


async def test_a_leaving_unit_hands_its_task_on(
    connect: Connect, states: TaskStateManager, units: ExecutionUnitManager
) -> None:
    leaving = await connect("leaving")
    (task_id,) = await queue(states)
    (start,) = await leaving.hears(1)
    leaving.session.set_flags(draining=True)
    staying = await connect("staying")
    await leaving.says(start, Released(None, "bye"))
    moved_at = await states.change(task_id, lambda task, _: Effect(task))
    assert moved_at.not_before is None, "its unit is not to blame, so it waits for nothing"
    (moved,) = await staying.hears(1)
    assert (moved.task_id, moved.attempt) == (task_id, 2)
    await units.goodbye(leaving.session, "bye")


@pytest.mark.parametrize("is_accepted", [True, False])
async def test_an_attempt_that_is_left_behind_is_lost_at_once_and_costs_a_retry_if_it_was_accepted(
    connect: Connect, states: TaskStateManager, units: ExecutionUnitManager, store: Store, *, is_accepted: bool
) -> None:
    unit = await connect()
    (task_id,) = await queue(states)
    (start,) = await unit.hears(1)
    if is_accepted:
        await unit.says(start, Accepted())
    await units.goodbye(unit.session, "out of disk")
    history = await store.list_transitions(task_id, after_revision=0, limit=10)
    assert [each.to_status for each in history[-2:]] == [TaskStatus.FAILED, TaskStatus.PENDING]
    assert history[-2].reason == f"unit left: out of disk{'' if is_accepted else ', without having accepted it'}"
    stored = await store.get_task(task_id)
    assert stored
    assert stored.retry_count == int(is_accepted)


async def test_a_start_that_was_not_received_is_sent_with_the_next_session(
    connect: Connect, states: TaskStateManager, units: ExecutionUnitManager
) -> None:
    unit = await connect()
    await queue(states)
    (lost,) = await unit.hears(1)
    await units.disconnect(unit.session)
    again = await connect()
    (start,) = await again.hears(1)
    assert (start.command_id, start.attempt) == (lost.command_id, lost.attempt)


async def test_a_newer_session_takes_the_place_of_the_older_and_keeps_its_tasks(
    connect: Connect, states: TaskStateManager, units: ExecutionUnitManager
) -> None:
    older = await connect()
    (task_id,) = await queue(states)
    (start,) = await older.hears(1)
    await older.says(start, Accepted())
    newer = await connect(inventory=(HeldAttempt(task_id, 1, AttemptState.RUNNING),))
    assert [each.action for each in newer.welcome.verdicts] == [VerdictAction.KEEP]
    with pytest.raises(Exception, match="newer session"):
        await older.next()
    await units.disconnect(older.session)
    assert units.unit("unit-1").session_id == newer.session.session_id, "its late end does not concern the newer one"
    await newer.says(start, Succeeded(None))
