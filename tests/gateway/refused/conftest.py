"""One server for all tests of a module: refused requests leave no trace."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from gateway.rest import Rest, rest_of
from gateway.running import RunningServer, running_server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    server = running_server(tmp_path_factory.mktemp("server"))
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rest(server: RunningServer) -> AsyncIterator[Rest]:
    async with rest_of(server) as rest:
        yield rest
