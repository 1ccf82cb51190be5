"""Assignments that differ from the table, whatever the cause: a unit's next welcome corrects them."""

import logging
from collections.abc import Awaitable, Callable

import pytest
from builders import ALICE, a_spec, a_task
from connected_unit import ConnectedUnit

from taskplane.server.core.task import TaskStatus
from taskplane.server.core.unit import AttemptState, HeldAttempt
from taskplane.server.core.unit_report import Accepted
from taskplane.server.tasks.state_manager import TaskStateManager
from taskplane.server.units.registry import Registry

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
