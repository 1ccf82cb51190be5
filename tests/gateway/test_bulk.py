"""Calls that concern many tasks, or a part of one: bulk create and control, updates, commands, windowed statistics."""

from typing import Any

import pytest
from gateway.rest import Rest
from rpc.obedient_unit import obeying
from rpc.raw_unit import RawUnit
from rpc.server import Wire
from rpc.tasks import running

from taskplane.protocol.documents import MAX_NESTING

BATCH = "/api/batch/create"
CONTROL = "/api/batch/control"
TASK: dict[str, Any] = {"taskName": "one of many", "taskType": "WORK"}


async def test_many_tasks_are_created_together(rest: Rest) -> None:
    body = {"tasks": [TASK | {"config": {"big": 2**53 + 1}}, TASK | {"priority": 7}], "requestId": "r"}
    created = await rest.post(BATCH, body)
    assert created.status == 201
    first, second = created.body["tasks"]
    assert (first["config"], second["config"], second["priority"]) == ({"big": 2**53 + 1}, {}, 7)
    assert (await rest.post(BATCH, body)).body == created.body
    assert (await rest.get("/api/tasks")).body["total"] == 2


async def test_a_config_of_many_may_be_as_deep_as_of_one(rest: Rest) -> None:
    config: Any = 1
    for _ in range(MAX_NESTING):
        config = {"a": config}
    created = await rest.post(BATCH, {"tasks": [TASK | {"config": config}]})
    assert created.body["tasks"][0]["config"] == config
    deeper = await rest.post(BATCH, {"tasks": [TASK | {"config": {"a": config}}]})
    assert deeper.bad_fields == {"body"}


async def test_a_bad_task_of_many_is_named_and_none_is_created(rest: Rest) -> None:
    bad = await rest.post(BATCH, {"tasks": [TASK, TASK | {"priority": -1, "labels": {"a": 1}, "config": []}]})
    assert bad.bad_fields == {"tasks[1].priority", "tasks[1].labels.a", "tasks[1].config"}
    assert (await rest.post(BATCH, {"tasks": []})).bad_fields == {"tasks"}
    assert (await rest.post(BATCH, {"tasks": [TASK] * 1001})).bad_fields == {"tasks"}
    assert (await rest.get("/api/tasks")).body["total"] == 0


async def test_a_verb_for_many_tasks_has_a_result_for_each(rest: Rest) -> None:
    one, other = [(await rest.create())["id"] for _ in range(2)]
    await rest.post(f"/api/tasks/{other}/cancel")
    results = (await rest.post(CONTROL, {"verb": "START", "taskIds": [one, other, 4711]})).body["results"]
    assert [(each["taskId"], each["reason"]) for each in results] == [
        (one, ""),
        (other, "ILLEGAL_TRANSITION"),
        (4711, "TASK_NOT_FOUND"),
    ]


async def test_a_filter_selects_the_tasks_of_a_verb(rest: Rest) -> None:
    mine = (await rest.create(labels={"team": "a"}))["id"]
    await rest.create(labels={"team": "b"})
    order = {"verb": "CANCEL", "filter": {"status": ["PENDING"], "labels": {"team": "a"}}}
    for is_dry, expected in ((True, "PENDING"), (False, "CANCELLED")):
        results = (await rest.post(CONTROL, order | {"validateOnly": is_dry})).body["results"]
        assert [each["taskId"] for each in results] == [mine]
        assert (await rest.get(f"/api/tasks/{mine}")).body["status"] == expected
    many = await rest.post(CONTROL, {"verb": "START", "filter": {}, "maxTasks": 1})
    assert (many.status, many.error["reason"]) == (429, "TOO_MANY_TASKS")


@pytest.mark.parametrize(
    ("body", "bad"),
    [
        ({}, {"verb", "taskIds"}),
        ({"verb": "EXPLODE", "taskIds": [1]}, {"verb"}),
        ({"verb": "PAUSE", "taskIds": [0, "1"]}, {"taskIds[0]", "taskIds[1]"}),
        ({"verb": "PAUSE", "taskIds": [1, 1]}, {"taskIds"}),
        ({"verb": "PAUSE", "filter": None}, {"taskIds"}),
        ({"verb": "PAUSE", "taskIds": [1], "filter": {}}, {"taskIds"}),
        (
            {"verb": "PAUSE", "filter": {"status": ["x"], "taskType": [" "], "x": 1}},
            {"filter.status[0]", "filter.taskType[0]", "filter.x"},
        ),
        ({"verb": "PAUSE", "filter": {}, "maxTasks": 1001}, {"maxTasks"}),
        ({"verb": "PAUSE", "filter": {}, "revision": 1}, {"revision"}),
    ],
)
async def test_bad_orders_for_many_tasks_name_their_fields(body: dict[str, Any], bad: set[str], rest: Rest) -> None:
    assert (await rest.post(CONTROL, body)).bad_fields == bad


