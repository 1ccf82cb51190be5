import io
import json
import re

import pytest
from cli.conftest import CommandLine
from cli.scripted_server import Script
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console

from taskplane.cli.board import Board
from taskplane.cli.live import live_screen
from taskplane.v1.task_pb2 import (
    COMMAND_VERB_PAUSE,
    TASK_STATUS_CANCELLED,
    TASK_STATUS_FAILED,
    TASK_STATUS_PAUSED,
    TASK_STATUS_PENDING,
    TASK_STATUS_RUNNING,
    TASK_STATUS_SUCCESS,
    PendingCommand,
    Progress,
    Task,
    TaskStatus,
    TaskTransition,
)
from taskplane.v1.task_service_pb2 import (
    KeepAlive,
    ProgressEvent,
    SnapshotComplete,
    TaskDeleted,
    TransitionEvent,
    WatchTasksResponse,
)


def task(status: TaskStatus.ValueType, task_id: int = 1, fraction: float | None = None) -> Task:
    progress = None if fraction is None else Progress(fraction=fraction, message="rows\n\x1b[2J")
    return Task(
        id=task_id,
        task_name="users",
        status=status,
        attempt=1,
        progress=progress,
        started_at=Timestamp(seconds=1_700_000_000),
    )


def snapshot(*tasks: Task) -> list[WatchTasksResponse]:
    events = [WatchTasksResponse(revision=1, snapshot=each) for each in tasks]
    return [*events, WatchTasksResponse(revision=1, snapshot_complete=SnapshotComplete())]


def transition(from_status: TaskStatus.ValueType, now: Task, by: str = "", reason: str = "") -> WatchTasksResponse:
    change = TaskTransition(task_id=now.id, from_status=from_status, to_status=now.status, changed_by=by, reason=reason)
    return WatchTasksResponse(revision=2, transition=TransitionEvent(transition=change, task=now))


def progress(fraction: float, message: str) -> WatchTasksResponse:
    event = ProgressEvent(task_id=1, attempt=1, progress=Progress(fraction=fraction, message=message))
    return WatchTasksResponse(revision=2, progress=event)


def lines_without_time(output: str) -> list[str]:
    lines = output.splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines)
    return [line.split(" ", 1)[1] for line in lines]


def test_in_a_pipe_there_is_a_plain_line_for_each_event(cli: CommandLine, script: Script) -> None:
    pausing = task(TASK_STATUS_RUNNING, fraction=0.5)
    pausing.pending_command.CopyFrom(PendingCommand(verb=COMMAND_VERB_PAUSE))
    script.events = [
        *snapshot(task(TASK_STATUS_PENDING)),
        transition(TASK_STATUS_PENDING, task(TASK_STATUS_RUNNING), "taskplane"),
        progress(0.42, "126 rows\n\x1b[2J"),
        WatchTasksResponse(revision=2, changed=pausing),
        WatchTasksResponse(revision=2, changed=pausing),
        WatchTasksResponse(revision=2, keep_alive=KeepAlive()),
        transition(TASK_STATUS_RUNNING, task(TASK_STATUS_PAUSED), "alice", "disk full"),
        transition(TASK_STATUS_PAUSED, task(TASK_STATUS_RUNNING), "bob"),
        transition(TASK_STATUS_RUNNING, task(TASK_STATUS_SUCCESS), "unit:u1"),
    ]
    assert lines_without_time(cli.output("task", "watch", "1")) == [
        "task 1 users: PENDING",
        "task 1 users: PENDING -> RUNNING by taskplane",
        "task 1 users: 42% 126 rows  [2J",
        "task 1 users: pausing 50% rows  [2J",
        "task 1 users: RUNNING -> PAUSED by alice: disk full",
        "task 1 users: PAUSED -> RUNNING by bob",
        "task 1 users: RUNNING -> SUCCESS by unit:u1",
    ]
    [request] = script.requests
    assert (list(request.task_ids), request.include_progress, request.max_progress_per_second) == ([1], True, 1)


@pytest.mark.parametrize(
    ("status", "exit_code"), [(TASK_STATUS_SUCCESS, 0), (TASK_STATUS_FAILED, 1), (TASK_STATUS_CANCELLED, 1)]
)
def test_the_exit_code_is_that_of_the_outcome(
    cli: CommandLine, script: Script, status: TaskStatus.ValueType, exit_code: int
) -> None:
    script.add(task(status))
    script.events = snapshot(task(status))
    assert cli.run("task", "watch", "1").exit_code == exit_code


def test_it_ends_when_the_last_task_has_ended(cli: CommandLine, script: Script) -> None:
    script.events = [
        *snapshot(task(TASK_STATUS_SUCCESS, 1), task(TASK_STATUS_RUNNING, 2)),
        transition(TASK_STATUS_RUNNING, task(TASK_STATUS_CANCELLED, 2)),
    ]
    result = cli.run("task", "watch", "1", "2")
    assert result.exit_code == 1
    assert "task 2 users: RUNNING -> CANCELLED" in result.stdout


def test_a_failure_is_reported_with_its_message(cli: CommandLine, script: Script) -> None:
    failed = task(TASK_STATUS_FAILED)
    failed.error_message = "no such file:\nusers.csv"
    script.add(failed)
    script.events = snapshot(failed)
    result = cli.run("task", "watch", "1")
    assert result.exit_code == 1
    assert result.stderr == "error: task 1 users failed: no such file: users.csv\n"


