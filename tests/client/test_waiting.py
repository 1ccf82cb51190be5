"""`wait`, `run`, and watches with an end."""

from concurrent.futures import Future
from contextlib import suppress

import grpc
import pytest
from client.conftest import Call, FakeServer, Stream, in_background

from taskplane.client import (
    Client,
    DeadlineExceededError,
    NotFoundError,
    TaskCancelledError,
    TaskFailedError,
    TaskStatus,
    UnavailableError,
    WaitTimeoutError,
)
from taskplane.client.enums import task_status_number
from taskplane.v1.task_pb2 import Task, TaskTransition
from taskplane.v1.task_service_pb2 import (
    CreateTaskResponse,
    GetTaskResponse,
    SnapshotComplete,
    TaskDeleted,
    TransitionEvent,
    WatchTasksResponse,
)

SNAPSHOT_COMPLETE = WatchTasksResponse(revision=5, snapshot_complete=SnapshotComplete())


def task(status: str, task_id: int = 7) -> Task:
    return Task(id=task_id, status=task_status_number(status), error_message="disk full")


def snapshot(status: str, task_id: int = 7) -> WatchTasksResponse:
    return WatchTasksResponse(snapshot=task(status, task_id))


def transition(revision: int, status: str, task_id: int = 7, now: str = "") -> WatchTasksResponse:
    change = TaskTransition(to_status=task_status_number(status))
    return WatchTasksResponse(
        revision=revision, transition=TransitionEvent(transition=change, task=task(now or status, task_id))
    )


def answer_get(server: FakeServer, status: str, task_id: int = 7) -> Call:
    call = server.take("GetTask")
    call.answer(GetTaskResponse(task=task(status, task_id)))
    return call


def watch_of(server: FakeServer, *events: WatchTasksResponse) -> Stream:
    stream = server.take_watch()
    stream.send(*events)
    return stream


def test_a_wait_ends_with_the_task_and_returns_it_as_read_then(client: Client, server: FakeServer) -> None:
    waiting = in_background(client.wait, 7)
    stream = watch_of(server, snapshot("RUNNING"), SNAPSHOT_COMPLETE, transition(6, "SUCCESS"))
    assert answer_get(server, "SUCCESS").request.task_id == 7
    assert waiting.result(20).status == task_status_number("SUCCESS")
    assert list(stream.request.task_ids) == [7]


def test_a_task_that_has_ended_is_not_waited_for(client: Client, server: FakeServer) -> None:
    waiting = in_background(client.wait, 7, timeout=60)
    watch_of(server, snapshot("CANCELLED"))
    answer_get(server, "CANCELLED")
    assert waiting.result(20).status == task_status_number("CANCELLED")


def test_a_failure_that_is_retried_does_not_count(client: Client, server: FakeServer) -> None:
    waiting = in_background(client.wait, 7)
    stream = watch_of(server, snapshot("RUNNING"), SNAPSHOT_COMPLETE, transition(6, "FAILED"))
    answer_get(server, "PENDING")
    stream.send(transition(7, "PENDING"), transition(8, "FAILED"))
    answer_get(server, "FAILED")
    assert waiting.result(20).status == task_status_number("FAILED")


@pytest.mark.parametrize("until", [[TaskStatus.PAUSED], "PAUSED", {"PAUSED", "FAILED"}, [task_status_number("PAUSED")]])
def test_a_wait_is_for_any_status(client: Client, server: FakeServer, until: list[str]) -> None:
    waiting = in_background(client.wait, 7, until=until)
    watch_of(server, snapshot("RUNNING"), SNAPSHOT_COMPLETE, transition(6, "PAUSED"))
    answer_get(server, "PAUSED")
    assert waiting.result(20).status == task_status_number("PAUSED")


def test_a_status_that_passed_during_a_break_counts(client: Client, server: FakeServer) -> None:
    waiting = in_background(client.wait, 7, until=["PAUSED"])
    watch_of(server, SNAPSHOT_COMPLETE, transition(6, "PAUSED", now="RUNNING"))  # a replayed event
    answer_get(server, "RUNNING")
    assert waiting.result(20).id == 7


def test_a_deadline_of_the_server_is_not_that_of_the_wait(client: Client, server: FakeServer) -> None:
    waiting = in_background(client.wait, 7, timeout=60)
    watch_of(server).fail(grpc.StatusCode.DEADLINE_EXCEEDED, "too slow")
    error = waiting.exception(20)
    assert isinstance(error, DeadlineExceededError)
    assert not isinstance(error, WaitTimeoutError)


