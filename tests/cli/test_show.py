"""Tasks, units and histories as text and as JSON."""

import json

import pytest
from cli.conftest import CommandLine
from cli.scripted_server import Script
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from taskplane.cli.formatting import clean, duration_in_words, state_of
from taskplane.client import to_struct
from taskplane.v1.execution_unit_pb2 import (
    EXECUTION_UNIT_STATUS_AVAILABLE,
    EXECUTION_UNIT_STATUS_BUSY,
    ExecutionUnit,
    TaskTypeSupport,
)
from taskplane.v1.task_pb2 import (
    COMMAND_VERB_CANCEL,
    COMMAND_VERB_PAUSE,
    TASK_STATUS_PAUSED,
    TASK_STATUS_PENDING,
    TASK_STATUS_RUNNING,
    TASK_STATUS_SUCCESS,
    WAITING_REASON_RETRY_BACKOFF,
    WAITING_REASON_UNITS_BUSY,
    PendingCommand,
    Progress,
    Task,
    TaskCheckpoint,
    TaskTransition,
)

PAST = Timestamp(seconds=1_700_000_000)


def full_task(**changes: object) -> Task:
    task = Task(
        id=17,
        task_name="users [red]\x1b[31m",
        task_type="DATA_PROCESSING",
        status=TASK_STATUS_SUCCESS,
        priority=5,
        config=to_struct({"sourceFile": "users.csv", "batchSize": 100}),
        execution_unit_id="u1",
        execution_unit_type="DATA_PROCESSOR",
        created_at=PAST,
        started_at=PAST,
        completed_at=PAST,
        max_retries=3,
        result=to_struct({"rows": 300}),
        revision=2**40,
        attempt=2,
        progress=Progress(fraction=0.42, message="126 rows"),
        checkpoint=TaskCheckpoint(number=9, attempt=2, data=to_struct({"row": 126}), created_at=PAST),
        labels={"team": "a"},
        active_time=Duration(seconds=65),
    )
    task.MergeFrom(Task(**changes))  # type: ignore[arg-type]  # fields of a task
    return task


def test_a_row_has_the_fields_that_operators_need(cli: CommandLine, script: Script) -> None:
    script.add(full_task())
    header, row = cli.output("task", "list").splitlines()
    assert header.split() == ["ID", "NAME", "TYPE", "STATUS", "PROGRESS", "UNIT", "ATTEMPT", "AGE"]
    for text in ("17 ", "users [red] [31m", "DATA_PROCESSING", "SUCCESS", "42%", "u1"):
        assert text in row
    assert "\x1b" not in row


def test_a_pipe_gets_rows_that_are_never_cut(cli: CommandLine, script: Script) -> None:
    script.add(Task(id=1, task_name="n" * 255, task_type="T" * 100, execution_unit_id="u" * 255))
    _, row = cli.output("task", "list").splitlines()
    assert all(letter * count in row for letter, count in {"n": 255, "T": 100, "u": 255}.items())


def test_a_list_as_json_is_an_array(cli: CommandLine, script: Script) -> None:
    assert json.loads(cli.output("task", "list", "-o", "json")) == []
    script.add(Task(id=1), Task(id=2))
    assert [task["id"] for task in json.loads(cli.output("task", "list", "-o", "json"))] == [1, 2]


def test_the_filters_are_sent(cli: CommandLine, script: Script) -> None:
    cli.output(
        *("task", "list", "--status", "running", "--status", "PAUSED", "--type", "A", "--type", "B"),
        *("--unit", "u1", "--min-priority", "0", "--max-priority", "9", "--name", "users"),
        *("--label", "team=a", "--limit", "7", "--page-token", "abc"),
    )
    [request] = script.requests
    chosen = request.filter
    assert list(chosen.statuses) == [TASK_STATUS_RUNNING, TASK_STATUS_PAUSED]
    assert list(chosen.task_types) == ["A", "B"]
    assert (chosen.execution_unit_id, chosen.name_contains, dict(chosen.labels)) == ("u1", "users", {"team": "a"})
    assert (chosen.HasField("min_priority"), chosen.min_priority, chosen.max_priority) == (True, 0, 9)
    assert (request.page_size, request.page_token) == (7, "abc")


def test_a_page_shows_the_option_for_the_next_page(cli: CommandLine, script: Script) -> None:
    script.next_page_token = "more"
    result = cli.run("task", "list")
    assert result.stderr == "there are more: --page-token more, or --all\n"


def test_all_pages_can_be_had_at_once(cli: CommandLine, script: Script) -> None:
    script.next_page_token = "more"
    script.add(Task(id=1))
    result = cli.run("task", "list", "--all", "-o", "json")
    assert len(json.loads(result.stdout)) == 2
    assert result.stderr == ""
    assert [request.page_token for request in script.requests] == ["", "more"]


def test_a_sheet_has_the_checkpoint_and_the_result(cli: CommandLine, script: Script) -> None:
    script.add(full_task())
    sheet = cli.output("task", "get", "17")
    for text in ("users [red] [31m", "SUCCESS", "42% 126 rows", "u1 (DATA_PROCESSOR)", "0 of 3", "team=a", "1m05s"):
        assert text in sheet
    for text in ("number 9, attempt 2", '"row": 126', '"rows": 300', '"batchSize": 100'):
        assert text in sheet
    assert "Error" not in sheet
    assert "\x1b" not in sheet


