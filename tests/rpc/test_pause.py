"""PauseTask returns after the task is PAUSED with a durable checkpoint, or reports why that is impossible or late."""

import asyncio

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from rpc.conftest import Connect
from rpc.raw_unit import RawUnit, checkpoint
from rpc.refusals import refusal_of
from rpc.server import Wire, status_name
from rpc.tasks import paused, running
from sqlalchemy.util import await_only

from taskplane.server.store.transaction import WriteTransaction
from taskplane.v1 import execution_unit_control_pb2 as unit_pb
from taskplane.v1 import task_pb2
from taskplane.v1 import task_service_pb2 as pb
from taskplane.v1.execution_unit_pb2 import TaskTypeSupport


async def pause_recorded(wire: Wire, task_id: int) -> task_pb2.Task:
    return (await wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=task_id, no_wait=True))).task


async def test_a_pause_answers_only_when_the_checkpoint_is_durable(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    context = pb.RequestContext(actor="ada", reason="the disk is full")
    call = wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=start.task_id, context=context))
    pause = await unit.expect("pause")
    assert (pause.attempt, pause.pause.reason) == (start.attempt, "the disk is full")
    await unit.accept(pause)
    await unit.all_acknowledged()
    pausing = await wire.get(start.task_id)
    assert not call.done()
    assert status_name(pausing.status) == "RUNNING"
    command = pausing.pending_command
    assert (command.verb, command.command_id) == (task_pb2.COMMAND_VERB_PAUSE, pause.command_id)
    assert (command.actor, command.reason) == ("ada", "the disk is full")
    assert command.HasField("accepted_at")

    progress = unit_pb.ProgressReport(fraction=0.4, message="row 7")
    await unit.report(pause, paused=unit_pb.PausedReport(checkpoint=checkpoint(3, row=7), progress=progress))
    task = (await call).task
    assert status_name(task.status) == "PAUSED"
    assert not task.HasField("pending_command")
    assert (task.checkpoint.number, task.checkpoint.attempt) == (3, start.attempt)
    assert MessageToDict(task.checkpoint.data) == {"row": 7}
    assert (task.progress.fraction, task.progress.message) == (0.4, "row 7")
    assert (task.retry_count, task.attempt) == (0, start.attempt)
    (kept,) = (await wire.tasks.ListTaskCheckpoints(pb.ListTaskCheckpointsRequest(task_id=task.id))).checkpoints
    assert kept == task.checkpoint
    transition = (await wire.history(task.id))[-1]
    assert (transition.changed_by, transition.reason) == ("ada", "the disk is full")


async def test_a_pause_frees_the_slot(wire: Wire, unit: RawUnit) -> None:
    held = await paused(wire, unit)
    other = await running(wire, unit)
    assert other.task_id != held.task_id


async def test_a_pause_works_on_the_last_attempt_and_costs_no_retry(wire: Wire, unit: RawUnit) -> None:
    pause = await paused(wire, unit, max_retries=0)
    task = await wire.get(pause.task_id)
    assert (status_name(task.status), task.retry_count) == ("PAUSED", 0)


async def test_a_pause_that_keeps_no_checkpoint_of_the_work_leaves_a_warning(
    wire: Wire, unit: RawUnit, caplog: pytest.LogCaptureFixture
) -> None:
    start = await running(wire, unit)
    await wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=start.task_id, no_wait=True))
    pause = await unit.expect("pause")
    await unit.report(pause, paused=unit_pb.PausedReport(progress=unit_pb.ProgressReport(fraction=0.4)))
    await unit.all_acknowledged()
    warning = f"attempt {pause.attempt} made no checkpoint: another unit would begin from the start"
    assert (await wire.history(pause.task_id))[-1].reason.endswith(f"; {warning}")
    assert f"task {pause.task_id} stopped on unit {unit.welcome.unit_id}: {warning}" in caplog.text


