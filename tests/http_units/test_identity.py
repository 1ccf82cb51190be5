"""The right to the id of a unit over HTTP."""

import asyncio

import grpc
import pytest
from http_units.calls import Calls
from http_units.scripted_unit import Answer, ScriptedUnit, always
from rpc.refusals import refusal_of

from taskplane.server.core.tuning import Tuning


async def test_another_endpoint_gets_no_id_of_a_unit_that_answers(calls: Calls, unit: ScriptedUnit) -> None:
    unit.on("status", lambda asked: Answer(200, {"status": "RUNNING"}) if asked.task_id else Answer(404))
    unit_id = (await calls.register(unit)).id
    request = await calls.accepted(unit)
    with ScriptedUnit() as other:
        for about in ({"unit_id": unit_id}, {}):  # without an id, type and name identify the unit
            refusal = await refusal_of(calls.register(other, **about))
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.ALREADY_EXISTS, "UNIT_ID_TAKEN")
            assert unit.endpoint in refusal.message
        assert not other.requests
    assert (await calls.unit(unit_id)).endpoint == unit.endpoint
    assert (await calls.wire.get(request.task_id)).attempt == 1


async def test_a_restart_at_the_same_endpoint_is_the_same_unit(calls: Calls, unit: ScriptedUnit) -> None:
    unit_id = (await calls.register(unit)).id
    assert (await calls.register(unit)).id == unit_id


@pytest.mark.parametrize("tuning", [Tuning(probe_seconds=0.2)])
async def test_another_endpoint_gets_the_id_of_a_unit_that_is_gone(calls: Calls, unit: ScriptedUnit) -> None:
    unit_id = (await calls.register(unit)).id
    unit.die()
    with ScriptedUnit() as other:
        moved = await calls.register(other)
        assert (moved.id, moved.endpoint) == (unit_id, other.endpoint)
        await calls.accepted(other)


@pytest.mark.parametrize("tuning", [Tuning(probe_seconds=60.0)])
async def test_a_unit_that_is_busy_shows_life_by_its_heartbeats(calls: Calls, unit: ScriptedUnit) -> None:
    unit_id = (await calls.register(unit)).id
    unit.on("status", always(503))
    with ScriptedUnit() as other:
        refused = asyncio.create_task(refusal_of(calls.register(other)))
        await unit.expect("status", 0)
        await calls.heartbeat(unit_id)
        assert (await refused).reason == "UNIT_ID_TAKEN"