async def test_an_update_changes_the_members_that_it_has(rest: Rest) -> None:
    task = await rest.create(priority=1, labels={"a": "b"}, limits={"runBudgetSeconds": 5, "stallTimeoutSeconds": 6})
    path = f"/api/tasks/{task['id']}"
    changed = await rest.call("PATCH", path, {"priority": 9, "limits": {"stallTimeoutSeconds": None}, "actor": "a"})
    assert (changed.status, changed.body["priority"], changed.body["labels"]) == (200, 9, {"a": "b"})
    assert changed.body["limits"] | {"runBudgetSeconds": 0} == dict.fromkeys(changed.body["limits"]) | {
        "runBudgetSeconds": 0
    }
    assert changed.body["limits"]["runBudgetSeconds"] == 5
    cleared = (await rest.call("PATCH", path, {"limits": None, "labels": {}})).body
    assert (cleared["limits"]["runBudgetSeconds"], cleared["labels"], cleared["priority"]) == (None, {}, 9)
    assert (await rest.call("PATCH", path, {"priority": 1, "revision": task["revision"]})).status == 412


@pytest.mark.parametrize(
    ("body", "bad"),
    [
        ({}, {"body"}),
        ({"reason": "none"}, {"body"}),
        ({"taskName": "x", "priority": -1}, {"taskName", "priority"}),
        ({"priority": None}, {"priority"}),
        ({"limits": {"x": 1, "deadline": 5}}, {"limits.x", "limits.deadline"}),
    ],
)
async def test_bad_updates_name_their_fields(body: dict[str, Any], bad: set[str], rest: Rest) -> None:
    task = await rest.create()
    answer = await rest.call("PATCH", f"/api/tasks/{task['id']}", body)
    assert bad <= answer.bad_fields


async def test_commands_are_listed(rest: Rest, wire: Wire, unit: RawUnit) -> None:
    task_id = (await running(wire, unit)).task_id
    async with obeying(unit):
        await rest.post(f"/api/tasks/{task_id}/pause", {"actor": "alice", "reason": "lunch"})
    (command,) = (await rest.get(f"/api/tasks/{task_id}/commands")).body["items"]
    assert (command["verb"], command["state"], command["actor"], command["reason"]) == (
        "PAUSE",
        "APPLIED",
        "alice",
        "lunch",
    )
    assert (await rest.get("/api/tasks/4711/commands")).status == 404


async def test_lists_take_every_filter_of_the_grpc_api(rest: Rest) -> None:
    low = (await rest.create(priority=1, labels={"team": "a", "zone": "eu"}))["id"]
    high = (await rest.create(priority=9, taskType="OTHER"))["id"]
    await rest.post(f"/api/tasks/{high}/cancel")

    async def found(**query: Any) -> list[int]:
        return [task["id"] for task in (await rest.get("/api/tasks", **query)).body["items"]]

    assert await found(status="PENDING,CANCELLED") == [high, low]
    assert await found(taskType="WORK,OTHER", minPriority=2) == [high]
    assert await found(maxPriority=2) == [low]
    assert await found(labels="team=a,zone=eu") == [low]
    assert await found(labels="team=b") == []
    assert await found(createdBefore="2000-01-01T00:00:00Z") == []
    assert await found(createdFrom="2000-01-01T00:00:00Z", sort="createdAt") == [low, high]
    bad = await rest.get("/api/tasks", labels="team", minPriority="x", createdFrom="now", status="PENDING,x")
    assert bad.bad_fields == {"labels", "minPriority", "createdFrom", "status"}


async def test_statistics_over_a_window(rest: Rest) -> None:
    task = await rest.create(start=True)
    await rest.post(f"/api/tasks/{task['id']}/cancel")
    told = (await rest.get("/api/statistics/window", windowSeconds=60, taskType="WORK")).body
    assert {each["status"]: each["count"] for each in told["tasks"]}["CANCELLED"] == 1
    assert (told["queued"], told["oldestQueuedSeconds"], told["successRate"]) == (0, None, 0)
    for window in ("0", "-1", "x", "3000000"):
        assert (await rest.get("/api/statistics/window", windowSeconds=window)).bad_fields == {"windowSeconds"}