def test_a_wait_for_a_task_that_is_deleted_ends(client: Client, server: FakeServer) -> None:
    waiting = in_background(client.wait, 7)
    watch_of(server, snapshot("RUNNING"), WatchTasksResponse(revision=6, deleted=TaskDeleted(task_id=7)))
    with pytest.raises(NotFoundError, match="task 7 was deleted"):
        waiting.result(20)


def test_a_wait_without_a_server_ends_as_a_call_does(client: Client, server: FakeServer) -> None:
    waiting = in_background(client.wait, 7)
    for _ in range(3):
        server.take_watch().fail(grpc.StatusCode.UNAVAILABLE, "away")
    with pytest.raises(UnavailableError, match="away"):
        waiting.result(20)


def run(client: Client, server: FakeServer, status: str, *, check: bool = True) -> "Future[Task]":
    running = in_background(lambda: client.run("T", "n", {"a": 1}, check=check, priority=5, request_id="mine"))
    create = server.take("CreateTask")
    create.answer(CreateTaskResponse(task=task("RUNNING")))
    assert (create.request.task.start, create.request.task.priority) == (True, 5)
    assert create.request.context.request_id == "mine"
    watch_of(server, snapshot(status))
    answer_get(server, status)
    with suppress(TaskFailedError, TaskCancelledError):
        running.result(20)
    return running


def test_run_returns_the_finished_task(client: Client, server: FakeServer) -> None:
    assert run(client, server, "SUCCESS").result().id == 7


@pytest.mark.parametrize(
    ("status", "error", "text"),
    [
        ("FAILED", TaskFailedError, r"task 7 failed: disk full \(TASK_FAILED\)"),
        ("CANCELLED", TaskCancelledError, r"task 7 was cancelled \(TASK_CANCELLED\)"),
    ],
)
def test_run_raises_unless_the_task_succeeds(
    client: Client, server: FakeServer, status: str, error: type[TaskFailedError] | type[TaskCancelledError], text: str
) -> None:
    with pytest.raises(error, match=text) as caught:
        run(client, server, status).result()
    assert isinstance(caught.value, TaskFailedError | TaskCancelledError)
    assert caught.value.task.status == task_status_number(status)
    assert run(client, server, status, check=False).result().status == task_status_number(status)


def test_a_watch_until_final_ends_with_the_last_task(client: Client, server: FakeServer) -> None:
    watching = in_background(lambda: [event.revision for event in client.watch([7, 8, 9], until_final=True)])
    stream = watch_of(
        server,
        snapshot("RUNNING"),
        snapshot("SUCCESS", 8),
        snapshot("PAUSED", 9),
        SNAPSHOT_COMPLETE,
        transition(6, "FAILED"),
    )
    answer_get(server, "PENDING")
    stream.send(transition(7, "PENDING"), WatchTasksResponse(revision=8, deleted=TaskDeleted(task_id=9)))
    stream.send(transition(9, "CANCELLED"))
    assert watching.result(20) == [0, 0, 0, 5, 6, 7, 8, 9]


def test_a_watch_until_final_follows_a_task_that_is_restarted(client: Client, server: FakeServer) -> None:
    watching = in_background(lambda: [event.revision for event in client.watch([7, 8], until_final=True)])
    watch_of(
        server,
        snapshot("SUCCESS", 8),
        snapshot("CANCELLED"),
    )
    assert watching.result(20) == [0, 0]

    watching = in_background(lambda: [event.revision for event in client.watch([7, 8], until_final=True)])
    watch_of(
        server,
        snapshot("RUNNING", 8),
        snapshot("CANCELLED"),
        SNAPSHOT_COMPLETE,
        transition(6, "PENDING"),
        transition(7, "SUCCESS", 8),
        transition(8, "SUCCESS"),
    )
    assert watching.result(20) == [0, 0, 5, 6, 7, 8]


def test_a_task_that_is_deleted_after_its_failure_is_final(client: Client, server: FakeServer) -> None:
    watching = in_background(lambda: [event.revision for event in client.watch([7], until_final=True)])
    watch_of(server, transition(6, "FAILED"))
    server.take("GetTask").fail(grpc.StatusCode.NOT_FOUND, "no task 7")
    assert watching.result(20) == [6]


def test_a_watch_until_final_needs_tasks_and_takes_no_statuses(client: Client) -> None:
    with pytest.raises(ValueError, match="needs task_ids"):
        client.watch(until_final=True)
    with pytest.raises(ValueError, match="no statuses"):
        client.watch([7], statuses=["RUNNING"], until_final=True)
