"""The requirements' own examples (sections 6 and 8), byte for byte where they give bytes."""

import re

from gateway.rest import Rest
from rpc.raw_unit import RawUnit
from rpc.server import Wire
from rpc.tasks import task_in

CREATE = """{
  "taskName": "数据处理任务",
  "taskType": "DATA_PROCESSING",
  "priority": 1,
  "config": {
    "inputPath": "/data/input",
    "outputPath": "/data/output"
  },
  "maxRetries": 3
}""".encode()

REGISTER = b"""{
  "unitType": "DOCKER_CONTAINER",
  "unitName": "data-processor-1",
  "capacity": 5,
  "endpoint": "http://processor:8080",
  "config": {}
}"""

CALLBACK = b"""{
  "status": "SUCCESS",
  "result": {},
  "errorMessage": null
}"""


async def test_6_1_1_a_task_is_created(rest: Rest) -> None:
    answer = await rest.send(CREATE)
    assert answer.status == 201
    assert answer.headers["location"] == f"/api/tasks/{answer.body['id']}"
    task = answer.body
    assert isinstance(task["id"], int)
    assert (task["taskName"], task["taskType"], task["priority"]) == ("数据处理任务", "DATA_PROCESSING", 1)
    assert task["config"] == {"inputPath": "/data/input", "outputPath": "/data/output"}
    assert (task["status"], task["maxRetries"], task["retryCount"]) == ("PENDING", 3, 0)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", task["createdAt"])


async def test_6_1_2_to_6_1_6_each_verb_has_its_path(rest: Rest, unit: RawUnit, wire: Wire) -> None:
    paused, failed, pending = [await task_in(status, wire, unit) for status in ("PAUSED", "FAILED", "PENDING")]
    assert (await rest.post(f"/api/tasks/{pending}/start")).body["status"] == "RUNNING"
    # Nothing but PAUSED can be paused while the only unit does not answer: a repeat is harmless.
    assert (await rest.post(f"/api/tasks/{paused}/pause")).body["status"] == "PAUSED"
    assert (await rest.post(f"/api/tasks/{failed}/restart")).body["status"] == "PENDING"
    assert (await rest.post(f"/api/tasks/{failed}/cancel")).body["status"] == "CANCELLED"
    assert (await rest.call("DELETE", f"/api/tasks/{failed}")).status == 204
    assert (await rest.get(f"/api/tasks/{failed}")).status == 404


async def test_6_1_7_tasks_are_found(rest: Rest, unit: RawUnit, wire: Wire) -> None:
    running = await task_in("RUNNING", wire, unit)
    await rest.send(CREATE)
    assert (await rest.get(f"/api/tasks/{running}")).body["id"] == running
    answer = await rest.get("/api/tasks?status=RUNNING&page=1&limit=10")
    assert answer.status == 200
    assert [task["id"] for task in answer.body["items"]] == [running]
    assert {name: answer.body[name] for name in ("total", "page", "limit")} == {"total": 1, "page": 1, "limit": 10}


async def test_6_2_a_unit_registers_and_stays_alive(rest: Rest) -> None:
    answer = await rest.send(REGISTER, "/api/execution-units")
    assert answer.status == 201
    unit = answer.body
    assert (unit["unitType"], unit["unitName"], unit["capacity"]) == ("DOCKER_CONTAINER", "data-processor-1", 5)
    assert (unit["endpoint"], unit["config"], unit["status"]) == ("http://processor:8080", {}, "AVAILABLE")
    beat = await rest.post(f"/api/execution-units/{unit['id']}/heartbeat")
    assert beat.status == 200
    assert beat.body["lastHeartbeat"] >= unit["lastHeartbeat"]


async def test_8_2_1_a_unit_tells_of_success(rest: Rest) -> None:
    await rest.send(REGISTER, "/api/execution-units")
    task = await rest.create(taskType="DOCKER_CONTAINER", start=True)
    started = await rest.post(f"/api/tasks/{task['id']}/start")
    assert started.body["status"] == "RUNNING"
    answer = await rest.send(CALLBACK, f"/api/tasks/{task['id']}/status")
    assert answer.status == 200
    assert (answer.body["task"]["status"], answer.body["task"]["result"]) == ("SUCCESS", {})
