"""Texts of the longest permitted length are stored whole, with the server's additions. SQLite would accept any text."""

import pytest
from rpc.conftest import Connect
from rpc.raw_unit import WORK, checkpoint
from rpc.server import Wire, status_name
from rpc.tasks import create, running

from taskplane.v1 import execution_unit_control_pb2 as unit_pb
from taskplane.v1 import task_service_pb2 as pb
from taskplane.v1.execution_unit_pb2 import TaskTypeSupport

UNIT_ID = "🦆" * 250
NAME = "🦆" * 255
LONGEST = pb.RequestContext(request_id="🦆" * 64, actor=NAME, reason="🦆" * 1000)
ANONYMOUS = pb.RequestContext(actor=LONGEST.actor, reason=LONGEST.reason)


@pytest.fixture
def served_url(database_url: str) -> str:
    return database_url


async def test_a_unit_with_the_longest_id_reports(wire: Wire, connect: Connect) -> None:
    unit = await connect(UNIT_ID, unit_type="🦆" * 100, unit_name=NAME, sdk="🦆" * 100, boot_id="🦆" * 64)
    start = await running(wire, unit)
    await unit.report(start, succeeded=unit_pb.SucceededReport())
    await unit.all_acknowledged()
    last = (await wire.history(start.task_id))[-1]
    assert (status_name(last.to_status), last.changed_by) == ("SUCCESS", f"unit:{UNIT_ID}")


async def test_a_unit_with_the_longest_name_gets_an_id_to_report_under(wire: Wire, connect: Connect) -> None:
    unit = await connect("", unit_name=NAME)
    start = await running(wire, unit)
    await unit.report(start, failed=unit_pb.FailedReport(message="🦆" * 20_000, not_retryable=True))
    await unit.all_acknowledged()
    assert (await wire.history(start.task_id))[-1].changed_by == f"unit:{unit.welcome.unit_id}"


async def test_who_asks_and_why_go_through_every_verb(wire: Wire, connect: Connect) -> None:
    unit = await connect(UNIT_ID, task_types=[WORK, TaskTypeSupport(task_type="W" * 100, can_pause=True)])
    task = await create(wire, task_name=NAME, task_type="W" * 100)
    await wire.tasks.StartTask(pb.StartTaskRequest(task_id=task.id, context=LONGEST))
    await unit.accept(await unit.expect("start"))
    await wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=task.id, context=ANONYMOUS, no_wait=True))
    pause = await unit.expect("pause")
    await unit.reject(pause, unit_pb.REJECT_REASON_OTHER, "🦆" * 2000)
    await unit.all_acknowledged()
    await wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=task.id, context=ANONYMOUS, no_wait=True))
    await unit.report(await unit.expect("pause"), paused=unit_pb.PausedReport(checkpoint=checkpoint(1, row=1)))
    await wire.task_when(task.id, lambda each: status_name(each.status) == "PAUSED")
    await wire.tasks.ResumeTask(pb.ResumeTaskRequest(task_id=task.id, context=ANONYMOUS))
    await wire.tasks.CancelTask(pb.CancelTaskRequest(task_id=task.id, context=ANONYMOUS, no_wait=True))
    cancelled = unit_pb.CancelledReport(message="🦆" * 20_000)
    await unit.report(await unit.expect("cancel"), cancelled=cancelled)
    await wire.task_when(task.id, lambda each: status_name(each.status) == "CANCELLED")
    await wire.tasks.RestartTask(pb.RestartTaskRequest(task_id=task.id, context=ANONYMOUS))
    history = await wire.history(task.id)
    assert {each.changed_by for each in history[1:]} == {NAME}
    assert all(each.reason.startswith(LONGEST.reason) for each in history[1:])
