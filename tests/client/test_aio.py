"""The asyncio client against a scripted server."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from typing import Any

import grpc
import pytest
from client.conftest import AT_ONCE, PATIENCE_SECONDS, because, trailing_metadata

from taskplane.client import InvalidArgumentError, NotFoundError, NotJsonError, UnavailableError, task_filter
from taskplane.client.aio import AsyncClient
from taskplane.client.aio.coalescing import MAX_BYTES, MAX_TASKS
from taskplane.v1.task_pb2 import Task, TaskCheckpoint, TaskTransition
from taskplane.v1.task_service_pb2 import (
    BATCH_VERB_CANCEL,
    BatchControlResult,
    BatchControlTasksRequest,
    BatchControlTasksResponse,
    BatchCreateTasksRequest,
    BatchCreateTasksResponse,
    CreateTaskRequest,
    CreateTaskResponse,
    GetTaskRequest,
    GetTaskResponse,
    ListTaskCheckpointsRequest,
    ListTaskCheckpointsResponse,
    ListTasksRequest,
    ListTasksResponse,
    ListTaskTransitionsRequest,
    ListTaskTransitionsResponse,
    PauseTaskRequest,
    PauseTaskResponse,
    SnapshotComplete,
    TaskDeleted,
    TaskSpec,
    TransitionEvent,
    WatchTasksRequest,
    WatchTasksResponse,
)
from taskplane.v1.task_service_pb2_grpc import TaskServiceServicer, add_TaskServiceServicer_to_server

Context = grpc.aio.ServicerContext[Any, Any]


class Script(TaskServiceServicer):
    """Creates every task that is not named "bad"; batches wait for the `gate`."""

    def __init__(self) -> None:
        self.batches: list[BatchCreateTasksRequest] = []
        self.creates: list[CreateTaskRequest] = []
        self.pauses: list[PauseTaskRequest] = []
        self.controls: list[BatchControlTasksRequest] = []
        self.watched_after: list[int | None] = []
        self.arrived = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.failures_left = 0

    async def CreateTask(self, request: CreateTaskRequest, context: Context) -> CreateTaskResponse:
        self.creates.append(request)
        await self._maybe_fail(context)
        return CreateTaskResponse(task=_created(request.task))

    async def BatchCreateTasks(self, request: BatchCreateTasksRequest, context: Context) -> BatchCreateTasksResponse:
        self.batches.append(request)
        self.arrived.set()
        await self.gate.wait()
        await self._maybe_fail(context)
        if any(spec.task_name == "bad" for spec in request.tasks):
            await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELDS")
        return BatchCreateTasksResponse(tasks=[_created(spec) for spec in request.tasks])

    async def GetTask(self, request: GetTaskRequest, context: Context) -> GetTaskResponse:
        if request.task_id != 7:
            await _abort(context, grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND")
        return GetTaskResponse(task=Task(id=7))

    async def PauseTask(self, request: PauseTaskRequest, context: Context) -> PauseTaskResponse:
        self.pauses.append(request)
        return PauseTaskResponse(task=Task(id=request.task_id))

    async def BatchControlTasks(self, request: BatchControlTasksRequest, context: Context) -> BatchControlTasksResponse:
        self.controls.append(request)
        return BatchControlTasksResponse(results=[BatchControlResult(task_id=each) for each in request.task_ids])

    async def ListTasks(self, request: ListTasksRequest, context: Context) -> ListTasksResponse:
        page = int(request.page_token or 0)
        return ListTasksResponse(tasks=[Task(id=page)], next_page_token=str(page + 1) if page < 2 else "")

    async def ListTaskTransitions(
        self, request: ListTaskTransitionsRequest, context: Context
    ) -> ListTaskTransitionsResponse:
        return ListTaskTransitionsResponse(transitions=[TaskTransition(revision=1), TaskTransition(revision=2)])

    async def ListTaskCheckpoints(
        self, request: ListTaskCheckpointsRequest, context: Context
    ) -> ListTaskCheckpointsResponse:
        return ListTaskCheckpointsResponse(checkpoints=[TaskCheckpoint(number=request.number or 9)])

    async def WatchTasks(self, request: WatchTasksRequest, context: Context) -> AsyncIterator[WatchTasksResponse]:
        is_resumed = request.HasField("after_revision")
        self.watched_after.append(request.after_revision if is_resumed else None)
        if is_resumed:
            yield WatchTasksResponse(revision=request.after_revision + 1, transition=TransitionEvent())
            yield WatchTasksResponse(revision=request.after_revision + 2, deleted=TaskDeleted(task_id=8))
        else:
            yield WatchTasksResponse(revision=5, snapshot_complete=SnapshotComplete())
        await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    async def _maybe_fail(self, context: Context) -> None:
        if self.failures_left:
            self.failures_left -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")


def _created(spec: TaskSpec) -> Task:
    return Task(id=1, task_name=spec.task_name)


async def _abort(context: Context, code: grpc.StatusCode, reason: str) -> None:
    await context.abort(code, "no", trailing_metadata(code, "no", because(reason)))


@pytest.fixture
async def script() -> Script:
    return Script()  # type: ignore[abstract]  # the other methods answer UNIMPLEMENTED


@pytest.fixture
async def address(script: Script) -> AsyncIterator[str]:
    server = grpc.aio.server()
    add_TaskServiceServicer_to_server(script, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


@pytest.fixture
async def client(address: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(address, retry=AT_ONCE, timeout=PATIENCE_SECONDS) as client:
        yield client


@pytest.fixture
async def gathering(address: str) -> AsyncIterator[AsyncClient]:
    """Connect a client with coalescing."""
    async with AsyncClient(address, retry=AT_ONCE, timeout=PATIENCE_SECONDS, coalesce=True) as client:
        yield client


async def test_calls_send_the_requests_of_the_sync_client(client: AsyncClient, script: Script) -> None:
    task = await client.create_task("T", "n", {"path": "a.csv"}, start=True, actor="me")
    await client.pause_task(7, wait=False, reason="because", expected_revision=3)
    (create,), (pause,) = script.creates, script.pauses
    assert task.task_name == "n"
    assert (create.task.task_type, create.task.start, create.context.actor) == ("T", True, "me")
    assert (pause.task_id, pause.no_wait, pause.context.reason, pause.context.expected_revision) == (
        7,
        True,
        "because",
        3,
    )
    assert create.context.request_id
    assert create.context.request_id != pause.context.request_id


async def test_many_tasks_are_chosen_by_id_or_by_filter(client: AsyncClient, script: Script) -> None:
    results = await client.batch_control_tasks(BATCH_VERB_CANCEL, [1, 2], validate_only=True)
    await client.batch_control_tasks(BATCH_VERB_CANCEL, task_filter(task_types=["T"]), max_tasks=10)
    by_id, by_filter = script.controls
    assert [result.task_id for result in results] == [1, 2]
    assert (by_id.validate_only, by_id.HasField("filter")) == (True, False)
    assert (list(by_filter.filter.task_types), by_filter.max_tasks) == (["T"], 10)


async def test_pages_follow_each_other(client: AsyncClient) -> None:
    assert [task.id async for task in client.list_tasks()] == [0, 1, 2]
    assert [each.revision async for each in client.list_task_transitions(7)] == [1, 2]


async def test_one_checkpoint_is_requested_by_its_number(client: AsyncClient) -> None:
    assert [each.number for each in await client.list_task_checkpoints(7)] == [9]
    assert [each.number for each in await client.list_task_checkpoints(7, number=2)] == [2]


async def test_errors_are_those_of_the_sync_client(client: AsyncClient) -> None:
    assert (await client.get_task(7)).id == 7
    with pytest.raises(NotFoundError, match="TASK_NOT_FOUND"):
        await client.get_task(8)
    with pytest.raises(NotJsonError):
        await client.create_task("T", "n", {"ratio": float("nan")})


async def test_a_call_is_repeated_under_the_same_request_id(client: AsyncClient, script: Script) -> None:
    script.failures_left = 2
    await client.create_task("T", "n")
    first, second, third = script.creates
    assert first == second == third


async def test_after_the_last_attempt_the_error_is_raised(client: AsyncClient, script: Script) -> None:
    script.failures_left = 3
    with pytest.raises(UnavailableError, match="gone"):
        await client.create_task("T", "n")


async def test_a_watch_resumes_after_a_break(client: AsyncClient, script: Script) -> None:
    async with aclosing(client.watch([7, 8])) as events:
        told = [await anext(events) for _ in range(4)]
    assert [event.revision for event in told] == [5, 6, 7, 8]
    assert [event.WhichOneof("event") for event in told[1:]] == ["transition", "deleted", "transition"]
    assert script.watched_after == [None, 5, 7]


async def create_while_one_is_under_way(
    client: AsyncClient, script: Script, names: Iterable[str], actors: Iterable[str] = ()
) -> list[Task | BaseException]:
    """Create the first task alone, and the others while the first waits at the gate."""
    first, *others = names
    actor_of = dict(zip(others, actors, strict=False))
    script.gate.clear()
    creates = [asyncio.create_task(client.create_task("T", first))]
    await script.arrived.wait()
    creates += [asyncio.create_task(client.create_task("T", name, actor=actor_of.get(name, ""))) for name in others]

    async def open_gate() -> None:
        script.gate.set()

    # asyncio tasks start in the order of creation: all creates are requested before the gate opens.
    await asyncio.create_task(open_gate())
    return await asyncio.gather(*creates, return_exceptions=True)


def names_of(script: Script) -> list[list[str]]:
    return [[spec.task_name for spec in batch.tasks] for batch in script.batches]


async def test_a_lone_create_goes_out_at_once(gathering: AsyncClient, script: Script) -> None:
    assert (await gathering.create_task("T", "a")).task_name == "a"
    assert names_of(script) == [["a"]]


async def test_creates_that_come_meanwhile_travel_together(gathering: AsyncClient, script: Script) -> None:
    tasks = await create_while_one_is_under_way(gathering, script, "abcd")
    assert [task.task_name for task in tasks if isinstance(task, Task)] == list("abcd")
    assert names_of(script) == [["a"], ["b", "c", "d"]]
    assert script.creates == []


async def test_a_batch_has_one_asker(gathering: AsyncClient, script: Script) -> None:
    await create_while_one_is_under_way(gathering, script, "abcd", actors=["x", "x", "y"])
    assert names_of(script) == [["a"], ["b", "c"], ["d"]]
    assert [batch.context.actor for batch in script.batches] == ["", "x", "y"]


async def test_no_batch_is_larger_than_the_server_takes(gathering: AsyncClient, script: Script) -> None:
    await asyncio.gather(*(gathering.create_task("T", str(number)) for number in range(MAX_TASKS + 1)))
    assert [len(batch.tasks) for batch in script.batches] == [MAX_TASKS, 1]


async def test_large_tasks_fit_into_messages(gathering: AsyncClient, script: Script) -> None:
    config: dict[str, object] = {"text": "x" * 900_000}
    await asyncio.gather(*(gathering.create_task("T", str(number), config) for number in range(5)))
    assert [len(batch.tasks) for batch in script.batches] == [2, 2, 1]


async def test_a_task_that_is_larger_than_a_batch_is_not_sent_as_one(gathering: AsyncClient, script: Script) -> None:
    config: dict[str, object] = {"text": "x" * (MAX_BYTES + 1)}
    asked = [gathering.create_task("T", name, config, actor="me") for name in "ab"]
    assert [task.task_name for task in await asyncio.gather(*asked)] == ["a", "b"]
    assert [(create.task.task_name, create.context.actor) for create in script.creates] == [("a", "me"), ("b", "me")]
    assert script.batches == []


async def test_a_bad_task_fails_alone(gathering: AsyncClient, script: Script) -> None:
    good, bad, other = await create_while_one_is_under_way(gathering, script, ["good", "bad", "other"])
    assert isinstance(good, Task)
    assert isinstance(bad, InvalidArgumentError)
    assert isinstance(other, Task)
    assert names_of(script) == [["good"], ["bad", "other"], ["bad"], ["other"]]


async def test_every_create_of_a_batch_hears_that_the_server_is_away(gathering: AsyncClient, script: Script) -> None:
    script.failures_left = 3
    outcomes = await asyncio.gather(*(gathering.create_task("T", name) for name in "ab"), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [UnavailableError, UnavailableError]
    assert (await gathering.create_task("T", "c")).task_name == "c"


async def test_a_create_with_a_request_id_or_a_timeout_goes_alone(gathering: AsyncClient, script: Script) -> None:
    await asyncio.gather(
        gathering.create_task("T", "a", request_id="mine"), gathering.create_task("T", "b", timeout=20)
    )
    assert sorted(create.task.task_name for create in script.creates) == ["a", "b"]
    assert script.batches == []


async def test_a_cancelled_caller_does_not_disturb_the_others(gathering: AsyncClient, script: Script) -> None:
    script.gate.clear()
    leaving, staying = (asyncio.create_task(gathering.create_task("T", name)) for name in "ab")
    await script.arrived.wait()
    leaving.cancel()
    script.gate.set()
    assert (await staying).task_name == "b"
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_closing_waits_for_requested_creates(address: str, script: Script) -> None:
    client = AsyncClient(address, timeout=PATIENCE_SECONDS, coalesce=True)
    script.gate.clear()
    creating = asyncio.create_task(client.create_task("T", "a"))
    await script.arrived.wait()
    closing = asyncio.create_task(client.close())
    script.gate.set()
    await closing
    assert creating.done()
    assert (await creating).task_name == "a"
