"""Well-formed calls with a wrong field, or a wrong subject."""

from typing import Any

import pytest
from gateway.rest import Rest

UNITS = "/api/execution-units"
UNIT = {"unitType": "WORKER", "unitName": "one", "endpoint": "http://127.0.0.1:1/unit"}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("wait", [-1, 61, "true", None, []])
async def test_a_bad_wait_is_refused(wait: Any, rest: Rest) -> None:
    task = await rest.create()
    assert (await rest.post(f"/api/tasks/{task['id']}/start", {"wait": wait})).bad_fields == {"wait"}


@pytest.mark.parametrize("verb", ["start", "pause", "resume", "cancel", "restart"])
async def test_verbs_of_a_task_that_is_not_there_are_404(verb: str, rest: Rest) -> None:
    answer = await rest.post(f"/api/tasks/4711/{verb}")
    assert (answer.status, answer.error["reason"]) == (404, "TASK_NOT_FOUND")


@pytest.mark.parametrize(
    ("changes", "bad"),
    [
        ({"endpoint": "ftp://x"}, {"endpoint"}),
        ({"endpoint": "http://"}, {"endpoint"}),
        ({"endpoint": "x" * 501}, {"endpoint"}),
        ({"capacity": -1}, {"capacity"}),
        ({"capacity": 10_001, "unitName": ""}, {"capacity", "unitName"}),
        ({"unitType": "x" * 101}, {"unitType"}),
        ({"unitId": "x" * 251}, {"unitId"}),
        ({"unitId": "eu/west"}, {"unitId"}),
        ({"config": {"taskTypes": "A"}}, {"config.taskTypes"}),
        ({"taskTypes": [{"taskType": "no spaces"}]}, {"taskTypes[0].taskType"}),
        ({"capcity": 1}, {"capcity"}),
    ],
)
async def test_bad_registrations_name_their_fields(changes: dict[str, Any], bad: set[str], rest: Rest) -> None:
    assert (await rest.post(UNITS, UNIT | changes)).bad_fields == bad


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("DELETE", ""), ("POST", "/heartbeat"), ("POST", "/drain")])
async def test_a_unit_that_is_not_there_is_404(method: str, path: str, rest: Rest) -> None:
    answer = await rest.call(method, f"{UNITS}/nobody{path}")
    assert (answer.status, answer.error["reason"]) == (404, "UNIT_NOT_FOUND")


@pytest.mark.parametrize(
    ("body", "bad"),
    [
        ({}, {"status"}),
        ({"status": "DONE"}, {"status"}),
        ({"status": "RUNNING", "checkpoint": []}, {"checkpoint"}),
        ({"status": "SUCCESS", "result": {"a": [1] * 100_000}}, {"result"}),
        ({"status": "RUNNING", "checkpoint": {"a": [1] * 100_000}}, {"checkpoint"}),
        ({"status": "RUNNING", "progress": -0.01}, {"progress"}),
        ({"status": "RUNNING", "progress": 101, "attempt": 0}, {"progress", "attempt"}),
        ({"status": "RUNNING", "attempt": 2**31}, {"attempt"}),
        ({"status": "FAILED", "error": "x"}, {"error"}),
        ({"status": "SUCCESS", "unitId": "x" * 251}, {"unitId"}),
    ],
)
async def test_bad_callbacks_name_their_fields(body: dict[str, Any], bad: set[str], rest: Rest) -> None:
    task = await rest.create()
    assert (await rest.post(f"/api/tasks/{task['id']}/status", body)).bad_fields == bad


@pytest.mark.parametrize("checkpoint", [[1, 2], "done", 7, True])
async def test_a_checkpoint_that_is_no_object_is_told_what_to_do(checkpoint: Any, rest: Rest) -> None:
    task = await rest.create()
    answer = await rest.post(f"/api/tasks/{task['id']}/status", {"status": "RUNNING", "checkpoint": checkpoint})
    (violation,) = answer.error["details"]["fieldViolations"]
    assert violation["field"] == "checkpoint"
    assert violation["description"].startswith('must be a JSON object; put any other value into one, such as {"value"')


async def test_a_callback_for_a_task_that_is_not_there_is_404(rest: Rest) -> None:
    assert (await rest.post("/api/tasks/4711/status", {"status": "SUCCESS"})).status == 404
