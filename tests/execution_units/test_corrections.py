"""Assignments that differ from the table are corrected by the unit's next welcome, or by the assignment check."""

import logging
from collections.abc import Awaitable, Callable

import pytest
from support.builders import ALICE, a_spec, a_task
from support.connected_unit import ConnectedUnit

from taskplane.server.core.task import TaskStatus
from taskplane.server.core.unit import AttemptState, HeldAttempt
from taskplane.server.core.unit_report import Accepted, Succeeded
from taskplane.server.execution_units.assignment_check import UNKNOWN_UNIT, AssignmentCheck
from taskplane.server.execution_units.registry import Registry
from taskplane.server.store.store import Store
from taskplane.server.tasks.state_manager import TaskStateManager

Connect = Callable[..., Awaitable[ConnectedUnit]]


async def queue(states: TaskStateManager) -> int:
    (task,) = await states.create([a_spec(start=True)], ALICE)
    return task.id


async def test_a_slot_that_was_lost_is_free_after_the_units_next_welcome(
    connect: Connect, states: TaskStateManager, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    await connect()
    registry.slots.assignments.started(a_task(TaskStatus.RUNNING, id=99))
    task_id = await queue(states)
    with caplog.at_level(logging.WARNING):
        unit = await connect()
        (start,) = await unit.hears(1)
    assert start.task_id == task_id
    assert "corrected the slots of unit unit-1: task 99 attempt 1 has a slot" in caplog.text
    assert [*registry.slots.assignments.of("unit-1").running] == [task_id]


async def test_an_attempt_that_was_forgotten_takes_its_slot_again_at_the_next_welcome(
    connect: Connect, states: TaskStateManager, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    unit = await connect()
    task_id = await queue(states)
    (start,) = await unit.hears(1)
    await unit.says(start, Accepted())
    registry.slots.assignments.ended(task_id, 1, stays_held=False)
    with caplog.at_level(logging.WARNING):
        await connect(inventory=(HeldAttempt(task_id, 1, AttemptState.RUNNING),))
    known = registry.find("unit-1")
    assert known
    assert (known.view().current_load, registry.slots.load("unit-1")) == (1, 1)
    assert known.running[task_id].accepted
    assert f"task {task_id} attempt 1 has no slot" in caplog.text


async def test_a_welcome_finds_nothing_to_correct_where_there_is_nothing(
    connect: Connect, states: TaskStateManager, caplog: pytest.LogCaptureFixture
) -> None:
    unit = await connect(capacity=2)
    await queue(states)
    (start,) = await unit.hears(1)
    await unit.says(start, Accepted())
    with caplog.at_level(logging.WARNING):
        await connect(capacity=2, inventory=(HeldAttempt(start.task_id, 1, AttemptState.RUNNING),))
    assert "corrected" not in caplog.text


async def test_the_check_corrects_what_differs_twice(
    connect: Connect, states: TaskStateManager, registry: Registry, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    unit = await connect(capacity=2)
    registry.slots.assignments.started(a_task(TaskStatus.RUNNING, id=99))
    task_id = await queue(states)
    await unit.hears(1)
    waiting = await queue(states)
    check = AssignmentCheck(states, store, registry)
    await check.check()
    assert registry.slots.load("unit-1") == 2, "a transaction may be on its way"
    with caplog.at_level(logging.WARNING):
        await check.check()
    assert "corrected the slots of unit unit-1: task 99 attempt 1 has a slot" in caplog.text
    (start,) = await unit.hears(1)
    assert start.task_id == waiting
    assert {*registry.slots.assignments.of("unit-1").in_slots} == {task_id, waiting}


async def test_the_check_ends_what_is_only_heard_of_as_running(
    connect: Connect, states: TaskStateManager, registry: Registry, store: Store
) -> None:
    await connect()
    registry.slots.assignments.started(a_task(TaskStatus.RUNNING, id=99))
    registry.slots.assignments.free(99)
    check = AssignmentCheck(states, store, registry)
    for _ in range(2):
        await check.check()
    known = registry.find("unit-1")
    assert known
    assert known.view().current_load == 0


async def test_the_check_takes_tasks_from_units_that_nobody_knows(
    connect: Connect, states: TaskStateManager, registry: Registry, store: Store
) -> None:
    unit = await connect()
    task_id = await queue(states)
    (start,) = await unit.hears(1)
    await unit.says(start, Accepted())
    registry.remove("unit-1")
    check = AssignmentCheck(states, store, registry)
    for _ in range(2):
        await check.check()
    history = await store.list_transitions(task_id, after_revision=0, limit=9)
    assert [each.to_status for each in history[-2:]] == [TaskStatus.FAILED, TaskStatus.PENDING]
    assert history[-2].reason == UNKNOWN_UNIT


async def test_the_check_writes_nothing_where_there_is_nothing_to_correct(
    connect: Connect, states: TaskStateManager, registry: Registry, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    unit = await connect(capacity=2)
    for _ in range(2):
        await queue(states)
        await unit.hears(1)
    before = await store.latest_revision()
    check = AssignmentCheck(states, store, registry)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await check.check()
    assert caplog.text == ""
    assert await store.latest_revision() == before


async def test_the_check_finds_a_queued_task_that_was_forgotten(
    connect: Connect, states: TaskStateManager, registry: Registry, store: Store
) -> None:
    unit = await connect()
    await queue(states)
    (start,) = await unit.hears(1)
    await unit.says(start, Accepted())
    forgotten = await queue(states)
    registry.slots.scan.task_queue.discard(forgotten)
    await unit.says(start, Succeeded(None))
    await states.fill_slots()
    task = await store.get_task(forgotten)
    assert task
    assert task.status is TaskStatus.PENDING
    await AssignmentCheck(states, store, registry).check()
    (start,) = await unit.hears(1)
    assert start.task_id == forgotten
