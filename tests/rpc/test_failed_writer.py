"""A server with an unknown outcome ends itself: its supervisor starts a server that reads the database."""

import asyncio

import grpc
import pytest
from rpc.raw_unit import RawUnit
from rpc.refusals import refusal_of
from rpc.server import PATIENCE_SECONDS, ServerUnderTest, Wire, status_name
from rpc.tasks import create

from taskplane.server import app
from taskplane.server.app import Server
from taskplane.server.core.errors import DatabaseUnavailable
from taskplane.server.core.tuning import Tuning
from taskplane.server.store import writer
from taskplane.server.store.pending_transaction import CommitOutcomeUnknown
from taskplane.server.store.transaction import WriteTransaction
from taskplane.v1 import task_service_pb2 as pb

QUICK_RENEWALS = Tuning(renew_seconds=0.1)


@pytest.fixture
def tuning() -> Tuning:
    return QUICK_RENEWALS


@pytest.fixture
def failed(server: ServerUnderTest) -> asyncio.Event:
    assert isinstance(server._server, Server)
    return server._server.failed


async def test_an_outcome_that_stays_unknown_ends_the_server_and_the_next_one_reads_it(
    server: ServerUnderTest, failed: asyncio.Event, wire: Wire, unit: RawUnit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(transaction: WriteTransaction) -> None:
        transaction._buffer.commit()
        if transaction.touched:
            raise CommitOutcomeUnknown

    def away(*_: object) -> bool:
        raise DatabaseUnavailable

    monkeypatch.setattr(writer, "_RESOLVE_SECONDS", 0)
    with monkeypatch.context() as broken:
        broken.setattr(WriteTransaction, "commit", lose)
        broken.setattr(WriteTransaction, "is_stored", away)
        refusal = await refusal_of(create(wire, start=True))
    assert refusal.code is grpc.StatusCode.UNAVAILABLE
    await asyncio.wait_for(failed.wait(), PATIENCE_SECONDS)
    assert (await refusal_of(create(wire))).code is grpc.StatusCode.UNAVAILABLE
    await server.stop()
    await server.start()
    (task,) = (await wire.tasks.ListTasks(pb.ListTasksRequest(), wait_for_ready=True)).tasks
    assert status_name(task.status) == "RUNNING"


async def test_a_mistake_of_the_writer_ends_the_server(
    failed: asyncio.Event, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: WriteTransaction) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(WriteTransaction, "after_commit", fail)
    assert (await refusal_of(create(wire))).code is grpc.StatusCode.UNAVAILABLE
    await asyncio.wait_for(failed.wait(), PATIENCE_SECONDS)


async def test_a_server_ends_when_another_begins_to_serve_its_database(
    server: ServerUnderTest, failed: asyncio.Event, served_url: str
) -> None:
    next_one = ServerUnderTest(served_url, QUICK_RENEWALS)
    await next_one.start()
    await asyncio.wait_for(failed.wait(), PATIENCE_SECONDS)
    await server.stop()
    assert isinstance(next_one._server, Server)
    await asyncio.sleep(2 * QUICK_RENEWALS.renew_seconds)
    assert not next_one._server.failed.is_set()
    await next_one.stop()


async def test_a_server_that_cannot_listen_takes_nothing_over(
    server: ServerUnderTest, failed: asyncio.Event, served_url: str
) -> None:
    second = ServerUnderTest(served_url, QUICK_RENEWALS)
    second.address = server.address
    with pytest.raises(app.CannotStart):
        await second.start()
    await asyncio.sleep(2 * QUICK_RENEWALS.renew_seconds)
    assert not failed.is_set()
