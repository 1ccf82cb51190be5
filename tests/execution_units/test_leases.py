"""Leases: tasks of silent units, and unaccepted starts, move to other units."""

from collections.abc import Awaitable, Callable, Sequence

import pytest
from support.builders import ALICE, NOW, a_spec
from support.connected_unit import ConnectedUnit
from support.stored import stored_unit

from taskplane.server.core.command import DropOrder
from taskplane.server.core.effect import Effect
from taskplane.server.core.errors import DropReason
from taskplane.server.core.task import Checkpoint, Progress, TaskStatus
from taskplane.server.core.tuning import DEFAULT_TUNING
from taskplane.server.core.unit import UnitStatus
from taskplane.server.core.unit_report import Accepted, CheckpointMade, Paused, ProgressMade, ReportKind
from taskplane.server.execution_units.leases import Leases
from taskplane.server.execution_units.manager import ExecutionUnitManager
from taskplane.server.execution_units.registry import Registry
from taskplane.server.execution_units.unit_entry import UnitEntry
from taskplane.server.store.store import Store
from taskplane.server.tasks.group_commit import GroupCommit
from taskplane.server.tasks.state_manager import TaskStateManager
from taskplane.server.tasks.unit_of_work import CommittedEvent

Connect = Callable[..., Awaitable[ConnectedUnit]]


@pytest.fixture
def leases(states: TaskStateManager, registry: Registry) -> Leases:
    return Leases(states, registry, lease_seconds=30)


async def queue(states: TaskStateManager, count: int = 1) -> list[int]:
    """Create queued tasks, and return their ids."""
    return [task.id for task in await states.create([a_spec(start=True)] * count, ALICE)]


async def status_and_load(store: Store, unit_id: str) -> tuple[UnitStatus, int] | None:
    unit = await stored_unit(store, unit_id)
    return (unit.status, unit.current_load) if unit else None


def known(registry: Registry, unit_id: str) -> UnitEntry:
    unit = registry.find(unit_id)
    assert unit
    return unit


async def test_a_silent_unit_loses_its_tasks_and_another_goes_on(
    connect: Connect, states: TaskStateManager, registry: Registry, leases: Leases
) -> None:
    silent = await connect("silent")
    (task_id,) = await queue(states)
    (start,) = await silent.hears(1)
    await silent.says(start, Accepted())
    other = await connect("other")
    known(registry, "silent").heard_at -= 29
    await leases.check()
    assert known(registry, "silent").view().current_load == 1, "it has a second left"
    known(registry, "silent").heard_at -= 2
    await leases.check()
    (again,) = await other.hears(1)
    assert (again.task_id, again.attempt) == (task_id, 2)
    with pytest.raises(Exception, match="silent"):
        await silent.next()


async def test_the_table_tells_that_a_lost_unit_is_offline_and_has_nothing_left(
    connect: Connect, states: TaskStateManager, registry: Registry, units: ExecutionUnitManager, store: Store
) -> None:
    silent = await connect("silent")
    await queue(states)
    await silent.hears(1)
    await units.save_heartbeats()
    assert await status_and_load(store, "silent") == (UnitStatus.BUSY, 1)
    await units.disconnect(silent.session)
    known(registry, "silent").heard_at -= 31
    await Leases(states, registry, lease_seconds=30).check()
    await units.save_heartbeats()
    assert await status_and_load(store, "silent") == (UnitStatus.OFFLINE, 0)


async def test_units_that_are_lost_together_lose_their_tasks_together(
    connect: Connect, states: TaskStateManager, registry: Registry, leases: Leases, commits: GroupCommit
) -> None:
    units = [await connect(f"unit-{number}", capacity=2) for number in range(20)]
    task_ids = await queue(states, 40)
    for unit in units:
        for start in await unit.hears(2):
            await unit.says(start, Accepted())
        known(registry, unit.session.unit_id).heard_at -= 31
    losses: list[int] = []

    def count(committed: Sequence[CommittedEvent]) -> None:
        failed = [event for event in committed if event.task.status is TaskStatus.FAILED]
        losses.extend([len(failed)] if failed else [])

    commits.listeners.append(count)
    await leases.check()
    assert sum(losses) == len(task_ids)
    assert len(losses) <= 2, "those that come during the first are the second transaction"


async def test_a_start_that_is_not_accepted_goes_to_another_unit(
    connect: Connect, states: TaskStateManager, registry: Registry, leases: Leases
) -> None:
    mute = await connect("mute")
    (task_id,) = await queue(states)
    await mute.hears(1)
    other = await connect("other")
    known(registry, "mute").running[task_id].since -= DEFAULT_TUNING.accept_seconds + 1
    await leases.check()
    (drop,) = await mute.hears(1)
    assert drop.order == DropOrder(DropReason.SUPERSEDED)
    (start,) = await other.hears(1)
    assert (start.task_id, start.attempt) == (task_id, 2)


@pytest.mark.parametrize(
    "sign",
    [
        CheckpointMade(Checkpoint(1, 1, NOW, {"row": 1})),
        ProgressMade(Progress(0.5, "half", NOW)),
        Paused(checkpoint=None, progress=None),
    ],
)
async def test_work_on_an_attempt_stops_the_accept_clock(
    connect: Connect, states: TaskStateManager, registry: Registry, leases: Leases, sign: ReportKind
) -> None:
    unit = await connect()
    (task_id,) = await queue(states)
    (start,) = await unit.hears(1)
    await unit.says(start, sign)
    for running in known(registry, "unit-1").running.values():
        running.since -= DEFAULT_TUNING.accept_seconds + 1
    await leases.check()
    stored = await states.change(task_id, lambda task, _: Effect(task))
    assert stored.attempt == 1
    assert stored.status is (TaskStatus.PAUSED if isinstance(sign, Paused) else TaskStatus.RUNNING)


async def test_an_attempt_that_ended_meanwhile_is_not_taken(
    connect: Connect, states: TaskStateManager, registry: Registry, leases: Leases, store: Store
) -> None:
    unit = await connect()
    (task_id,) = await queue(states)
    await unit.hears(1)
    running = known(registry, "unit-1").assignments.running
    late = running[task_id]
    late.since -= DEFAULT_TUNING.accept_seconds + 1
    await leases.check()
    # A second check, as if the commit had not reached the registry.
    running[task_id] = late
    await leases.check()
    stored = await store.get_task(task_id)
    assert stored
    assert (stored.status, stored.attempt) == (TaskStatus.PENDING, 1)
