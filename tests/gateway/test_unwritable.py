"""A read-only database: both kinds of probes report it, the log names the cause, and the outage ends."""

import asyncio
import logging
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from gateway.rest import Rest
from gateway.running import RunningServer, running_server
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rpc.server import Wire, eventually
from sqlalchemy import Engine, create_engine, text

from taskplane.server.core.tuning import Tuning
from taskplane.server.rpc.server import SERVICES
from taskplane.server.store import outages

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
FULL = "the database or disk is full in this test"
# A lock under which no row of a table can be changed or added.
EVENTS = {"owners": "UPDATE", "tasks": "INSERT"}


@pytest.fixture
async def server(tmp_path: Path, empty_database_url: str) -> AsyncIterator[RunningServer]:
    server = running_server(tmp_path, Tuning(renew_seconds=0.05), database_url=empty_database_url)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def engine(empty_database_url: str) -> Engine:
    return create_engine(empty_database_url)


def fill_disk(engine: Engine, table: str) -> None:
    """Let every write to a table fail as on a full disk."""
    is_sqlite = engine.dialect.name == "sqlite"
    fail = (
        f"SELECT RAISE(ABORT, '{FULL}');"
        if is_sqlite
        else f"SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1021, MESSAGE_TEXT = '{FULL}';"
    )
    each = "" if is_sqlite else "FOR EACH ROW"
    with engine.begin() as connection:
        connection.execute(text(f"CREATE TRIGGER disk BEFORE {EVENTS[table]} ON {table} {each} BEGIN {fail} END"))


def free_disk(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("DROP TRIGGER disk"))
    engine.dispose()


async def health(wire: Wire) -> set[int]:
    """Return the states of the server and its services in grpc.health."""
    stub: Any = health_pb2_grpc.HealthStub(wire.channel)  # its types are incomplete
    answers = [await stub.Check(health_pb2.HealthCheckRequest(service=name)) for name in ("", *SERVICES)]
    return {answer.status for answer in answers}


async def ready(rest: Rest) -> int:
    return (await rest.get("/readyz")).status


def lines_with(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    return [each.getMessage() for each in caplog.records if words in each.getMessage()]


@pytest.mark.parametrize("table", EVENTS)
async def test_writes_that_fail_show_in_readiness_and_log_until_they_work_again(  # noqa: PLR0913, PLR0917  (two APIs and what is broken)
    server: RunningServer,
    rest: Rest,
    wire: Wire,
    engine: Engine,
    table: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outages, "DOUBT_SECONDS", 3600.0)
    assert (await ready(rest), await health(wire)) == (200, {SERVING})
    caplog.set_level(logging.INFO)
    await asyncio.to_thread(fill_disk, engine, table)
    if table == "tasks":
        refused = await rest.post("/api/tasks", {"taskName": "one", "taskType": "WORK"})
        assert (refused.status, refused.error["reason"]) == (503, "DATABASE_UNAVAILABLE")
    await eventually(partial(ready, rest), lambda status: status == 503)
    await eventually(partial(health, wire), lambda statuses: statuses == {NOT_SERVING})
    assert (await rest.get("/healthz")).status == 200, "the process itself is well"
    assert (await rest.get("/api/tasks")).status == 200, "reads go on"
    for _ in range(5):
        await rest.post("/api/tasks", {"taskName": "more", "taskType": "WORK"})
    assert len(lines_with(caplog, FULL)) == 1, "the cause is told once"
    assert len([each for each in caplog.records if each.levelno >= logging.WARNING]) == 1
    monkeypatch.setattr(outages, "DOUBT_SECONDS", 0.0)
    await asyncio.to_thread(free_disk, engine)
    await eventually(partial(ready, rest), lambda status: status == 200)
    await eventually(partial(health, wire), lambda statuses: statuses == {SERVING})
    assert (await rest.post("/api/tasks", {"taskName": "two", "taskType": "WORK"})).status == 201
    assert len(lines_with(caplog, "can be written again")) == 1


async def test_an_outage_that_lasts_is_told_again_and_again_but_rarely(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(outages, "monotonic", lambda: now)
    outage = outages.Outage("written")
    for _ in range(180):
        outage.failed(outages.Source.LEASE, "disk full")
        now += 1.0
    assert [each.getMessage() for each in caplog.records] == [
        "the database cannot be written: disk full",
        "the database cannot be written for 60 s now: disk full",
        "the database cannot be written for 120 s now: disk full",
    ]
    outage.succeeded(outages.Source.LEASE)
    assert caplog.records[-1].getMessage() == "the database can be written again, after 180 s"
    assert outage.cause == ""
