from typing import Any

import pytest
from gateway.rest import Rest
from rpc.raw_unit import RawUnit
from rpc.server import Wire
from rpc.tasks import running

from taskplane.v1.execution_unit_control_pb2 import ReleasedReport

UNITS = "/api/execution-units"
UNIT = {"unitType": "WORKER", "unitName": "one", "capacity": 2, "endpoint": "http://127.0.0.1:1/unit", "config": {}}


async def register(rest: Rest, **changes: Any) -> Any:
    answer = await rest.post(UNITS, UNIT | changes)
    assert answer.status == 201, answer.body
    return answer.body


async def started(rest: Rest) -> Any:
    """Return a task that runs on the one registered unit."""
    task = await rest.create(taskType="WORKER")
    answer = await rest.post(f"/api/tasks/{task['id']}/start")
    assert answer.body["status"] == "RUNNING"
    return answer.body


async def test_a_unit_is_told_how_to_stay_alive(rest: Rest) -> None:
    unit = await register(rest)
    assert (unit["heartbeatIntervalSeconds"], unit["leaseSeconds"]) == (5.0, 30.0)
    assert unit["taskTypes"] == []


async def test_a_unit_that_registers_again_keeps_its_id(rest: Rest) -> None:
    first = await register(rest)
    again = await register(rest, capacity=7)
    assert (again["id"], again["capacity"], again["createdAt"]) == (first["id"], 7, first["createdAt"])
    assert (await rest.get(UNITS)).body["total"] == 1


async def test_task_types_may_be_named_with_what_is_possible(rest: Rest) -> None:
    types = [{"taskType": "A", "canPause": True, "canCheckpoint": False}]
    assert (await register(rest, taskTypes=types))["taskTypes"] == types


async def test_units_are_found(rest: Rest, unit: RawUnit) -> None:
    http_unit = await register(rest)
    listed = (await rest.get(UNITS)).body
    assert {each["id"] for each in listed["items"]} == {"unit-1", http_unit["id"]}
    assert (listed["total"], listed["page"], listed["limit"]) == (2, 1, 50)
    for query in ({"unitType": "WORKER"}, {"taskType": "WORKER"}, {"page": 1, "limit": 1, "unitType": "WORKER"}):
        found = (await rest.get(UNITS, **query)).body["items"]
        assert [each["id"] for each in found] == [http_unit["id"]], query
    assert (await rest.get(UNITS, status="OFFLINE")).body["items"] == []
    assert (await rest.get(UNITS, status="DEAD")).bad_fields == {"status"}
    stream_unit = (await rest.get(f"{UNITS}/unit-1")).body
    assert (stream_unit["endpoint"], stream_unit["status"]) == (None, "AVAILABLE")


async def test_a_heartbeat_may_tell_a_new_capacity(rest: Rest) -> None:
    unit = await register(rest)
    assert (await rest.post(f"{UNITS}/{unit['id']}/heartbeat", {"capacity": 9})).body["capacity"] == 9
    assert (await rest.post(f"{UNITS}/{unit['id']}/heartbeat")).body["capacity"] == 9


async def test_a_unit_on_the_stream_sends_no_heartbeats_here(rest: Rest, unit: RawUnit) -> None:
    answer = await rest.post(f"{UNITS}/unit-1/heartbeat")
    assert (answer.status, answer.error["reason"]) == (409, "UNIT_HAS_STREAM")


async def test_a_connected_unit_is_not_forgotten(rest: Rest, unit: RawUnit) -> None:
    answer = await rest.call("DELETE", f"{UNITS}/unit-1")
    assert (answer.status, answer.error["reason"]) == (409, "UNIT_IN_USE")


async def test_a_drain_that_takes_longer_is_504_and_goes_on(rest: Rest, wire: Wire, unit: RawUnit) -> None:
    await running(wire, unit)
    answer = await rest.post(f"{UNITS}/unit-1/drain", {"wait": 0.05, "actor": "alice"})
    assert (answer.status, answer.error["reason"]) == (504, "COMMAND_PENDING")
    assert (await rest.get(f"{UNITS}/unit-1")).body["draining"] is True


