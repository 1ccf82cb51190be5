"""Large documents: each fits into gRPC's default limit of 4 MiB, and delays no other caller."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway.rest import answer_of
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from rpc.raw_unit import RawUnit, hello, struct
from rpc.refusals import refusal_of
from rpc.server import ServerUnderTest, Wire, eventually, status_name, watching
from rpc.tasks import create, running
from support.responsiveness import monitored, server_process

from taskplane.server.core.documents import MAX_DOCUMENT_BYTES
from taskplane.v1 import execution_unit_control_pb2 as unit_pb
from taskplane.v1 import operations_service_pb2 as operations_pb
from taskplane.v1 import task_service_pb2 as pb

# The maximum of values in a document; a megabyte of such JSON once killed a Go unit.
LARGEST: dict[str, Any] = {"nulls": [None] * (MAX_DOCUMENT_BYTES // 4 - 10)}
TOO_LARGE: dict[str, Any] = {"a": [1] * 100_000}
# On a quiet machine the longest wait is below 250 ms.
PATIENCE_SECONDS = 3.0


@pytest.fixture
async def wire(server: ServerUnderTest) -> AsyncIterator[Wire]:
    wire = Wire(server.address, max_receive_bytes=None)
    yield wire
    await wire.channel.close()


def largest() -> Struct:
    document = struct(LARGEST)
    assert MAX_DOCUMENT_BYTES - 100 < document.ByteSize() <= MAX_DOCUMENT_BYTES
    return document


async def test_a_task_with_the_largest_documents_is_told_to_everybody(wire: Wire, unit: RawUnit) -> None:
    document = largest()
    start = await running(wire, unit, config=document)
    assert start.start.config == document
    checkpoint = unit_pb.CheckpointReport(number=1, data=document)
    await unit.report(
        start, failed=unit_pb.FailedReport(message="x" * 10_000, checkpoint=checkpoint, retry_delay=Duration())
    )
    again = await unit.expect("start")
    assert (again.start.config, again.start.checkpoint.data) == (document, document)
    await unit.accept(again)
    async with watching(wire) as events:
        assert (await anext(events)).snapshot.config == document
        await unit.report(again, succeeded=unit_pb.SucceededReport(result=document))
        while (event := await anext(events)).WhichOneof("event") != "transition":
            pass
        assert event.transition.task.result == document
    task = await wire.get(start.task_id)
    assert (task.config, task.result, task.checkpoint.data) == (document, document, document)
    (listed,) = (await wire.tasks.ListTasks(pb.ListTasksRequest())).tasks
    assert (listed.config, listed.result) == (document, document)
    (kept,) = (await wire.tasks.ListTaskCheckpoints(pb.ListTaskCheckpointsRequest(task_id=task.id))).checkpoints
    assert kept.data == document


async def test_a_document_is_bounded_by_what_it_is_on_the_wire(wire: Wire) -> None:
    refusal = await refusal_of(create(wire, config=struct(TOO_LARGE)))
    assert refusal.fields == ["task.config"]
    assert str(MAX_DOCUMENT_BYTES) in refusal.message


async def store_large_documents(path: Path) -> None:
    """Give each task a config that older servers accepted: a megabyte of JSON, 5.7 MB on the wire."""
    with sqlite3.connect(path) as database:
        database.execute("UPDATE tasks SET config = ?", (json.dumps({"a": [1] * 520_000}),))
    database.close()


async def test_larger_documents_of_an_older_server_harm_neither_calls_nor_units(
    wire: Wire, server: ServerUnderTest, tmp_path: Path
) -> None:
    task = await create(wire, start=True)
    await server.stop()
    await store_large_documents(tmp_path / "taskplane.db")
    await server.start()
    assert not (await wire.get(task.id)).HasField("config")
    (listed,) = (await wire.tasks.ListTasks(pb.ListTasksRequest())).tasks
    assert (listed.id, listed.HasField("config")) == (task.id, False)
    unit = RawUnit(wire.units)
    await unit.say(hello=hello("unit-1"))
    await unit.welcomed()
    # Not by a watch: a watch that is too slow for such tasks would be cut.
    failed = await eventually(lambda: wire.get(task.id), lambda each: status_name(each.status) == "FAILED")
    assert "a unit can be sent" in failed.error_message
    await running(wire, unit)  # on the same stream
    await unit.break_off()


async def test_a_page_of_units_with_large_configs_ends_early(wire: Wire) -> None:
    config = struct({"text": "x" * 64_000})
    for number in range(60):
        request = unit_pb.RegisterUnitRequest(
            unit_id=f"{number:03}", unit_type="T", unit_name="n", endpoint="http://127.0.0.1:1", config=config
        )
        await wire.units.RegisterUnit(request)
    found: list[str] = []
    asked = operations_pb.ListUnitsRequest(page_size=1000)
    while not found or asked.page_token:
        page = await wire.operations.ListUnits(asked)
        found += [unit.id for unit in page.units]
        asked.page_token = page.next_page_token
    assert found == [f"{number:03}" for number in range(60)]


@pytest.mark.alone
async def test_nobody_waits_for_the_largest_documents(tmp_path: Path) -> None:
    document = largest()
    with server_process(f"sqlite:///{tmp_path / 'taskplane.db'}") as server, monitored(server) as probes:
        wire = Wire(server.grpc, max_receive_bytes=None)
        async with httpx.AsyncClient(base_url=f"http://{server.http}", timeout=60) as http:
            for _ in range(4):
                ids = [task.id for task in await asyncio.gather(*(create(wire, config=document) for _ in range(4)))]
                await asyncio.gather(*(wire.get(task_id) for task_id in ids))
                await wire.tasks.ListTasks(pb.ListTasksRequest())
                made = answer_of(
                    await http.post("/api/tasks", json={"taskName": "n", "taskType": "T", "config": LARGEST})
                )
                assert made.status == 201
                assert answer_of(await http.get(f"/api/tasks/{made.body['id']}")).status == 200
        await wire.channel.close()
    print(probes)  # noqa: T201  (shown when a test fails, or with -s)
    assert probes.longest < PATIENCE_SECONDS
