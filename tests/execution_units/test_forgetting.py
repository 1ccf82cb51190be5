"""Absent units without tasks are deleted, and no others."""

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest
from support.builders import ALICE, a_spec
from support.connected_unit import ConnectedUnit
from support.stored import stored_unit

from taskplane.server.core.clock import utc_now
from taskplane.server.core.errors import UnitInUse, UnitNotFound
from taskplane.server.execution_units.manager import ExecutionUnitManager
from taskplane.server.store.store import Store
from taskplane.server.tasks.state_manager import TaskStateManager

Connect = Callable[..., Coroutine[Any, Any, ConnectedUnit]]


async def test_a_unit_that_connects_while_it_is_forgotten_stays(
    connect: Connect, units: ExecutionUnitManager, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = await connect()
    await units.disconnect(unit.session)
    delete_unit = store.delete_unit

    async def delete_and_connect(unit_id: str) -> None:
        await delete_unit(unit_id)
        await connect()

    monkeypatch.setattr(store, "delete_unit", delete_and_connect)
    with pytest.raises(UnitInUse):
        await units.delete_unit("unit-1")
    assert units.unit("unit-1").session_id
    assert await stored_unit(store, "unit-1")


async def test_a_unit_that_nobody_needs_is_forgotten(
    connect: Connect, units: ExecutionUnitManager, store: Store
) -> None:
    unit = await connect()
    await units.disconnect(unit.session)
    await units.delete_unit("unit-1")
    assert await stored_unit(store, "unit-1") is None
    with pytest.raises(UnitNotFound):
        units.unit("unit-1")


async def test_units_that_are_away_for_long_are_forgotten(
    connect: Connect, units: ExecutionUnitManager, store: Store
) -> None:
    away, at_work = await connect("away"), await connect("at work")
    await units.disconnect(away.session)
    await units.purge_absent(utc_now() - timedelta(days=1))
    assert [each.id for each in units.units()] == ["at work", "away"], "it was here today"
    await units.purge_absent(utc_now() + timedelta(days=1))
    assert [each.id for each in units.units()] == ["at work"]
    assert await stored_unit(store, "away") is None
    assert units.unit("at work").session_id == at_work.session.session_id


async def test_a_unit_that_is_away_is_not_forgotten_before_its_tasks_are_taken(
    connect: Connect, states: TaskStateManager, units: ExecutionUnitManager
) -> None:
    unit = await connect()
    await states.create([a_spec(start=True)], ALICE)
    (start,) = await unit.hears(1)
    await units.disconnect(unit.session)
    await units.purge_absent(utc_now() + timedelta(days=1))
    assert units.unit("unit-1").current_load == 1
    assert (await connect()).commands == [start]
