"""Broken connections, deadlines, large messages and error details, on a real server and channel."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import grpc
import pytest
from client.conftest import because, in_background, trailing_metadata

from taskplane.client import (
    Client,
    DeadlineExceededError,
    NotFoundError,
    RetryPolicy,
    UnavailableError,
    UnimplementedError,
    WaitTimeoutError,
    to_struct,
)
from taskplane.v1.task_pb2 import Task
from taskplane.v1.task_service_pb2 import (
    GetTaskRequest,
    GetTaskResponse,
    ListTasksRequest,
    ListTasksResponse,
    SnapshotComplete,
    TransitionEvent,
    WatchTasksRequest,
    WatchTasksResponse,
)
from taskplane.v1.task_service_pb2_grpc import TaskServiceServicer, add_TaskServiceServicer_to_server

Context = grpc.ServicerContext
StartServer = Callable[..., "Script"]
PATIENT = RetryPolicy(attempts=100, first_bound_seconds=0.05, last_bound_seconds=0.2)


class Script(TaskServiceServicer):
    """Task 7 exists, a call for task 8 never returns, other tasks do not exist; a watch has one event."""

    def __init__(self, port: int) -> None:
        self.over = Event()
        self.watched_after: list[int | None] = []
        self.watching = Event()
        self.watch_ended = Event()
        self._server = grpc.server(ThreadPoolExecutor(4))
        add_TaskServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self._server.start()

    def stop(self) -> None:
        self.over.set()
        self._server.stop(grace=None).wait()

    def GetTask(self, request: GetTaskRequest, context: Context) -> GetTaskResponse:
        if request.task_id == 8:
            self.over.wait()
        if request.task_id != 7:
            message = f"there is no task {request.task_id} für dich"
            details = trailing_metadata(grpc.StatusCode.NOT_FOUND, message, because("TASK_NOT_FOUND"))
            context.set_trailing_metadata(details)
            context.abort(grpc.StatusCode.NOT_FOUND, message)
        return GetTaskResponse(task=Task(id=7))

    def ListTasks(self, request: ListTasksRequest, context: Context) -> ListTasksResponse:
        config = to_struct({"text": "x" * 700_000})
        return ListTasksResponse(tasks=[Task(id=number, config=config) for number in range(6)])

    def WatchTasks(self, request: WatchTasksRequest, context: Context) -> Iterator[WatchTasksResponse]:
        context.add_callback(self.watch_ended.set)
        is_resumed = request.HasField("after_revision")
        self.watched_after.append(request.after_revision if is_resumed else None)
        if is_resumed:
            yield WatchTasksResponse(revision=request.after_revision + 1, transition=TransitionEvent())
        else:
            yield WatchTasksResponse(revision=5, snapshot_complete=SnapshotComplete())
        self.watching.set()
        self.over.wait()


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """Give a function that starts scripted servers, on free ports or a given port."""
    started: list[Script] = []

    def start(port: int = 0) -> Script:
        started.append(Script(port))  # type: ignore[abstract]  # the other methods answer UNIMPLEMENTED
        return started[-1]

    yield start
    for script in started:
        script.stop()


def connect(script: Script) -> Client:
    return Client(f"127.0.0.1:{script.port}", timeout=60, retry=PATIENT)


def test_a_watch_outlives_its_server(start_server: StartServer) -> None:
    first = start_server()
    with connect(first) as client:
        watch = client.watch([7])
        assert next(watch).revision == 5
        first.stop()
        second = start_server(first.port)
        assert next(watch).revision == 6
    assert second.watched_after == [5]


def test_a_watch_that_is_closed_ends_its_call(start_server: StartServer) -> None:
    script = start_server()
    with connect(script) as client:
        watch = client.watch()
        next(watch)
        watch.close()
        assert script.watch_ended.wait(20)


def test_an_error_keeps_its_details_over_the_wire(start_server: StartServer) -> None:
    with connect(start_server()) as client:
        with pytest.raises(NotFoundError, match=r"there is no task 9 für dich \(TASK_NOT_FOUND\)"):
            client.get_task(9)
        with pytest.raises(UnimplementedError):
            client.delete_task(7)


def test_the_time_of_a_call_runs_out(start_server: StartServer) -> None:
    with (
        connect(start_server()) as client,
        pytest.raises(DeadlineExceededError),
    ):
        client.get_task(8, timeout=0.05)


def test_a_wait_runs_out_of_time_and_ends_its_watch(start_server: StartServer) -> None:
    script = start_server()
    with connect(script) as client:
        with pytest.raises(WaitTimeoutError, match=r"task 7 did not reach the status within 0\.2 s"):
            client.wait(7, timeout=0.2)
        assert script.watch_ended.wait(20)


def test_a_wait_runs_out_of_time_while_the_server_is_away(start_server: StartServer) -> None:
    script = start_server()
    with connect(script) as client:
        waiting = in_background(client.wait, 7, timeout=2)
        assert script.watching.wait(20)
        script.stop()
        assert isinstance(waiting.exception(20), WaitTimeoutError)


def test_an_absent_server_is_reported_soon() -> None:
    with Client("127.0.0.1:1", timeout=60) as client, pytest.raises(UnavailableError):
        client.get_task(7)


def test_a_page_of_large_tasks_fits_into_a_message(start_server: StartServer) -> None:
    with connect(start_server()) as client:
        assert len(client.list_tasks_page().tasks) == 6


def test_the_server_is_found_in_the_environment(start_server: StartServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKPLANE_SERVER", f"127.0.0.1:{start_server().port}")
    with Client() as client:
        assert client.get_task(7).id == 7
