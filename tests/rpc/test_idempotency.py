"""A call with a request id counts once; a call with an expected revision counts for that revision alone."""

import asyncio
from collections.abc import Awaitable
from os import urandom

import grpc
import pytest
from rpc.raw_unit import RawUnit, struct
from rpc.refusals import refusal_of
from rpc.server import ServerUnderTest, Wire, status_name
from rpc.tasks import create, running, spec, task_in

from taskplane.server.idempotency import responses
from taskplane.v1 import execution_unit_control_pb2 as unit_pb
from taskplane.v1 import task_service_pb2 as pb


@pytest.fixture
def served_url(database_url: str) -> str:
    return database_url


ONCE = pb.RequestContext(request_id="4711")


async def test_a_repeated_create_makes_one_task(wire: Wire) -> None:
    request = pb.CreateTaskRequest(task=spec(), context=ONCE)
    first = (await wire.tasks.CreateTask(request)).task
    again = (await wire.tasks.CreateTask(request)).task
    assert again == first
    assert (await wire.tasks.ListTasks(pb.ListTasksRequest(include_total=True))).total == 1


async def test_creates_that_are_repeated_at_the_same_time_make_one_task(wire: Wire) -> None:
    request = pb.CreateTaskRequest(task=spec(), context=ONCE)
    answers = await asyncio.gather(*(wire.tasks.CreateTask(request) for _ in range(20)))
    assert len({answer.task.id for answer in answers}) == 1
    assert (await wire.tasks.ListTasks(pb.ListTasksRequest(include_total=True))).total == 1


async def test_a_repeated_batch_is_made_once(wire: Wire) -> None:
    request = pb.BatchCreateTasksRequest(tasks=[spec(), spec()], context=ONCE)
    first = await wire.tasks.BatchCreateTasks(request)
    assert await wire.tasks.BatchCreateTasks(request) == first


async def test_a_repeated_create_whose_answer_was_too_long_to_keep_is_not_found_after_a_delete(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "MAX_RESPONSE_BYTES", 1000)
    large = spec(config=struct({"text": "x" * 1000}))
    alone = pb.CreateTaskRequest(task=large, context=ONCE)
    batch = pb.BatchCreateTasksRequest(tasks=[spec(), large], context=pb.RequestContext(request_id="4712"))
    created = [(await wire.tasks.CreateTask(alone)).task, *(await wire.tasks.BatchCreateTasks(batch)).tasks]
    for task in (created[0], created[-1]):
        await wire.tasks.CancelTask(pb.CancelTaskRequest(task_id=task.id))
        await wire.tasks.DeleteTask(pb.DeleteTaskRequest(task_id=task.id))
    for call in (wire.tasks.CreateTask(alone), wire.tasks.BatchCreateTasks(batch)):
        refusal = await refusal_of(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND")


async def test_a_repeated_cancel_does_not_cancel_again_after_a_restart(wire: Wire) -> None:
    task = await create(wire)
    cancel = pb.CancelTaskRequest(task_id=task.id, context=ONCE)
    first = (await wire.tasks.CancelTask(cancel)).task
    await wire.tasks.RestartTask(pb.RestartTaskRequest(task_id=task.id))
    assert (await wire.tasks.CancelTask(cancel)).task.status == first.status
    assert await wire.statuses(task.id) == ["PENDING", "CANCELLED", "PENDING"]


async def test_the_first_answer_is_returned_also_if_it_is_long_and_the_server_was_started_again(
    wire: Wire, server: ServerUnderTest
) -> None:
    config = struct({"noise": urandom(380_000).hex()})
    request = pb.CreateTaskRequest(task=spec(config=config), context=ONCE)
    first = await wire.tasks.CreateTask(request)
    await wire.tasks.CancelTask(pb.CancelTaskRequest(task_id=first.task.id))
    await server.stop()
    await server.start()
    assert await wire.tasks.CreateTask(request, wait_for_ready=True) == first


async def test_a_repeated_delete_is_harmless_with_its_request_id_alone(wire: Wire, unit: RawUnit) -> None:
    task_id = await task_in("CANCELLED", wire, unit)
    request = pb.DeleteTaskRequest(task_id=task_id, context=ONCE)
    await wire.tasks.DeleteTask(request)
    await wire.tasks.DeleteTask(request)
    refusal = await refusal_of(wire.tasks.DeleteTask(pb.DeleteTaskRequest(task_id=task_id)))
    assert refusal.reason == "TASK_NOT_FOUND"


async def test_a_request_id_is_not_for_another_request(wire: Wire) -> None:
    task = (await wire.tasks.CreateTask(pb.CreateTaskRequest(task=spec(), context=ONCE))).task
    others: list[Awaitable[object]] = [
        wire.tasks.CreateTask(pb.CreateTaskRequest(task=spec(priority=1), context=ONCE)),
        wire.tasks.BatchCreateTasks(pb.BatchCreateTasksRequest(tasks=[spec()], context=ONCE)),
        wire.tasks.StartTask(pb.StartTaskRequest(task_id=task.id, context=ONCE)),
        wire.tasks.DeleteTask(pb.DeleteTaskRequest(task_id=task.id, context=ONCE)),
    ]
    for other in others:
        refusal = await refusal_of(other)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")
        assert refusal.fields == ["context.request_id"]
        assert refusal.metadata == {"request_id": "4711", "method": "CreateTask"}
    assert (await wire.get(task.id)).revision == task.revision


async def test_a_request_that_failed_may_be_tried_again(wire: Wire, unit: RawUnit) -> None:
    task = await create(wire)
    pause = pb.PauseTaskRequest(task_id=task.id, context=ONCE, no_wait=True)
    assert (await refusal_of(wire.tasks.PauseTask(pause))).reason == "ILLEGAL_TRANSITION"
    await wire.tasks.StartTask(pb.StartTaskRequest(task_id=task.id))
    paused = await wire.tasks.PauseTask(pause)
    assert paused.task.HasField("pending_command")


async def test_a_repeated_pause_waits_for_the_effect_too(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    request = pb.PauseTaskRequest(task_id=start.task_id, context=ONCE)
    first, again = wire.tasks.PauseTask(request), wire.tasks.PauseTask(request)
    pause = await unit.expect("pause")
    await unit.report(pause, paused=unit_pb.PausedReport())
    for answer in await asyncio.gather(first, again):
        assert status_name(answer.task.status) == "PAUSED"
    assert [command.WhichOneof("order") for command in unit.commands] == ["start", "pause"]


async def test_a_verb_counts_only_for_the_revision_that_was_expected(wire: Wire) -> None:
    task = await create(wire)
    stale = pb.RequestContext(expected_revision=task.revision + 1)
    for call in (
        wire.tasks.StartTask(pb.StartTaskRequest(task_id=task.id, context=stale)),
        wire.tasks.CancelTask(pb.CancelTaskRequest(task_id=task.id, context=stale)),
        wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=task.id, context=stale)),
        wire.tasks.ResumeTask(pb.ResumeTaskRequest(task_id=task.id, context=stale)),
        wire.tasks.RestartTask(pb.RestartTaskRequest(task_id=task.id, context=stale)),
        wire.tasks.DeleteTask(pb.DeleteTaskRequest(task_id=task.id, context=stale)),
    ):
        refusal = await refusal_of(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "STALE_REVISION")
        assert refusal.metadata["task_id"] == str(task.id)
        assert (refusal.metadata["expected"], refusal.metadata["actual"]) == (
            str(task.revision + 1),
            str(task.revision),
        )
    right = pb.RequestContext(expected_revision=task.revision)
    cancelled = (await wire.tasks.CancelTask(pb.CancelTaskRequest(task_id=task.id, context=right))).task
    assert cancelled.revision > task.revision