def test_a_failure_that_is_tried_again_is_not_the_end(cli: CommandLine, script: Script) -> None:
    script.add(task(TASK_STATUS_PENDING))
    script.events = [
        *snapshot(task(TASK_STATUS_RUNNING)),
        transition(TASK_STATUS_RUNNING, task(TASK_STATUS_FAILED), "unit:u1", "boom"),
        transition(TASK_STATUS_FAILED, task(TASK_STATUS_PENDING), "taskplane", "retry"),
        transition(TASK_STATUS_PENDING, task(TASK_STATUS_RUNNING)),
        transition(TASK_STATUS_RUNNING, task(TASK_STATUS_SUCCESS)),
    ]
    result = cli.run("task", "watch", "1")
    assert result.exit_code == 0
    assert result.stderr == ""


def test_a_task_that_is_deleted_is_over(cli: CommandLine, script: Script) -> None:
    script.events = [
        *snapshot(task(TASK_STATUS_FAILED)),
        WatchTasksResponse(revision=3, deleted=TaskDeleted(task_id=1)),
    ]
    assert cli.run("task", "watch", "1").exit_code == 1


def test_as_json_there_is_a_line_for_each_event(cli: CommandLine, script: Script) -> None:
    script.events = [
        *snapshot(task(TASK_STATUS_RUNNING)),
        WatchTasksResponse(revision=1, keep_alive=KeepAlive()),
        progress(0.5, "half"),
        transition(TASK_STATUS_RUNNING, task(TASK_STATUS_SUCCESS)),
    ]
    documents = [json.loads(line) for line in cli.output("task", "watch", "1", "-o", "json").splitlines()]
    kinds = [set(document) - {"revision"} for document in documents]
    assert kinds == [{"snapshot"}, {"snapshotComplete"}, {"progress"}, {"transition"}]
    assert documents[2]["progress"] == {"taskId": 1, "attempt": 1, "progress": {"fraction": 0.5, "message": "half"}}
    assert documents[3]["transition"]["transition"]["toStatus"] == "SUCCESS"


def test_create_with_watch_starts_the_task_and_follows_it(cli: CommandLine, script: Script) -> None:
    script.events = snapshot(task(TASK_STATUS_SUCCESS))
    assert cli.run("task", "create", "--type", "T", "--name", "users", "--watch").exit_code == 0
    create, watch = script.requests
    assert create.task.start
    assert list(watch.task_ids) == [1]


def test_create_with_watch_need_not_start_the_task(cli: CommandLine, script: Script) -> None:
    script.events = snapshot(task(TASK_STATUS_CANCELLED))
    assert cli.run("task", "create", "--type", "T", "--name", "users", "--watch", "--no-start").exit_code == 1
    assert not script.requests[0].task.start


def live_picture(board: Board, *events: WatchTasksResponse, width: int = 140) -> str:
    """Return the last picture on a terminal of this width after the events."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=width, color_system=None, _environ={})
    with live_screen(board, console) as show:
        for at, event in enumerate(events):
            show(event, board.apply(event, at))
    return screen.getvalue().rsplit("\x1b[2K", 1)[-1]


def test_a_terminal_shows_a_bar_with_rate_and_time_left() -> None:
    running = task(TASK_STATUS_RUNNING, fraction=0.0)
    picture = live_picture(
        Board([1]), *snapshot(running), progress(0.1, "30 [rows]"), progress(0.2, "60 [rows]\x1b[2J")
    )
    assert re.search(r"1 users +RUNNING +━+╸? +20% +6\.7%/s ETA 12s +\d+d\d+h +60 \[rows\] \[2J", picture)


def test_a_narrow_terminal_cuts_the_units_words_and_nothing_else() -> None:
    events = [*snapshot(task(TASK_STATUS_RUNNING, fraction=0.0)), progress(0.1, ""), progress(0.2, "many words " * 9)]
    picture = live_picture(Board([1]), *events, width=80)
    assert re.search(r"1 users +RUNNING +━+╸? +20% +6\.7%/s ETA 12s +\d+d\d+h +many words.*…\s", picture)
    assert picture.count("\n") == 1


def test_a_paused_task_has_no_time_left() -> None:
    events = [*snapshot(task(TASK_STATUS_RUNNING, fraction=0.0)), progress(0.1, "30 rows")]
    paused = transition(TASK_STATUS_RUNNING, task(TASK_STATUS_PAUSED, fraction=0.1))
    picture = live_picture(Board([1]), *events, paused)
    assert "PAUSED" in picture
    assert "ETA" not in picture


def test_a_failed_task_says_why() -> None:
    failed = task(TASK_STATUS_FAILED, fraction=0.1)
    failed.error_message = "no such file"
    assert "no such file" in live_picture(Board([1]), *snapshot(failed))


def test_of_all_tasks_one_that_ends_stays_above_the_screen() -> None:
    board = Board()
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=140, color_system=None, _environ={})
    with live_screen(board, console) as show:
        for event in [*snapshot(task(TASK_STATUS_RUNNING)), transition(TASK_STATUS_RUNNING, task(TASK_STATUS_SUCCESS))]:
            show(event, board.apply(event, 0.0))
            board.forget_ended()
    assert "SUCCESS" in screen.getvalue()
    assert board.rows == {}
