"""A paused task continues in the memory of its unit, or elsewhere from its checkpoint."""

import pytest
from google.protobuf.json_format import MessageToDict
from rpc.conftest import Connect
from rpc.raw_unit import RawUnit, checkpoint
from rpc.server import Wire, eventually, status_name
from rpc.tasks import paused, running

from taskplane.v1 import execution_unit_control_pb2 as unit_pb
from taskplane.v1 import operations_service_pb2 as operations_pb
from taskplane.v1 import task_pb2
from taskplane.v1 import task_service_pb2 as pb
from taskplane.v1.execution_unit_pb2 import EXECUTION_UNIT_STATUS_OFFLINE, ExecutionUnit


@pytest.fixture
def served_url(database_url: str) -> str:
    return database_url


async def resume(wire: Wire, task_id: int) -> task_pb2.Task:
    context = pb.RequestContext(actor="ada", reason="go on")
    return (await wire.tasks.ResumeTask(pb.ResumeTaskRequest(task_id=task_id, context=context))).task


async def is_offline(wire: Wire, unit_id: str) -> None:
    async def look() -> ExecutionUnit:
        return (await wire.operations.GetUnit(operations_pb.GetUnitRequest(unit_id=unit_id))).unit

    await eventually(look, lambda unit: unit.status == EXECUTION_UNIT_STATUS_OFFLINE)


async def test_the_unit_that_holds_it_goes_on_under_a_new_attempt(wire: Wire, connect: Connect) -> None:
    holder = await connect("holder")
    pause = await paused(wire, holder)
    await connect("idle", capacity=100)
    task = await resume(wire, pause.task_id)
    order = await holder.expect("resume")
    assert (order.task_id, order.attempt) == (pause.task_id, pause.attempt + 1)
    assert (order.resume.held_attempt, order.resume.last_checkpoint_number) == (pause.attempt, 1)
    assert (status_name(task.status), task.attempt, task.execution_unit_id) == ("RUNNING", order.attempt, "holder")
    transition = (await wire.history(task.id))[-1]
    assert (transition.changed_by, transition.attempt) == ("ada", order.attempt)
    assert "go on" in transition.reason
    await holder.accept(order)
    await holder.report(order, succeeded=unit_pb.SucceededReport())
    await holder.all_acknowledged()
    assert await wire.statuses(task.id) == ["PENDING", "RUNNING", "PAUSED", "RUNNING", "SUCCESS"]


async def test_a_late_word_of_an_older_attempt_does_not_make_the_holder_be_forgotten(
    wire: Wire, connect: Connect
) -> None:
    holder = await connect("holder")
    first = await paused(wire, holder)
    await resume(wire, first.task_id)
    order = await holder.expect("resume")
    await holder.accept(order)
    await holder.report(order, paused=unit_pb.PausedReport(checkpoint=checkpoint(2, row=20)))
    await holder.report(first, paused=unit_pb.PausedReport(checkpoint=checkpoint(1, row=10)))
    await holder.all_acknowledged()
    await resume(wire, first.task_id)
    again = await holder.expect("resume")
    assert (again.resume.held_attempt, again.attempt) == (order.attempt, order.attempt + 1)


async def test_another_unit_goes_on_from_the_checkpoint_when_the_holder_is_gone(wire: Wire, connect: Connect) -> None:
    holder = await connect("holder")
    pause = await paused(wire, holder)
    await holder.break_off()
    await is_offline(wire, "holder")
    other = await connect("other")
    task = await resume(wire, pause.task_id)
    start = await other.expect("start")
    assert (task.execution_unit_id, start.attempt) == ("other", pause.attempt + 1)
    assert (start.start.checkpoint.number, start.start.last_checkpoint_number) == (1, 1)
    assert MessageToDict(start.start.checkpoint.data) == {"row": 10}
    assert (start.start.retry_count, task.retry_count) == (0, 0)


