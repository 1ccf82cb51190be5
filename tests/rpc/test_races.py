"""Many clients at once on one task: one verb wins, the others are harmless or refused, and history is a path."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from itertools import pairwise

import grpc
import pytest
from rpc.conftest import Connect
from rpc.obedient_unit import obeying
from rpc.raw_unit import RawUnit
from rpc.refusals import read_refusal
from rpc.server import ServerUnderTest, Wire, status_name
from rpc.tasks import create, running

from taskplane.server.core.task import TRANSITIONS, TaskStatus
from taskplane.v1 import execution_unit_control_pb2 as unit_pb
from taskplane.v1 import task_pb2
from taskplane.v1 import task_service_pb2 as pb

CLIENTS = 8


@pytest.fixture
def served_url(database_url: str) -> str:
    return database_url


async def start(wire: Wire, task_id: int) -> task_pb2.Task:
    return (await wire.tasks.StartTask(pb.StartTaskRequest(task_id=task_id))).task


async def pause(wire: Wire, task_id: int) -> task_pb2.Task:
    return (await wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=task_id))).task


async def resume(wire: Wire, task_id: int) -> task_pb2.Task:
    return (await wire.tasks.ResumeTask(pb.ResumeTaskRequest(task_id=task_id))).task


async def cancel(wire: Wire, task_id: int) -> task_pb2.Task:
    return (await wire.tasks.CancelTask(pb.CancelTaskRequest(task_id=task_id))).task


Verb = Callable[[Wire, int], Coroutine[object, object, task_pb2.Task]]


async def from_many_clients(server: ServerUnderTest, task_id: int, *verbs: Verb) -> list[str]:
    """Each client calls each verb once, all at the same time. Returns the status answered, or the error's reason."""

    async def call(wire: Wire, verb: Awaitable[task_pb2.Task]) -> str:
        try:
            return status_name((await verb).status)
        except grpc.aio.AioRpcError as error:
            refusal = read_refusal(error)
            assert refusal.code is grpc.StatusCode.FAILED_PRECONDITION
            return refusal.reason

    wires = [Wire(server.address) for _ in range(CLIENTS)]
    answers = await asyncio.gather(*(call(wire, verb(wire, task_id)) for wire in wires for verb in verbs))
    for wire in wires:
        await wire.channel.close()
    return answers


async def assert_history_is_a_path(wire: Wire, task_id: int) -> list[str]:
    history = await wire.history(task_id)
    assert [each.revision for each in history] == sorted({each.revision for each in history})
    assert all(before.to_status == after.from_status for before, after in pairwise(history))
    assert all(before.attempt <= after.attempt for before, after in pairwise(history))
    statuses = [status_name(each.to_status) for each in history]
    for before, after in pairwise(statuses):
        assert TaskStatus(after) in TRANSITIONS[TaskStatus(before)]
    return statuses


async def test_many_starts_make_one_attempt(server: ServerUnderTest, wire: Wire, unit: RawUnit) -> None:
    task = await create(wire)
    async with obeying(unit):
        assert set(await from_many_clients(server, task.id, start)) == {"RUNNING"}
    assert await assert_history_is_a_path(wire, task.id) == ["PENDING", "RUNNING"]


async def test_many_pauses_pause_once(server: ServerUnderTest, wire: Wire, unit: RawUnit) -> None:
    begun = await running(wire, unit)
    async with obeying(unit):
        assert set(await from_many_clients(server, begun.task_id, pause)) == {"PAUSED"}
    assert await assert_history_is_a_path(wire, begun.task_id) == ["PENDING", "RUNNING", "PAUSED"]
    assert sum(each.WhichOneof("order") == "pause" for each in unit.commands) == 1


async def test_pause_against_cancel_ends_cancelled(server: ServerUnderTest, wire: Wire, unit: RawUnit) -> None:
    begun = await running(wire, unit)
    async with obeying(unit):
        answers = await from_many_clients(server, begun.task_id, pause, cancel)
    pauses, cancels = answers[0::2], answers[1::2]
    assert set(cancels) == {"CANCELLED"}
    assert set(pauses) <= {"PAUSED", "ILLEGAL_TRANSITION"}
    assert (await assert_history_is_a_path(wire, begun.task_id))[-1] == "CANCELLED"


async def test_a_final_report_against_pause_and_cancel_leaves_one_winner(
    server: ServerUnderTest, wire: Wire, unit: RawUnit
) -> None:
    begun = await running(wire, unit)
    async with obeying(unit), asyncio.TaskGroup() as group:
        calls = group.create_task(from_many_clients(server, begun.task_id, pause, cancel))
        await unit.report(begun, succeeded=unit_pb.SucceededReport())
    statuses = await assert_history_is_a_path(wire, begun.task_id)
    if statuses[-1] == "SUCCESS":
        assert set(calls.result()) <= {"PAUSED", "ILLEGAL_TRANSITION"}
    else:
        assert statuses[-1] == "CANCELLED"
        assert set(calls.result()[1::2]) == {"CANCELLED"}


async def test_a_storm_of_verbs_leaves_a_path_and_free_slots(
    server: ServerUnderTest, wire: Wire, connect: Connect
) -> None:
    unit = await connect(capacity=3)
    tasks = [await create(wire, start=True) for _ in range(3)]
    async with obeying(unit), asyncio.TaskGroup() as group:
        for task in tasks:
            group.create_task(from_many_clients(server, task.id, pause, resume, pause, resume))
    async with obeying(unit):
        for task in tasks:
            assert status_name((await cancel(wire, task.id)).status) == "CANCELLED"
    for task in tasks:
        await assert_history_is_a_path(wire, task.id)
        assert (await wire.get(task.id)).retry_count == 0
    await running(wire, unit)


async def test_of_many_deletes_one_deletes(server: ServerUnderTest, wire: Wire) -> None:
    task = await create(wire)
    await cancel(wire, task.id)
    request = pb.DeleteTaskRequest(task_id=task.id)
    outcomes = await asyncio.gather(*(wire.tasks.DeleteTask(request) for _ in range(10)), return_exceptions=True)
    deleted = [outcome for outcome in outcomes if isinstance(outcome, pb.DeleteTaskResponse)]
    assert len(deleted) == 1
    refused = [read_refusal(outcome) for outcome in outcomes if isinstance(outcome, grpc.aio.AioRpcError)]
    assert {refusal.reason for refusal in refused} == {"TASK_NOT_FOUND"}
