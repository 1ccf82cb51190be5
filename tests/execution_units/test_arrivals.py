"""Units that connect, leave and return during pending transactions."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy.util import await_only
from support.actions import do
from support.builders import ALICE, a_spec
from support.connected_unit import ConnectedUnit
from support.stored import before_commit, stored_unit

from taskplane.server.core import reports
from taskplane.server.core.command import (
    CancelOrder,
    DropOrder,
    PauseOrder,
    ResumeOrder,
    StartOrder,
    VerdictAction,
    drop_command,
)
from taskplane.server.core.errors import CommandPending, DatabaseUnavailable, DropReason, UnitInUse
from taskplane.server.core.fence import AttemptRef
from taskplane.server.core.task import Checkpoint, Task, TaskStatus, Verb
from taskplane.server.core.tuning import DEFAULT_TUNING
from taskplane.server.core.unit import AttemptState, DrainOrder, HeldAttempt, Unit
from taskplane.server.core.unit_report import Accepted, Paused, Rejected, Released, Succeeded
from taskplane.server.execution_units.leases import Leases
from taskplane.server.execution_units.manager import ExecutionUnitManager
from taskplane.server.execution_units.registry import Registry
from taskplane.server.store.store import Store
from taskplane.server.store.transaction import WriteTransaction
from taskplane.server.tasks.state_manager import TaskStateManager

Connect = Callable[..., Coroutine[Any, Any, ConnectedUnit]]


@pytest.fixture(autouse=True)
def nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make requeued tasks due at once."""
    monkeypatch.setattr(reports, "REJECTED_START_DELAY", reports.REJECTED_START_DELAY * 0)


async def create(states: TaskStateManager) -> int:
    (task,) = await states.create([a_spec(start=True)], ALICE)
    return task.id


@asynccontextmanager
async def committing(states: TaskStateManager) -> AsyncIterator["asyncio.Task[int]"]:
    """Create a task whose dispatch is decided, but not durable before the end of the context."""
    is_decided, may_commit = asyncio.Event(), asyncio.Event()

    def hold(_: WriteTransaction) -> None:
        is_decided.set()
        await_only(may_commit.wait())

    with before_commit(hold):
        creating = asyncio.create_task(create(states))
        await is_decided.wait()
        yield creating
        await asyncio.sleep(0)  # the calls of the context are pending
        may_commit.set()
        await creating


async def stored(store: Store, task_id: int) -> Task:
    task = await store.get_task(task_id)
    assert task
    return task


async def stored_drain(store: Store) -> DrainOrder | None:
    unit = await stored_unit(store, "unit-1")
    assert unit
    return unit.drain


def let_time_pass(registry: Registry, task_id: int) -> None:
    """Let more time pass than a unit has to accept a start."""
    known = registry.find("unit-1")
    assert known
    known.running[task_id].since -= DEFAULT_TUNING.accept_seconds + 1


async def caller(states: TaskStateManager, registry: Registry, task_id: int, verb: Verb) -> Task:
    return await states.change(
        task_id, lambda task, now: do(verb, task, now, command_id=f"{verb}", is_held=registry.is_held(task))
    )


async def cancel(states: TaskStateManager, task_id: int) -> None:
    await states.change(task_id, lambda task, now: do(Verb.CANCEL, task, now))


async def turns() -> None:
    """Let the started calls proceed until they wait for the database."""
    for _ in range(10):
        await asyncio.sleep(0)


async def paused(unit: ConnectedUnit, states: TaskStateManager, registry: Registry) -> int:
    """Create a task that the unit holds paused in memory."""
    task_id = await create(states)
    (start,) = await unit.hears(1)
    await unit.says(start, Accepted())
    await caller(states, registry, task_id, Verb.PAUSE)
    (order,) = await unit.hears(1)
    assert isinstance(order.order, PauseOrder)
    await unit.says(order, Paused(None, None))
    return task_id


