"""The ledger of commands, checkpoints of the caller's choice, drain, and the purge of old tasks."""

import asyncio
from typing import Any

import pytest
from rpc.conftest import Connect
from rpc.raw_unit import RawUnit, checkpoint
from rpc.refusals import refusal_of
from rpc.server import Wire, eventually, status_name
from rpc.tasks import create, paused, running, task_in

from taskplane.server.core.tuning import Tuning
from taskplane.v1 import execution_unit_control_pb2 as unit_pb
from taskplane.v1 import operations_service_pb2 as operations_pb
from taskplane.v1 import task_pb2
from taskplane.v1 import task_service_pb2 as pb


async def command_log(wire: Wire, task_id: int) -> list[pb.TaskCommand]:
    return list((await wire.tasks.ListTaskCommands(pb.ListTaskCommandsRequest(task_id=task_id))).commands)


def told(commands: list[pb.TaskCommand]) -> list[tuple[str, str]]:
    return [
        (
            task_pb2.CommandVerb.Name(each.verb).removeprefix("COMMAND_VERB_"),
            pb.CommandState.Name(each.state).removeprefix("COMMAND_STATE_"),
        )
        for each in commands
    ]


async def test_a_command_is_followed_from_issue_to_effect(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    context = pb.RequestContext(actor="ada", reason="lunch")
    call = wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=start.task_id, context=context))
    pause = await unit.expect("pause")
    (issued,) = await command_log(wire, start.task_id)
    assert (issued.command_id, issued.attempt, issued.actor, issued.reason) == (pause.command_id, 1, "ada", "lunch")
    assert told([issued]) == [("PAUSE", "ISSUED")]
    await unit.accept(pause)
    await unit.all_acknowledged()
    (accepted,) = await command_log(wire, start.task_id)
    assert told([accepted]) == [("PAUSE", "ACCEPTED")]
    assert accepted.HasField("accepted_at")
    await unit.report(pause, paused=unit_pb.PausedReport())
    await call
    (applied,) = await command_log(wire, start.task_id)
    assert told([applied]) == [("PAUSE", "APPLIED")]
    assert applied.HasField("settled_at")


async def test_refused_replaced_and_withdrawn_commands_say_what_became_of_them(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    await wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=start.task_id, no_wait=True))
    await unit.reject(await unit.expect("pause"), unit_pb.REJECT_REASON_OTHER, "not now")
    await unit.all_acknowledged()
    await wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=start.task_id, no_wait=True))
    await wire.tasks.CancelTask(pb.CancelTaskRequest(task_id=start.task_id, no_wait=True))
    await unit.report(await unit.expect("cancel"), cancelled=unit_pb.CancelledReport())
    await unit.all_acknowledged()
    commands = await command_log(wire, start.task_id)
    assert told(commands) == [("CANCEL", "APPLIED"), ("PAUSE", "EXPIRED"), ("PAUSE", "REJECTED")]
    assert "cancel took its place" in commands[1].message
    assert "not now" in commands[2].message


async def test_a_resume_is_in_the_ledger_from_the_queue_to_its_dispatch(wire: Wire, unit: RawUnit) -> None:
    pause = await paused(wire, unit)
    blocker = await running(wire, unit)  # takes the only slot
    await wire.tasks.ResumeTask(pb.ResumeTaskRequest(task_id=pause.task_id))
    assert told(await command_log(wire, pause.task_id))[0] == ("RESUME", "ISSUED")
    await wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=pause.task_id))  # withdraws the pause
    assert told(await command_log(wire, pause.task_id))[0] == ("RESUME", "EXPIRED")
    await wire.tasks.ResumeTask(pb.ResumeTaskRequest(task_id=pause.task_id))
    await unit.report(blocker, succeeded=unit_pb.SucceededReport())
    await unit.expect("resume", task_id=pause.task_id)
    assert told(await command_log(wire, pause.task_id))[0] == ("RESUME", "APPLIED")


async def test_the_ledger_comes_in_pages(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    for _ in range(3):
        await wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=start.task_id, no_wait=True))
        await unit.reject(await unit.expect("pause"), unit_pb.REJECT_REASON_OTHER)
        await unit.all_acknowledged()
    request = pb.ListTaskCommandsRequest(task_id=start.task_id, page_size=2)
    first = await wire.tasks.ListTaskCommands(request)
    request.page_token = first.next_page_token
    second = await wire.tasks.ListTaskCommands(request)
    ids = [each.command_id for each in [*first.commands, *second.commands]]
    assert len(set(ids)) == len(ids) == 3
    assert not second.next_page_token


