"""A real server on free ports for each test, a client of each API, and a raw unit to run tasks."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from gateway.rest import Rest, rest_of
from gateway.running import RunningServer, running_server
from rpc.raw_unit import RawUnit, hello
from rpc.server import Wire

from taskplane.server.core.tuning import Tuning


@pytest.fixture
async def server(tmp_path: Path, sqlite_database_url: str, tuning: Tuning) -> AsyncIterator[RunningServer]:
    server = running_server(tmp_path, tuning, database_url=sqlite_database_url)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def rest(server: RunningServer) -> AsyncIterator[Rest]:
    async with rest_of(server) as rest:
        yield rest


@pytest.fixture
async def wire(server: RunningServer) -> AsyncIterator[Wire]:
    wire = Wire(server.grpc_address)
    yield wire
    await wire.channel.close()


@pytest.fixture
async def unit(wire: Wire) -> AsyncIterator[RawUnit]:
    """Connect a unit with one slot for tasks of type WORK."""
    unit = RawUnit(wire.units)
    await unit.say(hello=hello("unit-1"))
    await unit.welcomed()
    yield unit
    await unit.break_off()