async def test_a_holder_without_a_slot_is_told_to_drop_what_goes_on_elsewhere(wire: Wire, connect: Connect) -> None:
    holder = await connect("holder")
    pause = await paused(wire, holder)
    await running(wire, holder)  # takes the holder's only slot
    other = await connect("other")
    task = await resume(wire, pause.task_id)
    assert task.execution_unit_id == "other"
    start = await other.expect("start")
    assert MessageToDict(start.start.checkpoint.data) == {"row": 10}
    drop = await holder.expect("drop")
    assert (drop.task_id, drop.attempt) == (pause.task_id, pause.attempt)
    assert drop.drop.reason == unit_pb.DROP_REASON_SUPERSEDED


async def test_a_unit_that_lost_what_it_held_gets_a_start_from_the_checkpoint(wire: Wire, unit: RawUnit) -> None:
    pause = await paused(wire, unit)
    await resume(wire, pause.task_id)
    await unit.reject(await unit.expect("resume"), unit_pb.REJECT_REASON_UNKNOWN_ATTEMPT)
    start = await unit.expect("start", task_id=pause.task_id)
    assert MessageToDict(start.start.checkpoint.data) == {"row": 10}
    assert start.start.retry_count == 0
    assert (await wire.get(pause.task_id)).retry_count == 0


async def test_a_holder_that_reconnects_goes_on_from_memory(wire: Wire, connect: Connect) -> None:
    first = await connect()
    pause = await paused(wire, first)
    await first.break_off()
    held = unit_pb.HeldAttempt(
        task_id=pause.task_id, attempt=pause.attempt, state=unit_pb.ATTEMPT_STATE_PAUSED, checkpoint_number=1
    )
    again = await connect(inventory=[held])
    (verdict,) = again.welcome.verdicts
    assert (verdict.task_id, verdict.action) == (pause.task_id, unit_pb.VERDICT_ACTION_PAUSE)
    await resume(wire, pause.task_id)
    assert (await again.expect("resume")).resume.held_attempt == pause.attempt


async def test_resume_waits_in_the_queue_while_no_unit_is_free(wire: Wire, unit: RawUnit) -> None:
    pause = await paused(wire, unit)
    other = await running(wire, unit)
    task = await resume(wire, pause.task_id)
    assert status_name(task.status) == "PAUSED"
    assert task.waiting_reason == task_pb2.WAITING_REASON_UNITS_BUSY
    await unit.report(other, succeeded=unit_pb.SucceededReport())
    order = await unit.expect("resume")
    assert order.task_id == pause.task_id


async def test_each_pause_and_resume_has_its_attempt_and_checkpoints_go_on_counting(wire: Wire, unit: RawUnit) -> None:
    pause = await paused(wire, unit)
    for number in (2, 3):
        await resume(wire, pause.task_id)
        order = await unit.expect("resume")
        await unit.accept(order)
        call = wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=pause.task_id))
        pause = await unit.expect("pause")
        assert pause.attempt == order.attempt == number
        await unit.report(pause, paused=unit_pb.PausedReport(checkpoint=checkpoint(number, row=number)))
        task = (await call).task
        assert (task.checkpoint.number, task.checkpoint.attempt) == (number, number)
    assert await wire.statuses(pause.task_id) == ["PENDING", *["RUNNING", "PAUSED"] * 3]


async def test_a_resume_from_a_chosen_checkpoint_that_is_withdrawn_leaves_no_trace(
    wire: Wire, connect: Connect
) -> None:
    unit = await connect("unit")
    start = await running(wire, unit)
    for number in (1, 2):
        await unit.report(start, checkpoint=checkpoint(number, row=10 * number))
    await unit.all_acknowledged()
    await wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=start.task_id, no_wait=True))
    await unit.report(await unit.expect("pause"), paused=unit_pb.PausedReport())
    await unit.all_acknowledged()
    await unit.break_off()
    await is_offline(wire, "unit")
    await wire.tasks.ResumeTask(pb.ResumeTaskRequest(task_id=start.task_id, checkpoint_number=1))
    await wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=start.task_id))
    await resume(wire, start.task_id)
    other = await connect("other")
    again = await other.expect("start", task_id=start.task_id)
    assert again.start.checkpoint.number == 2
