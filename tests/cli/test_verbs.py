import json

import pytest
from cli.conftest import CommandLine
from cli.scripted_server import Script
from google.protobuf.timestamp_pb2 import Timestamp

from taskplane.v1.task_pb2 import (
    TASK_STATUS_PENDING,
    TASK_STATUS_RUNNING,
    WAITING_REASON_NO_UNIT_FOR_TYPE,
    Task,
)


@pytest.mark.parametrize(
    ("verb", "state"),
    [
        ("start", "RUNNING"),
        ("pause", "PAUSED"),
        ("resume", "RUNNING"),
        ("cancel", "CANCELLED"),
        ("restart", "PENDING"),
    ],
)
def test_a_verb_tells_the_state_that_it_led_to(cli: CommandLine, script: Script, verb: str, state: str) -> None:
    script.add(Task(id=1, task_name="users"))
    assert cli.output("task", verb, "1") == f"task 1 users: {state}\n"
    assert not script.requests[0].no_wait


def test_who_and_why_and_not_to_wait_is_sent(cli: CommandLine, script: Script) -> None:
    script.add(Task(id=1))
    cli.output("task", "pause", "1", "--reason", "because", "--actor", "me", "--no-wait", "--timeout", "3")
    [request] = script.requests
    assert (request.context.reason, request.context.actor, request.no_wait) == ("because", "me", True)


def test_as_json_there_is_a_line_for_each_task(cli: CommandLine, script: Script) -> None:
    script.add(Task(id=1), Task(id=2))
    lines = cli.output("task", "cancel", "1", "2", "-o", "json").splitlines()
    assert [(json.loads(line)["id"], json.loads(line)["status"]) for line in lines] == [
        (1, "CANCELLED"),
        (2, "CANCELLED"),
    ]


def test_delete_says_so(cli: CommandLine, script: Script) -> None:
    script.add(Task(id=1), Task(id=2, status=TASK_STATUS_RUNNING))
    assert cli.output("task", "delete", "1", "--reason", "old") == "task 1: deleted\n"
    assert script.requests[0].context.reason == "old"
    assert json.loads(cli.output("task", "delete", "2", "-o", "json")) == {"id": 2, "deleted": True}
    assert script.tasks == {}


def test_a_task_that_must_wait_says_why(cli: CommandLine, script: Script) -> None:
    script.add(
        Task(
            id=1,
            task_name="users",
            status=TASK_STATUS_PENDING,
            queued_at=Timestamp(seconds=1),
            waiting_reason=WAITING_REASON_NO_UNIT_FOR_TYPE,
            waiting_message="no unit takes DATA",
        )
    )
    assert cli.output("task", "restart", "1") == "task 1 users: PENDING, no unit for type (no unit takes DATA)\n"
