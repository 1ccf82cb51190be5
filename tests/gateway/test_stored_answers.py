"""Stored data is returned, also if it breaks a newer rule."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from gateway.rest import Rest, rest_of
from gateway.running import RunningServer, running_server
from rpc.server import Wire

from taskplane.v1.operations_service_pb2 import ListUnitsRequest

UNITS = "/api/execution-units"


async def with_odd_rows(folder: Path, server: RunningServer) -> None:
    """Store a task and a unit that only an older server would accept."""
    async with rest_of(server) as rest:
        await rest.create()
        unit = {"unitId": "old", "unitType": "T", "unitName": "n", "endpoint": "http://127.0.0.1:1"}
        assert (await rest.post(UNITS, unit)).status == 201
    await server.stop()
    with sqlite3.connect(folder / "taskplane.db") as database:
        database.execute(
            "UPDATE execution_units SET unit_type = ?, unit_name = ?, task_types = ?, labels = ?",
            (
                "video transcoder",
                "",
                '[{"task_type": "video transcoder", "can_pause": true, "can_checkpoint": true}]',
                '{"no key": "x"}',
            ),
        )
        database.execute("UPDATE tasks SET task_name = '', task_type = 'no type', labels = ?", ('{"no key": "x"}',))
    database.close()


async def test_lists_of_units_and_tasks_live_with_odd_rows(tmp_path: Path) -> None:
    first = running_server(tmp_path)
    await first.start()
    await with_odd_rows(tmp_path, first)
    server = running_server(tmp_path)
    await server.start()
    async with rest_of(server) as rest:
        (unit,) = (await rest.get(UNITS)).body["items"]
        assert (unit["unitType"], unit["labels"]) == ("video transcoder", {"no key": "x"})
        assert unit["taskTypes"] == [{"taskType": "video transcoder", "canPause": True, "canCheckpoint": True}]
        assert (await rest.get(f"{UNITS}/old")).body == unit
        (task,) = (await rest.get("/api/tasks")).body["items"]
        assert (task["taskType"], task["labels"]) == ("no type", {"no key": "x"})
        assert (await rest.get(f"/api/tasks/{task['id']}")).body["taskName"] == ""
    wire = Wire(server.grpc_address)
    (listed,) = (await wire.operations.ListUnits(ListUnitsRequest())).units
    assert listed.unit_type == "video transcoder"
    await wire.channel.close()
    await server.stop()


@pytest.mark.parametrize("unit_type", ["video transcoder", "视频处理", "x" * 100])
async def test_a_unit_type_is_any_text(unit_type: str, rest: Rest) -> None:
    unit: dict[str, Any] = {"unitType": unit_type, "unitName": "one", "endpoint": "http://127.0.0.1:1"}
    registered = await rest.post(UNITS, unit)
    assert (registered.status, registered.body["unitType"]) == (201, unit_type)
    assert [each["unitType"] for each in (await rest.get(UNITS)).body["items"]] == [unit_type]
    assert (await rest.get(UNITS, unitType=unit_type)).body["total"] == 1


async def test_a_first_answer_is_repeated_as_an_older_server_has_given_it(tmp_path: Path) -> None:
    body = {"taskName": "once", "taskType": "WORK", "requestId": "r"}
    server = running_server(tmp_path)
    await server.start()
    async with rest_of(server) as rest:
        await rest.post("/api/tasks", body)
    await server.stop()
    with sqlite3.connect(tmp_path / "taskplane.db") as database:
        database.execute("UPDATE task_requests SET answer = ?", (b'{"id": 1, "old": true}',))
    database.close()
    server = running_server(tmp_path)
    await server.start()
    async with rest_of(server) as rest:
        answer = await rest.post("/api/tasks", body)
    await server.stop()
    assert (answer.status, answer.body) == (201, {"id": 1, "old": True})
    assert answer.headers["location"] == "/api/tasks/1"