async def with_checkpoints(wire: Wire, unit: RawUnit, count: int) -> unit_pb.Command:
    """Create a task held paused by the unit, with a number of checkpoints; return the pause command."""
    start = await running(wire, unit)
    for number in range(1, count + 1):
        await unit.report(start, checkpoint=checkpoint(number, row=number * 10))
    await wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=start.task_id, no_wait=True))
    pause = await unit.expect("pause")
    await unit.report(pause, paused=unit_pb.PausedReport())
    await unit.all_acknowledged()
    return pause


async def test_a_task_goes_on_from_the_checkpoint_of_the_callers_choice(wire: Wire, unit: RawUnit) -> None:
    pause = await with_checkpoints(wire, unit, 7)
    kept = (await wire.tasks.ListTaskCheckpoints(pb.ListTaskCheckpointsRequest(task_id=pause.task_id))).checkpoints
    assert [each.number for each in kept] == [7, 6, 5, 4, 3]
    refusal = await refusal_of(wire.tasks.ResumeTask(pb.ResumeTaskRequest(task_id=pause.task_id, checkpoint_number=1)))
    assert refusal.fields == ["checkpoint_number"]
    await wire.tasks.ResumeTask(pb.ResumeTaskRequest(task_id=pause.task_id, checkpoint_number=4, no_wait=True))
    start = await unit.expect("start", task_id=pause.task_id)  # not a resume: the unit's memory is ahead
    assert start.start.checkpoint.data["row"] == 40
    assert start.start.last_checkpoint_number == 7


async def test_a_failed_task_restarts_from_the_checkpoint_of_the_callers_choice(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    for number in (1, 2):
        await unit.report(start, checkpoint=checkpoint(number, row=number * 10))
    await unit.report(start, failed=unit_pb.FailedReport(message="broken", not_retryable=True))
    await unit.all_acknowledged()
    await wire.tasks.RestartTask(pb.RestartTaskRequest(task_id=start.task_id, checkpoint_number=1, no_wait=True))
    again = await unit.expect("start", task_id=start.task_id)
    assert again.start.checkpoint.data["row"] == 10


async def test_a_drained_unit_gets_nothing_new_and_is_gone_when_the_call_answers(
    wire: Wire, unit: RawUnit, connect: Connect
) -> None:
    start = await running(wire, unit)
    call = wire.operations.DrainUnit(operations_pb.DrainUnitRequest(unit_id="unit-1"))

    async def is_draining() -> bool:
        request = operations_pb.GetUnitRequest(unit_id="unit-1")
        return (await wire.operations.GetUnit(request)).unit.draining

    await eventually(is_draining, bool)
    other = await connect("unit-2")
    await unit.say(draining=unit_pb.Draining())
    await unit.report(start, released=unit_pb.ReleasedReport(checkpoint=checkpoint(1, row=5)))
    moved = await other.expect("start", task_id=start.task_id)
    assert (moved.start.checkpoint.data["row"], moved.start.retry_count) == (5, 0)
    await unit.say(goodbye=unit_pb.Goodbye())
    await unit.half_close()
    assert (await call).unit.current_load == 0
    unknown = operations_pb.DrainUnitRequest(unit_id="nobody")
    assert (await refusal_of(wire.operations.DrainUnit(unknown))).reason == "UNIT_NOT_FOUND"


async def test_a_drain_that_takes_too_long_goes_on(wire: Wire, unit: RawUnit) -> None:
    await running(wire, unit)
    request = operations_pb.DrainUnitRequest(unit_id="unit-1")
    assert (await refusal_of(wire.operations.DrainUnit(request, timeout=0.5))).reason == "COMMAND_PENDING"
    task = await create(wire, start=True)
    assert (await wire.get(task.id)).waiting_reason == task_pb2.WAITING_REASON_UNITS_DRAINING


class TestRetention:
    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {"retention_days": 1e-6}

    @pytest.fixture
    def tuning(self) -> Tuning:
        return Tuning(purge_seconds=0.1)

    async def test_old_finished_tasks_are_purged_and_a_watch_from_before_is_told(
        self, wire: Wire, unit: RawUnit
    ) -> None:
        alive = await create(wire)
        done = await task_in("SUCCESS", wire, unit)

        async def all_tasks() -> list[int]:
            return [task.id for task in (await wire.tasks.ListTasks(pb.ListTasksRequest())).tasks]

        assert await eventually(all_tasks, lambda ids: done not in ids) == [alive.id]
        assert status_name((await wire.get(alive.id)).status) == "PENDING"
        call = wire.tasks.WatchTasks(pb.WatchTasksRequest(after_revision=0))
        refusal = await refusal_of(asyncio.wait_for(call.read(), timeout=30))
        assert refusal.reason == "REVISION_TOO_OLD"