async def test_the_start_for_a_process_that_is_gone_does_not_reach_the_next_one(
    connect: Connect, states: TaskStateManager, store: Store
) -> None:
    await connect()
    async with committing(states) as creating:
        connecting = asyncio.create_task(connect(boot_id="boot-2"))
    unit = await connecting
    (start,) = await unit.hears(1)
    assert (start.task_id, start.attempt) == (await creating, 2)
    assert isinstance(start.order, StartOrder)
    assert (await stored(store, start.task_id)).retry_count == 0


async def test_what_a_unit_is_told_when_it_connects_does_not_wait_for_its_record(
    connect: Connect,
    states: TaskStateManager,
    units: ExecutionUnitManager,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unit = await connect()
    task_id = await create(states)
    await units.disconnect(unit.session)
    is_asked, may_store = asyncio.Event(), asyncio.Event()
    save_units = store.save_units

    async def wait_and_save(records: list[Unit]) -> None:
        is_asked.set()
        await may_store.wait()
        await save_units(records)

    monkeypatch.setattr(store, "save_units", wait_and_save)
    connecting = asyncio.create_task(connect(capacity=2))
    await is_asked.wait()
    await cancel(states, task_id)
    await create(states)
    may_store.set()
    unit = await connecting
    first, second, third = await unit.hears(3)
    assert [type(each.order) for each in (first, second, third)] == [StartOrder, CancelOrder, StartOrder]
    assert (first.task_id, second.task_id) == (task_id, task_id)


async def test_a_cancel_does_not_overtake_the_start_that_is_sent_again(
    connect: Connect, states: TaskStateManager, units: ExecutionUnitManager
) -> None:
    unit = await connect()
    task_id = await create(states)
    await units.disconnect(unit.session)
    await cancel(states, task_id)
    unit = await connect()
    assert [type(each.order) for each in unit.commands] == [StartOrder, CancelOrder]


async def test_a_unit_that_was_away_has_time_to_accept_what_it_is_sent_again(
    connect: Connect, states: TaskStateManager, units: ExecutionUnitManager, store: Store, registry: Registry
) -> None:
    unit = await connect()
    task_id = await create(states)
    await units.disconnect(unit.session)
    let_time_pass(registry, task_id)
    await connect()
    await Leases(states, registry, lease_seconds=3600).check()
    assert (await stored(store, task_id)).status is TaskStatus.RUNNING


async def test_a_unit_that_accepts_an_attempt_that_is_over_is_told_to_drop_it(
    connect: Connect, states: TaskStateManager, registry: Registry
) -> None:
    unit = await connect()
    task_id = await create(states)
    (start,) = await unit.hears(1)
    await unit.says(start, Succeeded(None))
    await unit.says(start, Accepted())
    (drop,) = await unit.hears(1)
    assert (drop.key, drop.order) == ((task_id, 1), DropOrder(DropReason.FINISHED))
    await unit.says(drop, Accepted())
    assert not registry.slots.load("unit-1")


async def test_a_start_that_is_not_told_yet_is_taken_back_from_a_unit_that_leaves(
    connect: Connect, states: TaskStateManager, units: ExecutionUnitManager, store: Store
) -> None:
    unit = await connect()
    async with committing(states) as creating:
        leaving = asyncio.create_task(units.goodbye(unit.session, ""))
    await leaving
    task = await stored(store, await creating)
    assert (task.status, task.attempt, task.retry_count) == (TaskStatus.PENDING, 1, 0)


async def test_a_unit_is_not_forgotten_while_it_is_about_to_get_a_task(
    connect: Connect, states: TaskStateManager, units: ExecutionUnitManager
) -> None:
    unit = await connect()
    async with committing(states):
        parting = asyncio.create_task(units.disconnect(unit.session))
        await asyncio.sleep(0)
        with pytest.raises(UnitInUse):
            await units.delete_unit("unit-1")
    await parting
    assert units.unit("unit-1").current_load == 1


async def test_what_is_held_for_a_resume_that_is_refused_is_dropped(
    connect: Connect, states: TaskStateManager, registry: Registry
) -> None:
    unit = await connect()
    task_id = await paused(unit, states, registry)
    await caller(states, registry, task_id, Verb.RESUME)
    (resume,) = await unit.hears(1)
    assert isinstance(resume.order, ResumeOrder)
    await unit.says(resume, Rejected("NO_SLOT", ""))
    drop, start = await unit.hears(2)
    assert (drop.key, drop.order) == ((task_id, 1), DropOrder(DropReason.SUPERSEDED))
    assert (start.key, type(start.order)) == ((task_id, 3), StartOrder)


async def test_what_is_held_for_a_resume_that_is_not_accepted_in_time_is_dropped(
    connect: Connect, states: TaskStateManager, registry: Registry
) -> None:
    unit = await connect()
    task_id = await paused(unit, states, registry)
    await caller(states, registry, task_id, Verb.RESUME)
    await unit.hears(1)
    let_time_pass(registry, task_id)
    await Leases(states, registry, lease_seconds=3600).check()
    assert {drop.key for drop in await unit.hears(2)} == {(task_id, 1), (task_id, 2)}


async def test_a_task_that_is_over_is_held_by_nobody(
    connect: Connect, states: TaskStateManager, registry: Registry
) -> None:
    unit = await connect()
    task_id = await paused(unit, states, registry)
    cancelled = await states.change(
        task_id, lambda task, now: reports.cancelled(task, AttemptRef("unit-1", 1), now, message="")
    )
    assert not registry.is_held(cancelled)
    known = registry.find("unit-1")
    assert known
    assert known.assignments.held == {}


async def test_a_paused_task_that_is_given_back_keeps_the_checkpoint_that_comes_with_it(
    connect: Connect, states: TaskStateManager, registry: Registry, store: Store
) -> None:
    unit = await connect()
    task_id = await paused(unit, states, registry)
    before = await stored(store, task_id)
    given_back = Released(Checkpoint(7, 1, before.updated_at, {"row": 7}), "")
    await unit.says(drop_command(task_id, 1, DropReason.SUPERSEDED), given_back)
    after = await stored(store, task_id)
    assert (after.status, after.last_checkpoint_number) == (TaskStatus.PAUSED, 7)
    assert not registry.is_held(after)


async def test_a_drain_is_asked_for_again_when_the_stream_breaks(
    connect: Connect, states: TaskStateManager, units: ExecutionUnitManager, store: Store
) -> None:
    unit = await connect()
    task_id = await create(states)
    (start,) = await unit.hears(1)
    await unit.says(start, Accepted())
    drain = DrainOrder(9.0, actor="alice", reason="a new disk")
    await units.drain("unit-1", drain, wait_seconds=0)
    assert (await unit.next()).drain == drain
    await units.disconnect(unit.session)
    with pytest.raises(CommandPending):
        await units.drain("unit-1", drain, wait_seconds=0.06)
    held = [HeldAttempt(task_id, 1, AttemptState.RUNNING)]
    unit = await connect(inventory=held)
    assert unit.drain == drain
    assert units.unit("unit-1").draining
    await unit.says(start, Released(None, ""))
    await units.goodbye(unit.session, "")
    await units.disconnect(unit.session)
    assert await stored_drain(store) is None
    assert not (await units.drain("unit-1", drain, wait_seconds=9)).draining
    given_back = (await store.list_transitions(task_id, after_revision=0, limit=10))[-1]
    assert (given_back.changed_by, given_back.reason) == ("alice", "a new disk; released by the unit")


async def test_a_drain_is_of_one_process_and_not_of_the_next(
    connect: Connect, units: ExecutionUnitManager, store: Store
) -> None:
    unit = await connect()
    await units.drain("unit-1", DrainOrder(), wait_seconds=0)
    await units.disconnect(unit.session)
    assert await stored_drain(store) == DrainOrder()
    await connect(boot_id="boot-2")
    assert not units.unit("unit-1").draining
    assert await stored_drain(store) is None


async def test_a_unit_that_is_out_of_reach_without_a_task_is_asked_to_drain_when_it_is_back(
    connect: Connect, units: ExecutionUnitManager, store: Store
) -> None:
    unit = await connect()
    await units.disconnect(unit.session)
    await units.drain("unit-1", DrainOrder(7.0), wait_seconds=9)
    assert await stored_drain(store) == DrainOrder(7.0)
    assert (await connect()).drain == DrainOrder(7.0)
    assert units.unit("unit-1").draining


async def test_a_drain_that_is_ordered_while_the_next_process_connects_is_of_that_one(
    connect: Connect, states: TaskStateManager, units: ExecutionUnitManager, store: Store
) -> None:
    await connect()
    async with committing(states):
        connecting = asyncio.create_task(connect(boot_id="boot-2"))
        await asyncio.sleep(0)
        draining = asyncio.create_task(units.drain("unit-1", DrainOrder(7.0), wait_seconds=0))
    unit = await connecting
    await draining
    assert await stored_drain(store) == DrainOrder(7.0)
    await units.disconnect(unit.session)
    assert (await connect(boot_id="boot-2")).drain == DrainOrder(7.0)


async def test_a_drain_is_not_forgotten_when_the_stream_breaks_while_it_is_stored(
    connect: Connect, states: TaskStateManager, units: ExecutionUnitManager, store: Store
) -> None:
    unit = await connect()
    await create(states)
    await asyncio.gather(units.drain("unit-1", DrainOrder(), wait_seconds=0), units.disconnect(unit.session))
    assert await stored_drain(store) == DrainOrder()


async def test_a_drain_that_cannot_be_stored_is_not_begun(
    connect: Connect, units: ExecutionUnitManager, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def be_away(_: list[Unit]) -> None:
        raise DatabaseUnavailable

    unit = await connect()
    with monkeypatch.context() as patch:
        patch.setattr(store, "save_units", be_away)
        with pytest.raises(DatabaseUnavailable):
            await units.drain("unit-1", DrainOrder(), wait_seconds=9)
    assert not units.unit("unit-1").draining
    await units.disconnect(unit.session)
    assert (await connect()).drain is None


@pytest.mark.parametrize("refuses", [True, False])
async def test_a_task_that_a_unit_did_not_take_goes_to_another(
    connect: Connect, states: TaskStateManager, registry: Registry, *, refuses: bool
) -> None:
    bad, good = await connect("unit-1"), await connect("unit-2")
    task_id = await create(states)
    (start,) = await bad.hears(1)
    if refuses:
        await bad.says(start, Rejected("NO_SLOT", ""))
    else:
        let_time_pass(registry, task_id)
        await Leases(states, registry, lease_seconds=3600).check()
    (again,) = await good.hears(1)
    assert again.key == (task_id, 2)


async def test_what_a_unit_holds_is_dropped_if_it_is_resumed_elsewhere_while_the_unit_connects(
    connect: Connect, states: TaskStateManager, registry: Registry, units: ExecutionUnitManager
) -> None:
    unit = await connect()
    task_id = await paused(unit, states, registry)
    await units.disconnect(unit.session)
    await connect("unit-2", capacity=2)
    async with committing(states):
        # Both wait for the pending transaction, and share the next one.
        coming = asyncio.create_task(connect(inventory=(HeldAttempt(task_id, 1, AttemptState.PAUSED),)))
        await turns()
        resuming = asyncio.create_task(states.change(task_id, lambda task, now: do(Verb.RESUME, task, now)))
        await turns()
    unit = await coming
    assert (await resuming).execution_unit_id == "unit-2"
    assert [verdict.action for verdict in unit.welcome.verdicts] == [VerdictAction.PAUSE]
    (drop,) = await unit.hears(1)
    assert (drop.key, drop.order) == ((task_id, 1), DropOrder(DropReason.SUPERSEDED))
