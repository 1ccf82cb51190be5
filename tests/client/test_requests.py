"""The request of each method, and its result from the response."""

from datetime import timedelta

import pytest
from client.conftest import FakeServer, in_background
from google.protobuf.duration_pb2 import Duration

from taskplane.client import Client, NotJsonError, task_filter, task_spec, to_dict
from taskplane.v1.execution_unit_pb2 import ExecutionUnit
from taskplane.v1.operations_service_pb2 import DrainUnitResponse, GetStatisticsResponse, GetUnitResponse
from taskplane.v1.task_pb2 import TASK_STATUS_FAILED, Task, TaskCheckpoint, TaskLimits
from taskplane.v1.task_service_pb2 import (
    BATCH_VERB_PAUSE,
    BatchControlResult,
    BatchControlTasksResponse,
    BatchCreateTasksResponse,
    CancelTaskResponse,
    CreateTaskResponse,
    DeleteTaskResponse,
    ListTaskCheckpointsResponse,
    PauseTaskResponse,
    RestartTaskResponse,
    ResumeTaskResponse,
    StartTaskResponse,
    UpdateTaskResponse,
)


def test_create_sends_the_new_task(client: Client, server: FakeServer) -> None:
    creating = in_background(
        client.create_task,
        "DATA",
        "users",
        {"batchSize": 100},
        start=True,
        priority=5,
        max_retries=0,
        labels={"team": "a"},
        unit_labels={"zone": "b"},
        limits=TaskLimits(run_budget=Duration(seconds=60)),
        actor="me",
        reason="because",
    )
    call = server.take("CreateTask")
    call.answer(CreateTaskResponse(task=Task(id=7)))
    assert creating.result(20).id == 7
    spec = call.request.task
    assert (spec.task_type, spec.task_name, spec.start, spec.priority) == ("DATA", "users", True, 5)
    assert (spec.HasField("max_retries"), spec.max_retries) == (True, 0)
    assert (spec.labels, spec.unit_labels, spec.limits.run_budget.seconds) == ({"team": "a"}, {"zone": "b"}, 60)
    assert to_dict(spec.config) == {"batchSize": 100}
    assert (call.request.context.actor, call.request.context.reason) == ("me", "because")


def test_create_leaves_the_servers_defaults_to_the_server(client: Client, server: FakeServer) -> None:
    creating = in_background(client.create_task, "DATA", "users")
    call = server.take("CreateTask")
    call.answer(CreateTaskResponse())
    creating.result(20)
    assert not call.request.task.HasField("max_retries")
    assert not call.request.task.start


def test_a_config_that_is_not_json_is_refused_before_the_call(client: Client) -> None:
    with pytest.raises(NotJsonError, match=r"config\.ratio: nan is not a JSON number"):
        client.create_task("DATA", "users", {"ratio": float("nan")})


def test_a_batch_keeps_its_order(client: Client, server: FakeServer) -> None:
    creating = in_background(client.batch_create_tasks, [task_spec("T", "a"), task_spec("T", "b", start=True)])
    call = server.take("BatchCreateTasks")
    call.answer(BatchCreateTasksResponse(tasks=[Task(id=1), Task(id=2)]))
    assert [task.id for task in creating.result(20)] == [1, 2]
    assert [spec.task_name for spec in call.request.tasks] == ["a", "b"]
    assert call.request.context.request_id


def test_an_update_names_the_fields_that_change(client: Client, server: FakeServer) -> None:
    updating = in_background(client.update_task, 7, {"priority": 0, "labels": {"a": "b"}}, expected_revision=3)
    call = server.take("UpdateTask")
    call.answer(UpdateTaskResponse(task=Task(id=7)))
    assert updating.result(20).id == 7
    assert call.request.update_mask.paths == ["labels", "priority"]
    assert (call.request.task.priority, call.request.task.labels) == (0, {"a": "b"})
    assert call.request.context.expected_revision == 3