async def test_of_many_with_the_same_expected_revision_one_wins(wire: Wire) -> None:
    task = await create(wire)
    context = pb.RequestContext(expected_revision=task.revision)
    request = pb.CancelTaskRequest(task_id=task.id, context=context)
    outcomes = await asyncio.gather(*(wire.tasks.CancelTask(request) for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(outcome, pb.CancelTaskResponse) for outcome in outcomes) == 1
    assert await wire.statuses(task.id) == ["PENDING", "CANCELLED"]


async def ends_too_early(call: Awaitable[object]) -> None:
    """Make a call with a deadline so short that the command is still pending."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    # Usually the server's COMMAND_PENDING; on a busy machine, gRPC may end the call before the response arrives.
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_repeat_is_told_that_its_command_was_applied_whatever_came_later(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    pause = pb.PauseTaskRequest(task_id=start.task_id, context=ONCE)
    await ends_too_early(wire.tasks.PauseTask(pause, timeout=1))
    await unit.report(await unit.expect("pause"), paused=unit_pb.PausedReport())
    await unit.all_acknowledged()
    await wire.tasks.ResumeTask(pb.ResumeTaskRequest(task_id=start.task_id))
    resumed = await unit.expect("resume")
    await unit.accept(resumed)
    answer = await wire.tasks.PauseTask(pause)
    assert status_name(answer.task.status) == "RUNNING"
    cancel = pb.CancelTaskRequest(task_id=start.task_id, context=pb.RequestContext(request_id="4712"))
    await ends_too_early(wire.tasks.CancelTask(cancel, timeout=1))
    await unit.report(await unit.expect("cancel"), cancelled=unit_pb.CancelledReport())
    await unit.all_acknowledged()
    await wire.tasks.RestartTask(pb.RestartTaskRequest(task_id=start.task_id, no_wait=True))
    assert (await wire.tasks.CancelTask(cancel)).task.attempt >= 2


async def test_a_repeat_waits_for_the_command_of_the_first_call(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    pause = pb.PauseTaskRequest(task_id=start.task_id, context=ONCE)
    await ends_too_early(wire.tasks.PauseTask(pause, timeout=1))
    order = await unit.expect("pause")
    again = wire.tasks.PauseTask(pause)
    await asyncio.sleep(0.1)
    assert not again.done()
    await unit.report(order, paused=unit_pb.PausedReport())
    assert status_name((await again).task.status) == "PAUSED"


async def test_a_refused_pause_may_be_tried_again_under_its_id(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    pause = pb.PauseTaskRequest(task_id=start.task_id, context=ONCE)
    call = wire.tasks.PauseTask(pause)
    await unit.reject(await unit.expect("pause"), unit_pb.REJECT_REASON_OTHER, "not now")
    assert (await refusal_of(call)).reason == "COMMAND_REJECTED"
    call = wire.tasks.PauseTask(pause)
    await unit.report(await unit.expect("pause"), paused=unit_pb.PausedReport())
    assert status_name((await call).task.status) == "PAUSED"


async def test_a_repeat_is_told_in_the_units_words_why_its_pause_was_refused(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    pause = pb.PauseTaskRequest(task_id=start.task_id, context=ONCE)
    await ends_too_early(wire.tasks.PauseTask(pause, timeout=1))
    await unit.reject(await unit.expect("pause"), unit_pb.REJECT_REASON_OTHER, "not now")
    await unit.all_acknowledged()
    refusal = await refusal_of(wire.tasks.PauseTask(pause))
    assert refusal.reason == "COMMAND_REJECTED"
    assert "not now" in refusal.message
    call = wire.tasks.PauseTask(pause)
    await unit.report(await unit.expect("pause"), paused=unit_pb.PausedReport())
    assert status_name((await call).task.status) == "PAUSED"