def test_a_document_is_handy_for_scripts(cli: CommandLine, script: Script) -> None:
    script.add(full_task())
    document = cli.document("task", "get", "17")
    assert (document["id"], document["revision"], document["status"]) == (17, 2**40, "SUCCESS")
    assert document["createdAt"] == "2023-11-14T22:13:20Z"
    assert document["activeTime"] == "65s"
    assert document["checkpoint"] == {
        "number": 9,
        "attempt": 2,
        "data": {"row": 126},
        "createdAt": "2023-11-14T22:13:20Z",
    }
    assert document["labels"] == {"team": "a"}
    assert (document["retryCount"], document["errorMessage"], document["unitLabels"]) == (0, "", {})
    assert not {"pendingCommand", "waitingReason", "queuedAt"} & set(document)


def test_a_history_is_shown_from_the_beginning(cli: CommandLine, script: Script) -> None:
    script.add(Task(id=1))
    script.history = [
        TaskTransition(revision=5, task_id=1, to_status=TASK_STATUS_PENDING, changed_by="alice", changed_at=PAST),
        TaskTransition(
            revision=8,
            task_id=1,
            from_status=TASK_STATUS_PENDING,
            to_status=TASK_STATUS_RUNNING,
            changed_by="taskplane",
            changed_at=PAST,
            attempt=1,
            reason="to [u1]",
        ),
    ]
    _, created, started = cli.output("task", "history", "1").splitlines()
    assert "→ PENDING" in created
    assert "alice" in created
    assert "PENDING → RUNNING" in started
    assert started.endswith("to [u1]")
    documents = json.loads(cli.output("task", "history", "1", "-o", "json"))
    assert documents[0]["toStatus"] == "PENDING"
    assert "fromStatus" not in documents[0]
    assert (documents[1]["fromStatus"], documents[1]["reason"]) == ("PENDING", "to [u1]")


def test_checkpoints_are_shown_with_their_data(cli: CommandLine, script: Script) -> None:
    script.add(Task(id=1))
    script.checkpoints = [TaskCheckpoint(number=2, attempt=1, data=to_struct({"row": 7}), created_at=PAST)]
    _, row = cli.output("task", "checkpoints", "1").splitlines()
    assert row.endswith('{"row": 7}')
    assert json.loads(cli.output("task", "checkpoints", "1", "-o", "json"))[0]["data"] == {"row": 7}


def test_checkpoints_are_shown_with_data_that_the_list_lacks(cli: CommandLine, script: Script) -> None:
    script.add(Task(id=1))
    script.checkpoints = [
        TaskCheckpoint(number=number, attempt=1, data=to_struct({"row": number}), created_at=PAST) for number in (3, 2)
    ]
    _, newest, oldest = cli.output("task", "checkpoints", "1").splitlines()
    assert newest.endswith('{"row": 3}')
    assert oldest.endswith('{"row": 2}')


def test_units_are_listed_and_shown(cli: CommandLine, script: Script) -> None:
    script.units["u1"] = ExecutionUnit(
        id="u1",
        unit_name="data-1",
        unit_type="DATA_PROCESSOR",
        status=EXECUTION_UNIT_STATUS_AVAILABLE,
        capacity=4,
        current_load=2,
        last_heartbeat=PAST,
        task_types=[TaskTypeSupport(task_type="DATA", can_pause=True, can_checkpoint=True)],
        draining=True,
        labels={"zone": "b"},
    )
    _, row = cli.output("unit", "list", "--status", "busy", "--type", "X", "--task-type", "Y").splitlines()
    for text in ("u1", "data-1", "DATA_PROCESSOR", "AVAILABLE, draining", "2/4", "DATA"):
        assert text in row
    [request] = script.requests
    assert (list(request.statuses), request.unit_type, request.task_type) == ([EXECUTION_UNIT_STATUS_BUSY], "X", "Y")
    sheet = cli.output("unit", "get", "u1")
    assert "DATA (can pause and checkpoint)" in sheet
    assert "zone=b" in sheet
    assert cli.document("unit", "get", "u1")["status"] == "AVAILABLE"
    assert json.loads(cli.output("unit", "list", "--all", "-o", "json"))[0]["taskTypes"][0]["canPause"] is True
    assert cli.run("unit", "get", "u9").exit_code == 3


@pytest.mark.parametrize(
    ("task", "state"),
    [
        (Task(status=TASK_STATUS_RUNNING), "RUNNING"),
        (Task(status=TASK_STATUS_RUNNING, pending_command=PendingCommand(verb=COMMAND_VERB_PAUSE)), "pausing"),
        (Task(status=TASK_STATUS_RUNNING, pending_command=PendingCommand(verb=COMMAND_VERB_CANCEL)), "cancelling"),
        (Task(status=TASK_STATUS_PENDING), "PENDING"),
        (Task(status=TASK_STATUS_PENDING, queued_at=PAST), "PENDING, queued"),
        (
            Task(status=TASK_STATUS_PENDING, queued_at=PAST, waiting_reason=WAITING_REASON_RETRY_BACKOFF),
            "PENDING, retry backoff",
        ),
        (
            Task(status=TASK_STATUS_PAUSED, queued_at=PAST, waiting_reason=WAITING_REASON_UNITS_BUSY),
            "PAUSED, resuming, units busy",
        ),
    ],
)
def test_a_state_names_the_change_between_two_statuses(task: Task, state: str) -> None:
    assert state_of(task) == state


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-3, "0s"), (59.4, "59s"), (59.6, "1m00s"), (185, "3m05s"), (7_800, "2h10m"), (356_400, "4d3h")],
)
def test_a_duration_is_rounded(seconds: float, words: str) -> None:
    assert duration_in_words(seconds) == words


def test_text_of_others_cannot_steer_the_terminal() -> None:
    assert clean("a\nb\x1b[2Jc\r\x07é\x9b") == "a b [2Jc  é"