@pytest.mark.parametrize(
    ("verb", "response"),
    [
        ("start", StartTaskResponse),
        ("pause", PauseTaskResponse),
        ("resume", ResumeTaskResponse),
        ("cancel", CancelTaskResponse),
        ("restart", RestartTaskResponse),
    ],
)
@pytest.mark.parametrize("wait", [True, False])
def test_a_verb_tells_who_why_and_whether_to_wait(
    client: Client, server: FakeServer, verb: str, response: type[PauseTaskResponse], *, wait: bool
) -> None:
    method = getattr(client, f"{verb}_task")
    doing = in_background(method, 7, wait=wait, actor="me", reason="because", expected_revision=9)
    call = server.take(f"{verb.capitalize()}Task")
    call.answer(response(task=Task(id=7, revision=10)))
    assert doing.result(20).revision == 10
    context = call.request.context
    assert (call.request.task_id, call.request.no_wait) == (7, not wait)
    assert (context.actor, context.reason, context.expected_revision) == ("me", "because", 9)
    assert context.request_id


@pytest.mark.parametrize(("verb", "response"), [("resume", ResumeTaskResponse), ("restart", RestartTaskResponse)])
def test_a_task_resumes_from_a_chosen_checkpoint(
    client: Client, server: FakeServer, verb: str, response: type[ResumeTaskResponse]
) -> None:
    doing = in_background(getattr(client, f"{verb}_task"), 7, checkpoint_number=4)
    call = server.take(f"{verb.capitalize()}Task")
    call.answer(response())
    doing.result(20)
    assert call.request.checkpoint_number == 4


def test_delete_returns_nothing(client: Client, server: FakeServer) -> None:
    deleting = in_background(client.delete_task, 7, reason="old")
    call = server.take("DeleteTask")
    call.answer(DeleteTaskResponse())
    deleting.result(20)
    assert (call.request.task_id, call.request.context.reason) == (7, "old")


def test_many_tasks_are_chosen_by_id_or_by_filter(client: Client, server: FakeServer) -> None:
    by_id = in_background(client.batch_control_tasks, BATCH_VERB_PAUSE, [1, 2], validate_only=True)
    call = server.take("BatchControlTasks")
    call.answer(BatchControlTasksResponse(results=[BatchControlResult(task_id=1)]))
    assert by_id.result(20)[0].task_id == 1
    assert (call.request.task_ids, call.request.validate_only) == ([1, 2], True)
    assert not call.request.HasField("filter")

    by_filter = in_background(
        client.batch_control_tasks, BATCH_VERB_PAUSE, task_filter(statuses=["FAILED"]), max_tasks=10
    )
    call = server.take("BatchControlTasks")
    call.answer(BatchControlTasksResponse())
    by_filter.result(20)
    assert (call.request.filter.statuses, call.request.max_tasks) == ([TASK_STATUS_FAILED], 10)


def test_checkpoints_come_as_a_list(client: Client, server: FakeServer) -> None:
    listing = in_background(client.list_task_checkpoints, 7)
    server.take("ListTaskCheckpoints").answer(
        ListTaskCheckpointsResponse(checkpoints=[TaskCheckpoint(number=2), TaskCheckpoint(number=1)])
    )
    assert [checkpoint.number for checkpoint in listing.result(20)] == [2, 1]


def test_one_checkpoint_is_requested_by_its_number(client: Client, server: FakeServer) -> None:
    listing = in_background(client.list_task_checkpoints, 7, number=2)
    call = server.take("ListTaskCheckpoints")
    call.answer(ListTaskCheckpointsResponse(checkpoints=[TaskCheckpoint(number=2)]))
    assert [checkpoint.number for checkpoint in listing.result(20)] == [2]
    assert (call.request.task_id, call.request.number) == (7, 2)


def test_operators_get_units_and_figures(client: Client, server: FakeServer) -> None:
    getting = in_background(client.get_unit, "u1")
    server.take("GetUnit").answer(GetUnitResponse(unit=ExecutionUnit(id="u1")))
    assert getting.result(20).id == "u1"

    draining = in_background(client.drain_unit, "u1", within=timedelta(seconds=30), wait=False, reason="upgrade")
    call = server.take("DrainUnit")
    call.answer(DrainUnitResponse(unit=ExecutionUnit(id="u1", draining=True)))
    assert draining.result(20).draining
    assert (call.request.timeout.seconds, call.request.no_wait, call.request.reason) == (30, True, "upgrade")

    counting = in_background(client.get_statistics, window=timedelta(minutes=5), task_type="T")
    call = server.take("GetStatistics")
    call.answer(GetStatisticsResponse(queued=3))
    assert counting.result(20).queued == 3
    assert (call.request.window.seconds, call.request.task_type) == (300, "T")
