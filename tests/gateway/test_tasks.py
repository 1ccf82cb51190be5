import pytest
from gateway.rest import Rest
from rpc.obedient_unit import obeying
from rpc.raw_unit import RawUnit
from rpc.server import Wire
from rpc.tasks import paused, running, task_in

from taskplane.server.idempotency import responses

# Fields that differ between two reads of one task.
MOVING = {"activeSeconds": 0, "pausedSeconds": 0}


async def test_what_is_given_at_creation_is_kept(rest: Rest) -> None:
    given = {
        "taskName": "😀 " + "名" * 200,
        "priority": 1000,
        "config": {"a": [1, 2.5, None, {"deep": {"er": ["x", True]}}], "数": "据", "big": 9007199254740993},
        "maxRetries": 0,
        "labels": {"team": "data"},
        "unitLabels": {"zone": "eu/1"},
        "limits": {
            "runBudgetSeconds": 60,
            "deadline": "2100-01-02T03:04:05.000600Z",
            "queueTimeoutSeconds": 0.5,
            "stallTimeoutSeconds": None,
        },
    }
    task = await rest.create(**given)
    assert {name: task[name] for name in given} == given
    assert (await rest.get(f"/api/tasks/{task['id']}")).body | MOVING == task | MOVING


async def test_times_are_told_in_utc(rest: Rest) -> None:
    task = await rest.create(limits={"deadline": "2100-01-01T00:00:00+05:30"})
    assert task["limits"]["deadline"] == "2099-12-31T18:30:00.000000Z"


async def test_a_limit_that_is_shorter_than_any_that_is_kept_is_not_off(rest: Rest) -> None:
    task = await rest.create(limits={"stallTimeoutSeconds": 1e-9, "runBudgetSeconds": 0})
    assert (task["limits"]["stallTimeoutSeconds"], task["limits"]["runBudgetSeconds"]) == (1e-6, None)


async def test_start_at_creation_says_why_the_task_waits(rest: Rest) -> None:
    task = await rest.create(start=True)
    assert (task["status"], task["waitingReason"]) == ("PENDING", "NO_UNIT_FOR_TYPE")
    assert task["queuedAt"]


async def test_a_verb_waits_for_its_effect(rest: Rest, unit: RawUnit) -> None:
    task = await rest.create()
    async with obeying(unit):
        assert (await rest.post(f"/api/tasks/{task['id']}/start")).body["status"] == "RUNNING"
        answer = await rest.post(f"/api/tasks/{task['id']}/pause", {"actor": "alice", "reason": "lunch"})
        assert answer.body["status"] == "PAUSED"
        assert answer.body["checkpoint"]["data"] is not None
        assert (await rest.post(f"/api/tasks/{task['id']}/resume")).body["status"] == "RUNNING"
        assert (await rest.post(f"/api/tasks/{task['id']}/cancel")).body["status"] == "CANCELLED"
    history = (await rest.get(f"/api/tasks/{task['id']}/history")).body["items"]
    steps = ["PENDING", "RUNNING", "PAUSED", "RUNNING", "CANCELLED"]
    assert [each["toStatus"] for each in history] == steps
    assert [each["fromStatus"] for each in history] == [None, *steps[:-1]]
    assert (history[2]["changedBy"], history[2]["reason"]) == ("alice", "lunch")


async def test_a_wait_that_runs_out_is_504_and_the_command_stays(rest: Rest, wire: Wire, unit: RawUnit) -> None:
    task_id = (await running(wire, unit)).task_id
    answer = await rest.post(f"/api/tasks/{task_id}/pause", {"wait": 0.05})
    assert (answer.status, answer.error["reason"]) == (504, "COMMAND_PENDING")
    assert (await rest.get(f"/api/tasks/{task_id}")).body["pendingCommand"]["verb"] == "PAUSE"


async def test_without_wait_a_verb_returns_at_once(rest: Rest, wire: Wire, unit: RawUnit) -> None:
    task_id = (await running(wire, unit)).task_id
    answer = await rest.post(f"/api/tasks/{task_id}/cancel", {"wait": False})
    assert (answer.status, answer.body["status"]) == (200, "RUNNING")
    assert answer.body["pendingCommand"]["verb"] == "CANCEL"


@pytest.mark.parametrize(
    ("status", "verb"),
    [("PENDING", "pause"), ("PENDING", "resume"), ("SUCCESS", "cancel"), ("FAILED", "start"), ("RUNNING", "restart")],
)
async def test_an_illegal_verb_is_409_and_says_what_is_allowed(
    status: str, verb: str, rest: Rest, wire: Wire, unit: RawUnit
) -> None:
    task_id = await task_in(status, wire, unit)
    answer = await rest.post(f"/api/tasks/{task_id}/{verb}")
    assert (answer.status, answer.error["status"]) == (409, "FAILED_PRECONDITION")
    assert answer.error["reason"] == "ILLEGAL_TRANSITION"
    metadata = answer.error["details"]["metadata"]
    assert (metadata["taskId"], metadata["from"]) == (str(task_id), status)
    assert "allowed" in metadata


