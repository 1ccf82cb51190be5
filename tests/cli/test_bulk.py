"""One verb on many tasks in one call."""

import json

import grpc
import pytest
from cli.conftest import CommandLine
from cli.scripted_server import Script

from taskplane.v1.task_pb2 import TASK_STATUS_PAUSED, TASK_STATUS_RUNNING, Task
from taskplane.v1.task_service_pb2 import BatchVerb

ILLEGAL = (grpc.StatusCode.FAILED_PRECONDITION, "ILLEGAL_TRANSITION")
GONE = (grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND")
BROKEN = (grpc.StatusCode.INTERNAL, "INTERNAL")


@pytest.mark.parametrize("verb", ["start", "pause", "resume", "cancel", "restart", "delete"])
def test_each_verb_is_one_call(cli: CommandLine, script: Script, verb: str) -> None:
    lines = cli.output("task", "bulk", verb, "3", "1", "--reason", "because", "--actor", "me").splitlines()
    assert [line.split() for line in lines] == [["ID", "RESULT", "MESSAGE"], ["3", "OK"], ["1", "OK"]]
    [request] = script.requests
    assert BatchVerb.Name(request.verb) == f"BATCH_VERB_{verb.upper()}"
    assert (list(request.task_ids), request.HasField("filter"), request.validate_only) == ([3, 1], False, False)
    assert (request.context.reason, request.context.actor) == ("because", "me")


def test_options_choose_as_they_do_for_a_list(cli: CommandLine, script: Script) -> None:
    script.add(Task(id=1), Task(id=2))
    cli.output(
        *("task", "bulk", "cancel", "--status", "running", "--status", "PAUSED", "--type", "A", "--type", "B"),
        *("--unit", "u1", "--min-priority", "0", "--max-priority", "9", "--name", "users", "--label", "team=a"),
        *("--max", "7"),
    )
    [request] = script.requests
    chosen = request.filter
    assert list(chosen.statuses) == [TASK_STATUS_RUNNING, TASK_STATUS_PAUSED]
    assert list(chosen.task_types) == ["A", "B"]
    assert (chosen.execution_unit_id, chosen.name_contains, dict(chosen.labels)) == ("u1", "users", {"team": "a"})
    assert (chosen.HasField("min_priority"), chosen.min_priority, chosen.max_priority) == (True, 0, 9)
    assert (list(request.task_ids), request.max_tasks) == ([], 7)


def test_every_task_is_only_meant_if_that_is_said(cli: CommandLine, script: Script) -> None:
    cli.output("task", "bulk", "delete", "--all")
    [request] = script.requests
    assert request.HasField("filter")
    assert request.filter.ByteSize() == 0


@pytest.mark.parametrize(
    "arguments",
    [(), ("1", "--all"), ("1", "--status", "RUNNING"), ("--max", "5"), ("--all", "--max", "1001"), ("0",)],
)
def test_no_choice_and_two_choices_are_refused(cli: CommandLine, script: Script, arguments: tuple[str, ...]) -> None:
    result = cli.run("task", "bulk", "cancel", *arguments)
    assert result.exit_code == 2
    assert script.requests == []


def test_a_dry_run_shows_the_results(cli: CommandLine, script: Script) -> None:
    result = cli.run("task", "bulk", "cancel", "1", "--dry-run")
    assert (result.exit_code, result.stderr) == (0, "nothing was done: --dry-run\n")
    assert script.requests[0].validate_only


def test_as_json_there_is_a_line_for_each_task(cli: CommandLine, script: Script) -> None:
    script.failures[2] = ILLEGAL
    result = cli.run("task", "bulk", "pause", "1", "2", "-o", "json")
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {"taskId": 1, "code": 0, "reason": "", "message": ""},
        {"taskId": 2, "code": 9, "reason": "ILLEGAL_TRANSITION", "message": "as the script says"},
    ]


@pytest.mark.parametrize(
    ("failures", "exit_code"),
    [
        ({}, 0),
        ({1: BROKEN}, 1),
        ({1: GONE}, 3),
        ({1: GONE, 2: ILLEGAL}, 4),
    ],
)
def test_the_worst_outcome_of_a_task_is_the_exit_code(
    cli: CommandLine, script: Script, failures: dict[int, tuple[grpc.StatusCode, str]], exit_code: int
) -> None:
    script.failures = failures
    result = cli.run("task", "bulk", "pause", "1", "2", "3")
    assert result.exit_code == exit_code
    assert result.stdout.splitlines()[-1] == "3   OK"
    for task_id, (_, reason) in failures.items():
        assert f"{task_id}   {reason}" in result.stdout


def test_where_nothing_is_chosen_there_is_nothing_to_tell(cli: CommandLine) -> None:
    assert cli.output("task", "bulk", "pause", "--all").split() == ["ID", "RESULT", "MESSAGE"]