async def test_a_pause_without_a_checkpoint_keeps_the_last_one(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    await unit.report(start, checkpoint=checkpoint(1, row=5))
    await pause_recorded(wire, start.task_id)
    await unit.report(await unit.expect("pause"), paused=unit_pb.PausedReport())
    await unit.all_acknowledged()
    task = await wire.get(start.task_id)
    assert (task.checkpoint.number, MessageToDict(task.checkpoint.data)) == (1, {"row": 5})


async def test_a_pause_that_takes_longer_than_the_call_takes_effect_later(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    request = pb.PauseTaskRequest(task_id=start.task_id)
    refusal = await refusal_of(wire.tasks.PauseTask(request, timeout=3))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "COMMAND_PENDING")
    pause = await unit.expect("pause")
    assert (await wire.get(start.task_id)).pending_command.command_id == pause.command_id
    await unit.report(pause, paused=unit_pb.PausedReport())
    await unit.all_acknowledged()
    assert status_name((await wire.get(start.task_id)).status) == "PAUSED"


async def test_a_pause_that_takes_long_to_record_says_so_too_when_the_time_is_over(
    wire: Wire, unit: RawUnit, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = await running(wire, unit)
    commit = WriteTransaction.commit

    def slow_commit(transaction: WriteTransaction) -> None:
        await_only(asyncio.sleep(0.1))  # longer than the time between the end of the wait and the deadline of the call
        commit(transaction)

    monkeypatch.setattr(WriteTransaction, "commit", slow_commit)
    refusal = await refusal_of(wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=start.task_id), timeout=1))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "COMMAND_PENDING")
    assert (await wire.get(start.task_id)).HasField("pending_command")


async def test_without_waiting_a_pause_answers_when_it_is_recorded(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    task = await pause_recorded(wire, start.task_id)
    assert status_name(task.status) == "RUNNING"
    assert task.pending_command.verb == task_pb2.COMMAND_VERB_PAUSE
    assert (await unit.expect("pause")).command_id == task.pending_command.command_id


async def test_a_second_pause_joins_the_first(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    first = await pause_recorded(wire, start.task_id)
    second = wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=start.task_id))
    pause = await unit.expect("pause")
    assert pause.command_id == first.pending_command.command_id
    await unit.report(pause, paused=unit_pb.PausedReport())
    assert status_name((await second).task.status) == "PAUSED"
    assert sum(each.WhichOneof("order") == "pause" for each in unit.commands) == 1


async def test_a_unit_that_refuses_a_pause_is_quoted_and_works_on(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    call = wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=start.task_id))
    await unit.reject(await unit.expect("pause"), unit_pb.REJECT_REASON_OTHER, "in the middle of a sale")
    refusal = await refusal_of(call)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "COMMAND_REJECTED")
    assert "in the middle of a sale" in refusal.message
    task = await wire.get(start.task_id)
    assert status_name(task.status) == "RUNNING"
    assert not task.HasField("pending_command")


async def test_a_pause_of_what_cannot_pause_is_refused_at_once(wire: Wire, connect: Connect) -> None:
    unit = await connect(task_types=[TaskTypeSupport(task_type="WORK", can_pause=False)])
    start = await running(wire, unit)
    refusal = await refusal_of(wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=start.task_id)))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "UNIT_CANNOT_PAUSE")
    assert refusal.metadata == {"task_id": str(start.task_id), "unit_id": "unit-1", "task_type": "WORK"}
    assert not (await wire.get(start.task_id)).HasField("pending_command")


async def test_a_task_that_ends_first_is_told_to_who_paused_it(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    call = wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=start.task_id))
    await unit.expect("pause")
    await unit.report(start, succeeded=unit_pb.SucceededReport())
    refusal = await refusal_of(call)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ILLEGAL_TRANSITION")
    assert refusal.metadata["from"] == "SUCCESS"
    assert not (await wire.get(start.task_id)).HasField("pending_command")


async def test_a_pause_is_refused_while_a_cancel_is_under_way(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    await wire.tasks.CancelTask(pb.CancelTaskRequest(task_id=start.task_id, no_wait=True))
    refusal = await refusal_of(wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=start.task_id)))
    assert refusal.reason == "ILLEGAL_TRANSITION"


async def test_a_pause_withdraws_a_resume_that_waits_in_the_queue(wire: Wire, unit: RawUnit) -> None:
    held = await paused(wire, unit)
    await running(wire, unit)  # takes the only slot
    resumed = (await wire.tasks.ResumeTask(pb.ResumeTaskRequest(task_id=held.task_id))).task
    assert (status_name(resumed.status), resumed.HasField("queued_at")) == ("PAUSED", True)
    task = (await wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=held.task_id))).task
    assert (status_name(task.status), task.HasField("queued_at")) == ("PAUSED", False)


async def test_a_unit_may_pause_by_itself(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    await unit.report(start, paused=unit_pb.PausedReport())
    await unit.all_acknowledged()
    assert (await wire.history(start.task_id))[-1].changed_by == "unit:unit-1"
    assert status_name((await wire.get(start.task_id)).status) == "PAUSED"
