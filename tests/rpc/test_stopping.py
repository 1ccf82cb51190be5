"""A stopping server refuses units that reconnect: no command could ever reach a unit accepted this late."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from rpc.raw_unit import RawUnit, hello
from rpc.refusals import Refusal, refusal_of
from rpc.server import PATIENCE_SECONDS, ServerUnderTest, Wire, watching
from rpc.tasks import running

from taskplane.server.core.tuning import DEFAULT_TUNING
from taskplane.v1 import task_service_pb2 as pb

# An open call whose body has not arrived.
UNFINISHED = (
    b"POST /api/tasks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n"
)


SETTINGS = {"no_http": False, "drain_seconds": 10 * PATIENCE_SECONDS}
LEASE_SECONDS = 1.0


@pytest.fixture
def settings() -> dict[str, Any]:
    return SETTINGS


@asynccontextmanager
async def stopping(server: ServerUnderTest) -> AsyncIterator[None]:
    """Stop the server within the context, held up by an HTTP call; at the end, the server has stopped."""
    host, _, port = server.http_address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(UNFINISHED)
    assert (await reader.readline()).startswith(b"HTTP/1.1 100 ")
    stopping = asyncio.create_task(server.stop())
    try:
        yield
    finally:
        writer.write(b"{}")
        async with asyncio.timeout(PATIENCE_SECONDS):
            await stopping
        writer.close()


def assert_sent_away(refusal: Refusal) -> None:
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_STOPPING")
    assert refusal.retry_delay_seconds is not None


async def test_a_unit_that_comes_back_at_once_is_sent_away(
    server: ServerUnderTest, unit: RawUnit, open_stream: Callable[[], RawUnit]
) -> None:
    async with stopping(server):
        assert_sent_away(await unit.refusal())
        again = open_stream()
        await again.say(hello=hello())
        assert_sent_away(await again.refusal())


@pytest.mark.parametrize("settings", [SETTINGS | {"lease_seconds": LEASE_SECONDS, "heartbeat_seconds": 0.3}])
async def test_nothing_is_taken_from_units_that_were_sent_away(
    server: ServerUnderTest, wire: Wire, unit: RawUnit
) -> None:
    start = await running(wire, unit)
    async with stopping(server):
        await unit.refusal()
        await asyncio.sleep(LEASE_SECONDS + 2 * DEFAULT_TUNING.lease_check_seconds)
    await server.start()
    assert await wire.statuses(start.task_id) == ["PENDING", "RUNNING"]


async def test_a_watcher_that_comes_back_at_once_is_sent_away(server: ServerUnderTest, wire: Wire) -> None:
    async with watching(wire) as first:
        assert (await anext(first)).WhichOneof("event") == "snapshot_complete"
        async with stopping(server):
            assert_sent_away(await refusal_of(anext(first)))
            async with watching(wire) as again, asyncio.timeout(PATIENCE_SECONDS):
                assert_sent_away(await refusal_of(anext(again)))


async def test_a_verb_that_would_wait_for_a_unit_is_not_recorded(
    server: ServerUnderTest, wire: Wire, unit: RawUnit
) -> None:
    start = await running(wire, unit)
    async with stopping(server):
        await unit.refusal()
        assert_sent_away(await refusal_of(wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=start.task_id))))
    await server.start()
    assert not (await wire.get(start.task_id)).HasField("pending_command")
