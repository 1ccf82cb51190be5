"""Cancel: at once where no unit holds the task, else when the unit has cleaned up; restart begins afresh."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from rpc.conftest import Connect
from rpc.raw_unit import RawUnit, checkpoint, struct
from rpc.refusals import refusal_of
from rpc.server import Wire, status_name
from rpc.tasks import create, paused, running
from rpc.test_resume import is_offline

from taskplane.v1 import execution_unit_control_pb2 as unit_pb
from taskplane.v1 import task_pb2
from taskplane.v1 import task_service_pb2 as pb


def request(task_id: int, *, no_wait: bool = False) -> pb.CancelTaskRequest:
    context = pb.RequestContext(actor="ada", reason="no use")
    return pb.CancelTaskRequest(task_id=task_id, context=context, no_wait=no_wait)


async def test_a_pending_task_is_cancelled_at_once(wire: Wire) -> None:
    task = await create(wire, start=True)
    cancelled = (await wire.tasks.CancelTask(request(task.id))).task
    assert status_name(cancelled.status) == "CANCELLED"
    assert cancelled.HasField("completed_at")
    assert not cancelled.HasField("queued_at")
    transition = (await wire.history(task.id))[-1]
    assert (transition.changed_by, transition.reason) == ("ada", "no use")


async def test_a_running_task_is_cancelled_when_the_unit_has_cleaned_up(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    call = wire.tasks.CancelTask(request(start.task_id))
    cancel = await unit.expect("cancel")
    assert cancel.cancel.reason == "no use"
    await unit.accept(cancel)
    await unit.all_acknowledged()
    assert not call.done()
    cancelling = await wire.get(start.task_id)
    assert status_name(cancelling.status) == "RUNNING"
    assert cancelling.pending_command.verb == task_pb2.COMMAND_VERB_CANCEL
    await unit.report(cancel, cancelled=unit_pb.CancelledReport(message="part file removed"))
    assert status_name((await call).task.status) == "CANCELLED"
    transition = (await wire.history(start.task_id))[-1]
    assert transition.changed_by == "ada"
    assert "no use" in transition.reason
    assert "part file removed" in transition.reason
    await running(wire, unit)  # the slot is free


async def test_a_held_task_is_cancelled_by_the_unit_that_holds_it(wire: Wire, unit: RawUnit) -> None:
    pause = await paused(wire, unit)
    call = wire.tasks.CancelTask(request(pause.task_id))
    cancel = await unit.expect("cancel")
    assert (cancel.task_id, cancel.attempt) == (pause.task_id, pause.attempt)
    assert status_name((await wire.get(pause.task_id)).status) == "PAUSED"
    await unit.report(cancel, cancelled=unit_pb.CancelledReport())
    assert status_name((await call).task.status) == "CANCELLED"
    assert await wire.statuses(pause.task_id) == ["PENDING", "RUNNING", "PAUSED", "CANCELLED"]


async def test_a_held_task_that_its_unit_has_let_go_of_is_cancelled_all_the_same(wire: Wire, unit: RawUnit) -> None:
    pause = await paused(wire, unit)
    call = wire.tasks.CancelTask(request(pause.task_id))
    await unit.reject(await unit.expect("cancel"), unit_pb.REJECT_REASON_UNKNOWN_ATTEMPT)
    assert status_name((await call).task.status) == "CANCELLED"
    transition = (await wire.history(pause.task_id))[-1]
    assert (transition.changed_by, transition.reason) == ("ada", "no use; no unit holds it")


@pytest.mark.parametrize("bring", [running, paused])
async def test_a_cancel_that_the_unit_refuses_stays_pending(
    wire: Wire, unit: RawUnit, bring: Callable[[Wire, RawUnit], Awaitable[unit_pb.Command]]
) -> None:
    command = await bring(wire, unit)
    await wire.tasks.CancelTask(request(command.task_id, no_wait=True))
    newer_than_this_server: Any = 99
    cancel = await unit.expect("cancel")
    await unit.reject(cancel, newer_than_this_server, "not now")
    await unit.all_acknowledged()
    assert (await wire.get(command.task_id)).pending_command.command_id == cancel.command_id
    await unit.report(cancel, cancelled=unit_pb.CancelledReport())
    assert (await wire.task_when(command.task_id, lambda task: status_name(task.status) == "CANCELLED")).attempt == 1


async def test_a_running_task_that_its_unit_does_not_hold_is_cancelled_all_the_same(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    call = wire.tasks.CancelTask(request(start.task_id))
    await unit.reject(await unit.expect("cancel"), unit_pb.REJECT_REASON_UNKNOWN_ATTEMPT)
    assert status_name((await call).task.status) == "CANCELLED"
    assert (await unit.expect("drop", task_id=start.task_id)).attempt == 1


async def test_a_paused_task_that_nobody_holds_is_cancelled_at_once(wire: Wire, connect: Connect) -> None:
    holder = await connect("holder")
    pause = await paused(wire, holder)
    await holder.break_off()
    await is_offline(wire, "holder")
    assert status_name((await wire.tasks.CancelTask(request(pause.task_id))).task.status) == "CANCELLED"
    held = unit_pb.HeldAttempt(task_id=pause.task_id, attempt=pause.attempt, state=unit_pb.ATTEMPT_STATE_PAUSED)
    again = await connect("holder", inventory=[held])
    (verdict,) = again.welcome.verdicts
    assert verdict.action == unit_pb.VERDICT_ACTION_DROP
    assert verdict.drop_reason == unit_pb.DROP_REASON_CANCELLED


async def test_a_cancel_takes_the_place_of_a_pending_pause(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    pausing = wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=start.task_id))
    await unit.expect("pause")
    cancelling = wire.tasks.CancelTask(request(start.task_id))
    cancel = await unit.expect("cancel")
    assert (await refusal_of(pausing)).reason == "ILLEGAL_TRANSITION"
    await unit.report(cancel, cancelled=unit_pb.CancelledReport())
    assert status_name((await cancelling).task.status) == "CANCELLED"


async def test_a_cancel_that_takes_longer_than_the_call_takes_effect_later(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    refusal = await refusal_of(wire.tasks.CancelTask(request(start.task_id), timeout=3))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "COMMAND_PENDING")
    await unit.report(await unit.expect("cancel"), cancelled=unit_pb.CancelledReport())
    await unit.all_acknowledged()
    assert status_name((await wire.get(start.task_id)).status) == "CANCELLED"


async def test_a_cancelled_task_is_not_retried_when_its_attempt_fails(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    call = wire.tasks.CancelTask(request(start.task_id))
    await unit.expect("cancel")
    await unit.report(start, failed=unit_pb.FailedReport(message="just then"))
    assert (await refusal_of(call)).metadata["from"] == "FAILED"
    assert await wire.statuses(start.task_id) == ["PENDING", "RUNNING", "FAILED"]


async def test_a_lost_unit_leaves_a_cancelled_task_behind(wire: Wire, connect: Connect) -> None:
    unit = await connect()
    start = await running(wire, unit)
    call = wire.tasks.CancelTask(request(start.task_id))
    await unit.expect("cancel")
    await unit.break_off()
    await connect()  # comes back, without the attempt
    assert status_name((await call).task.status) == "CANCELLED"


async def test_a_restart_begins_from_scratch(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit, config=struct({"rows": 5}), max_retries=0)
    await unit.report(start, checkpoint=checkpoint(4, row=5))
    await unit.report(start, progress=unit_pb.ProgressReport(fraction=0.5))
    await unit.report(start, failed=unit_pb.FailedReport(message="broken"))
    await unit.all_acknowledged()
    failed = await wire.get(start.task_id)
    assert (status_name(failed.status), failed.error_message) == ("FAILED", "broken")
    restarted = (await wire.tasks.RestartTask(pb.RestartTaskRequest(task_id=start.task_id))).task
    is_set = {field.name for field, _ in restarted.ListFields()}
    assert not is_set & {"checkpoint", "progress", "result", "completed_at", "error_message", "retry_count"}
    again = await unit.expect("start")
    assert again.attempt == start.attempt + 1
    assert not again.start.HasField("checkpoint")
    assert again.start.last_checkpoint_number == 4  # numbers continue, so an old checkpoint stays a repeat
    assert MessageToDict(again.start.config) == {"rows": 5}
    assert await wire.statuses(start.task_id) == ["PENDING", "RUNNING", "FAILED", "PENDING", "RUNNING"]


async def test_a_restart_of_a_cancelled_task_does_not_wait_for_a_unit_that_is_not_there(wire: Wire) -> None:
    task = await create(wire)
    await wire.tasks.CancelTask(request(task.id))
    restarted = (await wire.tasks.RestartTask(pb.RestartTaskRequest(task_id=task.id))).task
    assert (status_name(restarted.status), restarted.HasField("queued_at")) == ("PENDING", True)
    assert restarted.waiting_reason == task_pb2.WAITING_REASON_NO_UNIT_FOR_TYPE
