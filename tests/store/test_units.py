"""Units are stored and returned unchanged."""

from dataclasses import replace

from support.builders import a_unit, at
from support.stored import stored_unit

from taskplane.server.core.unit import DrainOrder, TaskTypeSupport, Unit, UnitStatus
from taskplane.server.store.store import Store

FULL = a_unit(
    "unit 🦆 'quoted' \\",
    unit_type="x" * 100,
    unit_name="🦆" * 255,
    status=UnitStatus.BUSY,
    capacity=10_000,
    current_load=7,
    endpoint="http://127.0.0.1:8080/" + "x" * 400,
    config={"nested": [1, None, {"text": "🦆"}]},
    last_heartbeat=at(1),
    created_at=at(2),
    updated_at=at(3),
    task_types={
        "A": TaskTypeSupport("A", can_pause=True),
        "B": TaskTypeSupport("B", can_checkpoint=True),
    },
    labels={"gpu": "yes", "empty": ""},
    sdk="taskplane-python 0.1.0",
    boot_id="boot 1",
    drain=DrainOrder(0.5, actor="alice 🦆", reason="a 'new' disk \\"),
)


async def all_by_id(store: Store) -> dict[str, Unit]:
    return {unit.id: unit for unit in await store.all_units()}


async def test_every_field_survives(store: Store) -> None:
    bare = a_unit("bare", task_types={})
    await store.save_units([FULL, bare])
    assert await stored_unit(store, FULL.id) == FULL
    assert await all_by_id(store) == {FULL.id: FULL, "bare": bare}


async def test_a_saved_unit_replaces_its_earlier_version(store: Store) -> None:
    await store.save_units([FULL])
    changed = replace(FULL, capacity=0, status=UnitStatus.OFFLINE, task_types={}, labels={}, updated_at=at(4))
    changed = replace(changed, drain=None)
    await store.save_units([changed])
    assert await all_by_id(store) == {FULL.id: changed}


async def test_saving_a_unit_that_has_not_changed_is_harmless(store: Store) -> None:
    await store.save_units([FULL])
    await store.save_units([FULL])
    assert await all_by_id(store) == {FULL.id: FULL}


async def test_unit_ids_differ_by_case(store: Store) -> None:
    await store.save_units([a_unit("unit"), a_unit("Unit")])
    await store.delete_unit("unit")
    assert set(await all_by_id(store)) == {"Unit"}


async def test_deleting_a_missing_unit_is_harmless(store: Store) -> None:
    await store.delete_unit("never heard of")
    assert await stored_unit(store, "never heard of") is None


async def test_heartbeats_change_status_load_and_time_only(store: Store) -> None:
    quiet = a_unit("Unit 🦆 'QUOTED' \\")
    await store.save_units([FULL, quiet])
    heard = replace(
        FULL, status=UnitStatus.AVAILABLE, capacity=3, current_load=0, last_heartbeat=at(5), updated_at=at(6)
    )
    await store.save_heartbeats([replace(heard, unit_name="other", labels={}), a_unit("never saved")])
    assert await all_by_id(store) == {FULL.id: heard, quiet.id: quiet}


async def test_without_heartbeats_no_statement_is_sent(store: Store) -> None:
    await store.save_heartbeats([])
    assert await all_by_id(store) == {}
