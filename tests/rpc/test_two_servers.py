"""A newer server starts while an older server runs: it takes over first and reads later, so it misses no change."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from rpc.raw_unit import RawUnit, hello
from rpc.refusals import refusal_of
from rpc.server import PATIENCE_SECONDS, ServerUnderTest, Wire, status_name, task_of, watching
from rpc.tasks import create

from taskplane.server.app import Server
from taskplane.server.store.store import Store
from taskplane.v1 import execution_unit_control_pb2 as unit_pb
from taskplane.v1 import operations_service_pb2 as operations_pb
from taskplane.v1 import task_service_pb2 as pb

LEASE_SECONDS = 1.0


@pytest.fixture
def served_url(database_url: str) -> str:
    return database_url


@pytest.fixture
def settings() -> dict[str, Any]:
    return {"heartbeat_seconds": 0.2, "lease_seconds": LEASE_SECONDS}


@pytest.fixture
async def start_newer(
    served_url: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[[Callable[[], Awaitable[None]]], Awaitable[Wire]]]:
    """Start a newer server; the older acts at the last possible moment."""
    newer = ServerUnderTest(served_url, **settings)
    wires: list[Wire] = []

    async def start(at_the_last_moment: Callable[[], Awaitable[None]]) -> Wire:
        take_over = Store.take_over

        async def act_and_take_over(store: Store, address: str) -> None:
            await at_the_last_moment()
            await take_over(store, address)

        with monkeypatch.context() as patch:
            patch.setattr(Store, "take_over", act_and_take_over)
            await newer.start()
        wires.append(Wire(newer.address))
        return wires[0]

    yield start
    for wire in wires:
        await wire.channel.close()
    await newer.stop()


@pytest.fixture
async def connect_to() -> AsyncIterator[Callable[[Wire], Awaitable[RawUnit]]]:
    """Connect the same process of the unit to another server."""
    units: list[RawUnit] = []

    async def connect(wire: Wire) -> RawUnit:
        unit = RawUnit(wire.units)
        units.append(unit)
        await unit.say(hello=hello("unit-1"))
        await unit.welcomed()
        return unit

    yield connect
    for unit in units:
        await unit.break_off()


async def slots_used(wire: Wire) -> int:
    return (await wire.operations.GetStatistics(operations_pb.GetStatisticsRequest())).slots_used


async def nothing() -> None:
    """Do nothing at the last moment."""


async def test_a_task_that_the_older_one_dispatched_at_the_last_moment_is_lost_with_its_unit(
    wire: Wire, unit: RawUnit, start_newer: Callable[..., Awaitable[Wire]]
) -> None:
    """The unit never connects to the newer server, which must know the task to take it away."""

    async def dispatch() -> None:
        assert status_name((await create(wire, start=True)).status) == "RUNNING"

    newer = await start_newer(dispatch)
    task = await newer.task_when(1, lambda task: status_name(task.status) != "RUNNING")
    assert "unit lost" in [each.reason for each in await newer.history(task.id)][2]


async def test_a_task_that_ended_at_the_last_moment_leaves_no_slot_in_use(
    wire: Wire,
    unit: RawUnit,
    start_newer: Callable[..., Awaitable[Wire]],
    connect_to: Callable[..., Awaitable[RawUnit]],
) -> None:
    await create(wire, start=True)
    start = await unit.expect("start")
    await unit.accept(start)

    async def end() -> None:
        await unit.report(start, succeeded=unit_pb.SucceededReport())
        await unit.all_acknowledged()

    newer = await start_newer(end)
    again = await connect_to(newer)
    assert await slots_used(newer) == 0
    task = await create(newer, start=True)
    await again.expect("start", task_id=task.id)


async def test_what_the_older_one_acknowledged_is_told_by_the_newer_ones_watch(
    wire: Wire, unit: RawUnit, start_newer: Callable[..., Awaitable[Wire]]
) -> None:
    """The older server's revisions stay below the first position of the newer server's watches."""
    first = await create(wire)
    acknowledged: list[int] = []

    async def change() -> None:
        acknowledged.append((await wire.tasks.StartTask(pb.StartTaskRequest(task_id=first.id))).task.revision)

    newer = await start_newer(change)
    async with asyncio.timeout(PATIENCE_SECONDS), watching(newer, after_revision=first.revision) as events:
        async for event in events:
            if (task := task_of(event)) and task.revision == acknowledged[0]:
                break


async def test_the_older_one_answers_unavailable_and_ends(
    server: ServerUnderTest, wire: Wire, start_newer: Callable[..., Awaitable[Wire]]
) -> None:
    await create(wire)
    await start_newer(nothing)
    assert (await refusal_of(create(wire))).code is grpc.StatusCode.UNAVAILABLE
    assert isinstance(server._server, Server)
    await asyncio.wait_for(server._server.failed.wait(), PATIENCE_SECONDS)
