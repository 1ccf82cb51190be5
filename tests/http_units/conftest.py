"""A server that polls quickly, a scripted unit, and the calls of a unit without a stream."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from http_units.calls import Calls
from http_units.scripted_unit import ScriptedUnit
from rpc.server import ServerUnderTest, Wire

from taskplane.server.core.tuning import Tuning


@pytest.fixture
def settings() -> dict[str, Any]:
    """Return the settings of the server. Modules override the fixture."""
    return {"poll_seconds": 0.1}


@pytest.fixture
async def server(sqlite_database_url: str, settings: dict[str, Any], tuning: Tuning) -> AsyncIterator[ServerUnderTest]:
    server = ServerUnderTest(sqlite_database_url, tuning, **settings)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def wire(server: ServerUnderTest) -> AsyncIterator[Wire]:
    wire = Wire(server.address)
    yield wire
    await wire.channel.close()


@pytest.fixture
def calls(wire: Wire) -> Calls:
    return Calls(wire)


@pytest.fixture
def unit() -> Iterator[ScriptedUnit]:
    """Run a unit that listens, and is not registered."""
    with ScriptedUnit() as unit:
        yield unit
