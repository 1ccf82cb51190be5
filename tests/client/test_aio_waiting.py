"""`wait`, `run` and watches with an end, with asyncio, on a server with scripted statuses."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from client.conftest import AT_ONCE, PATIENCE_SECONDS

from taskplane.client import TaskCancelledError, TaskFailedError, TaskStatus, WaitTimeoutError, status_of
from taskplane.client.aio import AsyncClient
from taskplane.client.enums import task_status_number
from taskplane.v1.task_pb2 import Task, TaskTransition
from taskplane.v1.task_service_pb2 import (
    CreateTaskRequest,
    CreateTaskResponse,
    GetTaskRequest,
    GetTaskResponse,
    SnapshotComplete,
    TransitionEvent,
    WatchTasksRequest,
    WatchTasksResponse,
)
from taskplane.v1.task_service_pb2_grpc import TaskServiceServicer, add_TaskServiceServicer_to_server

Context = grpc.aio.ServicerContext[Any, Any]


class Script(TaskServiceServicer):
    """A watch sends a transition for each of `statuses`; GetTask returns the `reads` in turn."""

    def __init__(self) -> None:
        self.statuses = ["RUNNING"]
        self.reads: list[str] = []

    async def CreateTask(self, request: CreateTaskRequest, context: Context) -> CreateTaskResponse:
        return CreateTaskResponse(task=task(7, "RUNNING" if request.task.start else "PENDING"))

    async def GetTask(self, request: GetTaskRequest, context: Context) -> GetTaskResponse:
        return GetTaskResponse(task=task(request.task_id, self.reads.pop(0)))

    async def WatchTasks(self, request: WatchTasksRequest, context: Context) -> AsyncIterator[WatchTasksResponse]:
        yield WatchTasksResponse(revision=1, snapshot_complete=SnapshotComplete())
        for revision, status in enumerate(self.statuses, 2):
            change = TaskTransition(to_status=task_status_number(status))
            event = TransitionEvent(transition=change, task=task(request.task_ids[0], status))
            yield WatchTasksResponse(revision=revision, transition=event)
        await asyncio.Event().wait()  # a watch has no end


def task(task_id: int, status: str) -> Task:
    return Task(id=task_id, status=task_status_number(status), error_message="disk full")


@pytest.fixture
async def script() -> Script:
    return Script()  # type: ignore[abstract]  # the other methods answer UNIMPLEMENTED


@pytest.fixture
async def client(script: Script) -> AsyncIterator[AsyncClient]:
    server = grpc.aio.server()
    add_TaskServiceServicer_to_server(script, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with AsyncClient(f"127.0.0.1:{port}", retry=AT_ONCE, timeout=PATIENCE_SECONDS) as client:
        yield client
    await server.stop(None)


async def test_a_wait_ends_with_the_task(client: AsyncClient, script: Script) -> None:
    script.statuses = ["RUNNING", "FAILED", "PENDING", "RUNNING", "SUCCESS"]
    script.reads = ["PENDING", "SUCCESS"]
    assert status_of(await client.wait(7, timeout=60)) is TaskStatus.SUCCESS


async def test_a_wait_is_for_any_status(client: AsyncClient, script: Script) -> None:
    script.statuses, script.reads = ["RUNNING", "PAUSED"], ["PAUSED"]
    assert status_of(await client.wait(7, until=[TaskStatus.PAUSED])) is TaskStatus.PAUSED


async def test_a_wait_runs_out_of_time(client: AsyncClient) -> None:
    with pytest.raises(WaitTimeoutError, match="task 7"):
        await client.wait(7, timeout=0.1)


async def test_a_watch_until_final_ends_with_its_task(client: AsyncClient, script: Script) -> None:
    script.statuses, script.reads = ["FAILED", "PENDING", "SUCCESS"], ["PENDING"]
    events = [event async for event in client.watch([7], until_final=True)]
    assert [event.revision for event in events] == [1, 2, 3, 4]


@pytest.mark.parametrize(("status", "error"), [("FAILED", TaskFailedError), ("CANCELLED", TaskCancelledError)])
async def test_run_raises_unless_the_task_succeeds(
    client: AsyncClient, script: Script, status: str, error: type[Exception]
) -> None:
    script.statuses, script.reads = [status], [status, status]
    with pytest.raises(error, match="task 7"):
        await client.run("T", "n")
    assert status_of(await client.run("T", "n", check=False)) == status


async def test_run_returns_the_task_that_succeeded(client: AsyncClient, script: Script) -> None:
    script.statuses, script.reads = ["SUCCESS"], ["SUCCESS"]
    assert status_of(await client.run("T", "n", {"a": 1}, timeout=60)) is TaskStatus.SUCCESS
