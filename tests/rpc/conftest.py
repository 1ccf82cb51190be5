"""Fixtures: a real server on a free port for each test, raw units for its streams, and tasks in any status."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from rpc.raw_unit import RawUnit, hello
from rpc.server import ServerUnderTest, Wire

from taskplane.server.core.tuning import Tuning

Connect = Callable[..., Awaitable[RawUnit]]


@pytest.fixture
def served_url(sqlite_database_url: str) -> str:
    """Return the URL of the server's database. Modules that try every kind of database override the fixture."""
    return sqlite_database_url


@pytest.fixture
def settings() -> dict[str, Any]:
    """Return the settings of the server under test. Modules in which time matters override the fixture."""
    return {}


@pytest.fixture
async def server(served_url: str, settings: dict[str, Any], tuning: Tuning) -> AsyncIterator[ServerUnderTest]:
    server = ServerUnderTest(served_url, tuning, **settings)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def wire(server: ServerUnderTest) -> AsyncIterator[Wire]:
    wire = Wire(server.address)
    yield wire
    await wire.channel.close()


@pytest.fixture
async def open_stream(wire: Wire) -> AsyncIterator[Callable[[], RawUnit]]:
    """Open silent streams, and break them off after the test."""
    async with AsyncExitStack() as streams:

        def open_stream() -> RawUnit:
            unit = RawUnit(wire.units)
            streams.push_async_callback(unit.break_off)
            return unit

        yield open_stream


@pytest.fixture
def connect(open_stream: Callable[[], RawUnit]) -> Connect:
    """Connect units by their hello (default id `unit-1`), and wait for the welcome."""

    async def connect(unit_id: str = "unit-1", **changes: Any) -> RawUnit:
        unit = open_stream()
        await unit.say(hello=hello(unit_id, **changes))
        await unit.welcomed()
        return unit

    return connect


@pytest.fixture
async def unit(connect: Connect) -> RawUnit:
    """Connect a unit with one slot for tasks of type WORK."""
    return await connect()
