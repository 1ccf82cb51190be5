"""One service behind two APIs: each sees the other's changes, and both have the same bounds."""

from typing import Any

import pytest
from gateway.rest import Rest
from google.protobuf import json_format
from rpc.obedient_unit import obeying
from rpc.raw_unit import RawUnit, hello
from rpc.refusals import refusal_of
from rpc.server import Wire

from taskplane.protocol import documents
from taskplane.v1 import execution_unit_control_pb2 as unit_pb
from taskplane.v1 import task_pb2
from taskplane.v1 import task_service_pb2 as pb
from taskplane.v1.operations_service_pb2 import GetUnitRequest


async def test_one_task_is_controlled_by_both_in_turns(rest: Rest, wire: Wire, unit: RawUnit) -> None:
    task_id = (await rest.create(config={"数": [1, 2.5, None]}))["id"]
    path = f"/api/tasks/{task_id}"
    async with obeying(unit):
        await wire.tasks.StartTask(pb.StartTaskRequest(task_id=task_id))
        assert (await rest.post(f"{path}/pause", {"actor": "rest"})).body["status"] == "PAUSED"
        resumed = await wire.tasks.ResumeTask(
            pb.ResumeTaskRequest(task_id=task_id, context=pb.RequestContext(actor="grpc"))
        )
        assert resumed.task.status == task_pb2.TASK_STATUS_RUNNING
        assert (await rest.post(f"{path}/cancel", {"actor": "rest"})).body["status"] == "CANCELLED"
    assert await wire.statuses(task_id) == ["PENDING", "RUNNING", "PAUSED", "RUNNING", "CANCELLED"]
    told = (await rest.get(f"{path}/history")).body["items"]
    assert [(each.revision, each.changed_by, each.reason) for each in await wire.history(task_id)] == [
        (each["revision"], each["changedBy"], each["reason"]) for each in told
    ]
    restarted = await wire.tasks.RestartTask(
        pb.RestartTaskRequest(task_id=task_id, context=pb.RequestContext(request_id="r"))
    )
    stale = await rest.post(f"{path}/cancel", {"revision": restarted.task.revision - 1})
    assert stale.status == 412
    reused = await rest.post(f"{path}/cancel", {"requestId": "r"})
    assert reused.error["reason"] == "REQUEST_ID_REUSED"


async def test_both_tell_the_same_of_a_task(rest: Rest, wire: Wire) -> None:
    made = await rest.create(
        config={"a": {"b": [1, 2.5, "x", None, True]}}, labels={"team": "data"}, priority=7, start=True
    )
    shown: dict[str, Any] = json_format.MessageToDict(await wire.get(made["id"]))
    for name in ("taskName", "taskType", "priority", "config", "maxRetries", "labels", "waitingMessage"):
        assert made[name] == shown[name], name
    assert shown["status"] == f"TASK_STATUS_{made['status']}"
    assert shown["waitingReason"] == f"WAITING_REASON_{made['waitingReason']}"


@pytest.mark.parametrize("levels", [documents.MAX_NESTING, documents.MAX_NESTING + 1])
async def test_both_take_configs_of_the_same_depth(levels: int, rest: Rest, wire: Wire) -> None:
    config: Any = 1
    for _ in range(levels):
        config = {"a": config}
    answer = await rest.post("/api/tasks", {"taskName": "deep", "taskType": "WORK", "config": config})
    if levels > documents.MAX_NESTING:
        assert answer.bad_fields == {"body"}
    else:
        assert json_format.MessageToDict((await wire.get(answer.body["id"])).config) == config


@pytest.mark.parametrize("unit_id", [" u", "u ", "u\t", "u\x1c", "a/b", "/", ".", "..", "u\x00", "x" * 251])
async def test_all_ways_in_refuse_the_same_unit_ids(unit_id: str, rest: Rest, wire: Wire) -> None:
    endpoint = "http://127.0.0.1:1"
    unit = {"unitId": unit_id, "unitType": "WORKER", "unitName": "one", "endpoint": endpoint}
    assert (await rest.post("/api/execution-units", unit)).bad_fields == {"unitId"}
    request = unit_pb.RegisterUnitRequest(unit_id=unit_id, unit_type="WORKER", unit_name="one", endpoint=endpoint)
    assert set((await refusal_of(wire.units.RegisterUnit(request))).fields) == {"unit_id"}
    stream = RawUnit(wire.units)
    await stream.say(hello=hello(unit_id))
    assert set((await stream.refusal()).fields) == {"hello.unit_id"}
    assert (await rest.get("/api/execution-units")).body["items"] == []


@pytest.mark.parametrize("unit_id", ["...", "a b", "a\nb", "a?b#c%2f", "数 🦆", "\\", "x" * 250])
async def test_a_unit_is_found_where_its_registration_says(unit_id: str, rest: Rest, wire: Wire) -> None:
    unit = {"unitId": unit_id, "unitType": "WORKER", "unitName": "one", "endpoint": "http://127.0.0.1:1"}
    registered = await rest.post("/api/execution-units", unit)
    assert (await rest.get(registered.headers["location"])).body["id"] == unit_id
    assert (await wire.operations.GetUnit(GetUnitRequest(unit_id=unit_id))).unit.id == unit_id


async def test_the_id_that_is_made_of_a_name_is_taken_by_all(rest: Rest, wire: Wire) -> None:
    unit = {"unitType": "WORKER", "unitName": "eu/west/🦆", "endpoint": "http://127.0.0.1:1"}
    registered = await rest.post("/api/execution-units", unit)
    assert (await rest.get(registered.headers["location"])).body["id"] == registered.body["id"]
    stream = RawUnit(wire.units)
    await stream.say(hello=hello(registered.body["id"]))
    assert (await stream.welcomed()).unit_id == registered.body["id"]
    await stream.break_off()
