"""docs/how-to/grpcurl.md, tried: create, start, pause, resume and cancel with reflection only."""

import json
from pathlib import Path
from typing import Any

import pytest
from end_to_end.cluster import Cluster
from end_to_end.grpcurl import Grpcurl, find_grpcurl

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "grpcurl.md"


@pytest.fixture(scope="session")
def program() -> Path:
    return find_grpcurl()


@pytest.fixture
def grpcurl(program: Path, cluster: Cluster) -> Grpcurl:
    """Speaks to a server with a data processing unit."""
    cluster.serve()
    cluster.run_unit()
    return Grpcurl(program, cluster.address)


def test_a_task_is_controlled_by_reflection_only(grpcurl: Grpcurl, cluster: Cluster, config: dict[str, Any]) -> None:
    request = {"task": {"taskName": "users", "taskType": "DATA_PROCESSING", "config": config}}
    created = grpcurl.call("TaskService/CreateTask", json.dumps(request))["task"]
    assert created["status"] == "TASK_STATUS_PENDING"
    one = f'{{"taskId": {created["id"]}}}'
    assert grpcurl.call("TaskService/StartTask", one)["task"]["status"] == "TASK_STATUS_RUNNING"
    paused = grpcurl.call("TaskService/PauseTask", one)["task"]
    assert paused["status"] == "TASK_STATUS_PAUSED"
    assert paused["checkpoint"]["data"]["row"] > 0
    assert grpcurl.call("TaskService/ResumeTask", one)["task"]["status"] == "TASK_STATUS_RUNNING"
    assert grpcurl.call("TaskService/PauseTask", one)["task"]["status"] == "TASK_STATUS_PAUSED"
    assert grpcurl.call("TaskService/CancelTask", one)["task"]["status"] == "TASK_STATUS_CANCELLED"
    history = grpcurl.call("TaskService/ListTaskTransitions", one)["transitions"]
    assert [each["to_status"].removeprefix("TASK_STATUS_") for each in history] == [
        *("PENDING", "RUNNING", "PAUSED", "RUNNING", "PAUSED", "CANCELLED")
    ]


def test_services_are_listed_and_described(grpcurl: Grpcurl) -> None:
    assert "taskplane.v1.TaskService" in grpcurl.run("list").stdout.splitlines()
    assert "rpc PauseTask" in grpcurl.run("describe", "taskplane.v1.TaskService").stdout
    assert grpcurl.run("grpc.health.v1.Health/Check").stdout.split() == ["{", '"status":', '"SERVING"', "}"]


def test_an_error_shows_its_reason_and_fields(grpcurl: Grpcurl) -> None:
    done = grpcurl.run("taskplane.v1.TaskService/CreateTask", options=("-d", '{"task": {"priority": -1}}'))
    assert done.returncode != 0
    for text in ("InvalidArgument", "INVALID_FIELDS", "task.task_name", "task.task_type", "task.priority"):
        assert text in done.stderr


def test_the_page_calls_methods_that_there_are(grpcurl: Grpcurl) -> None:
    described = {
        name: grpcurl.run("describe", f"taskplane.v1.{name}").stdout for name in ("TaskService", "OperationsService")
    }
    calls = [word for word in PAGE.read_text(encoding="utf-8").split() if word.startswith("taskplane.v1.")]
    called = [call.removeprefix("taskplane.v1.").split("/") for call in calls if "/" in call]
    assert len(called) >= 5
    for service, method in called:
        assert f"rpc {method} " in described[service]