async def test_only_finished_tasks_are_deleted(rest: Rest) -> None:
    task = await rest.create()
    answer = await rest.call("DELETE", f"/api/tasks/{task['id']}")
    assert (answer.status, answer.error["reason"]) == (409, "TASK_NOT_FINAL")


async def test_a_stale_revision_is_412_and_changes_nothing(rest: Rest) -> None:
    task = await rest.create()
    path = f"/api/tasks/{task['id']}"
    answer = await rest.post(f"{path}/cancel", {"revision": task["revision"] + 1})
    assert (answer.status, answer.error["reason"]) == (412, "STALE_REVISION")
    assert (await rest.get(path)).body["status"] == "PENDING"
    assert (await rest.post(f"{path}/cancel", {"revision": task["revision"]})).body["status"] == "CANCELLED"
    assert (await rest.call("DELETE", path, revision=task["revision"])).status == 412


async def test_a_repeat_with_the_same_request_id_gets_the_first_answer(rest: Rest) -> None:
    body = {"taskName": "once", "taskType": "WORK", "requestId": "r-1"}
    first, second = await rest.post("/api/tasks", body), await rest.post("/api/tasks", body)
    assert (second.status, second.body) == (201, first.body)
    assert second.headers["location"] == first.headers["location"]
    cancel = {"requestId": "r-2", "reason": "x"}
    path = f"/api/tasks/{first.body['id']}"
    cancelled = await rest.post(f"{path}/cancel", cancel)
    await rest.post(f"{path}/restart")
    assert (await rest.post(f"{path}/cancel", cancel)).body == cancelled.body
    assert (await rest.get(path)).body["status"] == "PENDING"


async def test_a_repeat_whose_answer_was_too_long_to_keep_is_404_after_a_delete(
    rest: Rest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "MAX_RESPONSE_BYTES", 1000)
    body = {"taskName": "large", "taskType": "WORK", "config": {"x": "x" * 1000}, "requestId": "r-1"}
    path = f"/api/tasks/{(await rest.post('/api/tasks', body)).body['id']}"
    await rest.post(f"{path}/cancel")
    await rest.call("DELETE", path)
    answer = await rest.post("/api/tasks", body)
    assert (answer.status, answer.error["reason"]) == (404, "TASK_NOT_FOUND")


async def test_a_request_id_of_something_else_is_refused(rest: Rest) -> None:
    body = {"taskName": "once", "taskType": "WORK", "requestId": "r-1"}
    task = (await rest.post("/api/tasks", body)).body
    for answer in (
        await rest.post("/api/tasks", body | {"taskName": "twice"}),
        await rest.post(f"/api/tasks/{task['id']}/start", {"requestId": "r-1"}),
    ):
        assert (answer.status, answer.error["reason"]) == (400, "REQUEST_ID_REUSED")
        assert answer.error["details"]["fieldViolations"][0]["field"] == "requestId"


async def test_a_repeated_delete_with_the_same_request_id_is_harmless(rest: Rest) -> None:
    task = await rest.create()
    await rest.post(f"/api/tasks/{task['id']}/cancel")
    for _ in range(2):
        assert (await rest.call("DELETE", f"/api/tasks/{task['id']}", requestId="d-1")).status == 204
    assert (await rest.call("DELETE", f"/api/tasks/{task['id']}")).status == 404


async def test_checkpoints_are_listed_newest_first(rest: Rest, wire: Wire, unit: RawUnit) -> None:
    task_id = (await paused(wire, unit)).task_id
    (checkpoint,) = (await rest.get(f"/api/tasks/{task_id}/checkpoints")).body["items"]
    assert (checkpoint["number"], checkpoint["attempt"], checkpoint["data"]) == (1, 1, {"row": 10})


async def test_history_comes_in_pages(rest: Rest) -> None:
    task = await rest.create()
    await rest.post(f"/api/tasks/{task['id']}/cancel")
    first = (await rest.get(f"/api/tasks/{task['id']}/history", limit=1)).body
    token = first["nextPageToken"]
    second = (await rest.get(f"/api/tasks/{task['id']}/history", limit=1, pageToken=token)).body
    assert [each["toStatus"] for each in first["items"] + second["items"]] == ["PENDING", "CANCELLED"]
    assert second["nextPageToken"] is None