async def test_the_history_names_who_has_drained_the_unit(rest: Rest, wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    await rest.post(f"{UNITS}/unit-1/drain", {"wait": False, "actor": "alice", "reason": "a new disk"})
    await unit.report(start, released=ReleasedReport())
    await unit.all_acknowledged()
    given_back = (await wire.history(start.task_id))[-1]
    assert (given_back.changed_by, given_back.reason) == ("alice", "a new disk; released by the unit")


async def test_callbacks_lead_a_task_to_its_end(rest: Rest) -> None:
    await register(rest)
    task = await started(rest)
    path = f"/api/tasks/{task['id']}/status"
    attempt = task["attempt"]
    told = {"status": "RUNNING", "attempt": attempt, "progress": 40, "message": "row 4", "checkpoint": {"row": 4}}
    assert (await rest.post(path, told)).body["verdict"] == "KEEP"
    seen = (await rest.get(f"/api/tasks/{task['id']}")).body
    assert (seen["progress"]["fraction"], seen["progress"]["message"]) == (0.4, "row 4")
    assert seen["checkpoint"]["data"] == {"row": 4}
    done = {"status": "SUCCESS", "attempt": attempt, "result": {"rows": 10}}
    for _ in range(2):  # a repeat is harmless
        answer = await rest.post(path, done)
        assert (answer.status, answer.body["task"]["status"], answer.body["task"]["result"]) == (
            200,
            "SUCCESS",
            {"rows": 10},
        )


async def test_a_failure_that_is_not_retryable_is_final(rest: Rest) -> None:
    await register(rest)
    task = await started(rest)
    failed = {"status": "FAILED", "errorMessage": "no such file", "retryable": False}
    told = (await rest.post(f"/api/tasks/{task['id']}/status", failed)).body["task"]
    assert (told["status"], told["errorMessage"], told["retryCount"]) == ("FAILED", "no such file", 0)


async def test_a_stale_attempt_is_409_and_changes_nothing(rest: Rest) -> None:
    await register(rest)
    task = await started(rest)
    path = f"/api/tasks/{task['id']}/status"
    answer = await rest.post(path, {"status": "SUCCESS", "attempt": task["attempt"] + 1})
    assert (answer.status, answer.error["reason"]) == (409, "STALE_ATTEMPT")
    assert answer.error["details"]["metadata"]["dropReason"] == "SUPERSEDED"
    assert (await rest.get(f"/api/tasks/{task['id']}")).body["status"] == "RUNNING"


async def test_a_callback_cannot_make_a_task_pending(rest: Rest) -> None:
    await register(rest)
    task = await started(rest)
    answer = await rest.post(f"/api/tasks/{task['id']}/status", {"status": "PENDING"})
    assert (answer.status, answer.error["reason"]) == (400, "INVALID_FIELDS")
    (violation,) = answer.error["details"]["fieldViolations"]
    assert violation["field"] == "status"
    assert "a unit that has it reports RUNNING" in violation["description"]


@pytest.mark.parametrize("result", [[1, 2], "done", 7, False])
async def test_a_result_may_be_any_json_value(result: Any, rest: Rest) -> None:
    await register(rest)
    task = await started(rest)
    told = (await rest.post(f"/api/tasks/{task['id']}/status", {"status": "SUCCESS", "result": result})).body["task"]
    assert (told["status"], told["result"]) == ("SUCCESS", {"value": result})


async def test_a_failure_keeps_the_result_that_comes_with_it(rest: Rest) -> None:
    await register(rest)
    task = await started(rest)
    failed = {"status": "FAILED", "errorMessage": "half of it", "retryable": False, "result": {"rows": 5}}
    told = (await rest.post(f"/api/tasks/{task['id']}/status", failed)).body["task"]
    assert (told["status"], told["result"]) == ("FAILED", {"rows": 5})
    assert (await rest.get(f"/api/tasks/{task['id']}")).body["result"] == {"rows": 5}


async def test_a_callback_about_a_task_that_never_ran_says_so(rest: Rest) -> None:
    unit = await register(rest)
    task = await rest.create(taskType="WORKER")
    for about in ({}, {"unitId": unit["id"]}, {"attempt": 1}):
        answer = await rest.post(f"/api/tasks/{task['id']}/status", {"status": "SUCCESS"} | about)
        assert (answer.status, answer.error["reason"]) == (409, "NEVER_DISPATCHED")
        assert "was never given to a unit" in answer.error["message"]
