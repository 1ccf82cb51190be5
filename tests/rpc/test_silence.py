"""Silent units: leases, starts that no unit accepts, cancels that no unit finishes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import grpc
import pytest
from rpc.conftest import Connect
from rpc.raw_unit import RawUnit, checkpoint, struct
from rpc.server import ServerUnderTest, Wire, eventually, status_name
from rpc.tasks import create, paused, running

from taskplane.server.core.errors import DatabaseUnavailable
from taskplane.server.core.tuning import Tuning
from taskplane.server.store.transaction import WriteTransaction
from taskplane.v1 import execution_unit_control_pb2 as unit_pb
from taskplane.v1 import task_pb2
from taskplane.v1 import task_service_pb2 as pb


@pytest.fixture
def settings() -> dict[str, Any]:
    return {"heartbeat_seconds": 0.2, "lease_seconds": 1.0, "cancel_seconds": 0.3, "pause_seconds": 0.3}


QUICK_CHECKS = Tuning(lease_check_seconds=0.05)


@pytest.fixture
def tuning() -> Tuning:
    return QUICK_CHECKS


@asynccontextmanager
async def beating(unit: RawUnit) -> AsyncIterator[None]:
    """Send heartbeats of the unit within the context."""
    ended = asyncio.Event()

    async def beat() -> None:
        while not ended.is_set():
            await unit.say(heartbeat=unit_pb.UnitHeartbeat())
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), 0.2)

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        ended.set()  # no cancel: a cancelled write would end the stream
        await asyncio.wait({task})


def _no_database(_: WriteTransaction) -> None:
    raise DatabaseUnavailable


async def test_the_welcome_tells_heartbeat_and_lease(unit: RawUnit) -> None:
    assert unit.welcome.heartbeat_interval.ToMilliseconds() == 200
    assert unit.welcome.lease_duration.ToMilliseconds() == 1000


async def test_a_silent_unit_loses_its_task_to_another_from_the_last_checkpoint(
    wire: Wire, unit: RawUnit, connect: Connect
) -> None:
    start = await running(wire, unit)
    await unit.report(start, checkpoint=checkpoint(1, row=10))
    await unit.all_acknowledged()
    other = await connect("unit-2")
    async with beating(other):
        again = await other.expect("start", task_id=start.task_id)
        assert again.attempt == 2
        assert again.start.checkpoint.data["row"] == 10
        assert again.start.retry_count == 1
        refusal = await unit.refusal()
        assert (refusal.code, refusal.reason) == (
            grpc.StatusCode.UNAVAILABLE,
            "LEASE_EXPIRED",
        )  # so the unit reconnects
    history = await wire.history(start.task_id)
    assert [status_name(each.to_status) for each in history] == ["PENDING", "RUNNING", "FAILED", "PENDING", "RUNNING"]
    assert "unit lost" in history[2].reason


@pytest.mark.parametrize("tuning", [replace(QUICK_CHECKS, max_unacknowledged=2)])
async def test_a_unit_that_the_server_does_not_read_in_an_outage_is_not_taken_for_silent(
    wire: Wire, unit: RawUnit, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = await running(wire, unit, max_retries=0)
    silent = await connect("silent")
    with monkeypatch.context() as outage:
        outage.setattr(WriteTransaction, "commit", _no_database)
        for number in (1, 2, 3):
            await unit.report(start, checkpoint=checkpoint(number, row=number))
        async with beating(unit):
            # Leases end: the other unit was silent for a lease, and the server did not read this unit's messages for a
            # lease.
            assert (await silent.refusal()).reason == "LEASE_EXPIRED"
    async with beating(unit):
        await unit.report(start, succeeded=unit_pb.SucceededReport())
        await unit.all_acknowledged()
    assert await wire.statuses(start.task_id) == ["PENDING", "RUNNING", "SUCCESS"]


async def test_a_unit_that_is_cut_off_keeps_its_task_for_its_lease(wire: Wire, unit: RawUnit, connect: Connect) -> None:
    start = await running(wire, unit)
    await unit.break_off()
    held = unit_pb.HeldAttempt(task_id=start.task_id, attempt=1, state=unit_pb.ATTEMPT_STATE_RUNNING)
    back = await connect(inventory=[held])
    assert [each.action for each in back.welcome.verdicts] == [unit_pb.VERDICT_ACTION_KEEP]
    async with beating(back):
        await back.report(start, succeeded=unit_pb.SucceededReport())
        await back.all_acknowledged()
    assert await wire.statuses(start.task_id) == ["PENDING", "RUNNING", "SUCCESS"]


async def test_a_unit_that_comes_back_after_its_lease_is_told_to_drop_what_others_have(
    wire: Wire, unit: RawUnit, connect: Connect
) -> None:
    start = await running(wire, unit, max_retries=0)
    await unit.break_off()
    failed = await wire.task_when(start.task_id, lambda task: status_name(task.status) == "FAILED")
    assert "unit lost" in failed.error_message
    held = unit_pb.HeldAttempt(task_id=start.task_id, attempt=1, state=unit_pb.ATTEMPT_STATE_PAUSED)
    back = await connect(inventory=[held])
    (verdict,) = back.welcome.verdicts
    assert verdict.action == unit_pb.VERDICT_ACTION_DROP
    assert verdict.drop_reason == unit_pb.DROP_REASON_FINISHED


async def test_nothing_is_taken_for_a_lease_after_the_server_has_started(
    wire: Wire, unit: RawUnit, server: ServerUnderTest, connect: Connect
) -> None:
    start = await running(wire, unit)
    await unit.break_off()
    await server.stop()
    await asyncio.sleep(1.2)  # longer than a lease: this silence does not count
    await server.start()
    held = unit_pb.HeldAttempt(task_id=start.task_id, attempt=1, state=unit_pb.ATTEMPT_STATE_RUNNING)
    back = await connect(inventory=[held])
    assert [each.action for each in back.welcome.verdicts] == [unit_pb.VERDICT_ACTION_KEEP]


@pytest.mark.parametrize("tuning", [replace(QUICK_CHECKS, accept_seconds=0.3)])
async def test_a_start_that_is_not_accepted_goes_to_another_unit_and_costs_no_retry(
    wire: Wire, unit: RawUnit, connect: Connect
) -> None:
    task = await create(wire, start=True, max_retries=0)
    first = await unit.expect("start", task_id=task.id)
    other = await connect("unit-2")
    async with beating(other):
        second = await other.expect("start", task_id=task.id)
        assert (first.attempt, second.attempt) == (1, 2)
        drop = await unit.expect("drop", task_id=task.id)
        assert (drop.attempt, drop.drop.reason) == (1, unit_pb.DROP_REASON_SUPERSEDED)
    assert (await wire.get(task.id)).retry_count == 0
    assert "did not accept" in (await wire.history(task.id))[2].reason


async def test_a_cancel_that_the_unit_does_not_finish_is_forced(wire: Wire, unit: RawUnit) -> None:
    async with beating(unit):
        start = await running(wire, unit)
        context = pb.RequestContext(actor="ada", reason="enough")
        cancelled = await wire.tasks.CancelTask(pb.CancelTaskRequest(task_id=start.task_id, context=context))
        assert status_name(cancelled.task.status) == "CANCELLED"
        last = (await wire.history(start.task_id))[-1]
        assert last.changed_by == "ada"
        assert "enough" in last.reason
        assert "forced" in last.reason
        drop = await unit.expect("drop", task_id=start.task_id)
        assert drop.drop.reason == unit_pb.DROP_REASON_CANCELLED
        await running(wire, unit)  # its slot is free


async def test_a_pause_that_the_unit_does_not_apply_is_reported_and_stays_pending(wire: Wire, unit: RawUnit) -> None:
    async with beating(unit):
        start = await running(wire, unit)
        call = wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=start.task_id))
        pause = await unit.expect("pause")

        async def latest() -> pb.TaskCommand:
            request = pb.ListTaskCommandsRequest(task_id=start.task_id)
            return (await wire.tasks.ListTaskCommands(request)).commands[0]

        command = await eventually(latest, lambda command: bool(command.message))
        assert "in time" in command.message
        assert command.state == pb.COMMAND_STATE_ISSUED
        assert (await wire.get(start.task_id)).pending_command.command_id == pause.command_id
        await unit.report(pause, paused=unit_pb.PausedReport())
        assert status_name((await call).task.status) == "PAUSED"


async def test_what_was_asked_of_a_lost_unit_holds(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    pause = wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=start.task_id))
    await unit.expect("pause")
    await unit.break_off()
    assert status_name((await pause).task.status) == "PAUSED"
    assert (await wire.get(start.task_id)).retry_count == 0


async def test_work_that_a_lost_unit_has_done_counts_when_its_paused_task_is_resumed(
    wire: Wire, unit: RawUnit, connect: Connect
) -> None:
    start = await running(wire, unit)
    pause = wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=start.task_id))
    await unit.expect("pause")
    await unit.break_off()
    assert status_name((await pause).task.status) == "PAUSED"
    ended = unit_pb.HeldAttempt(task_id=start.task_id, attempt=1, state=unit_pb.ATTEMPT_STATE_ENDED)
    back = await connect(inventory=[ended])
    assert back.welcome.verdicts[0].action == unit_pb.VERDICT_ACTION_KEEP
    for _ in range(2):  # a repeat changes nothing
        await back.report(start, succeeded=unit_pb.SucceededReport(result=struct({"rows": 3})))
        await back.all_acknowledged()
    assert status_name((await wire.get(start.task_id)).status) == "PAUSED"
    await back.break_off()
    done = (await wire.tasks.ResumeTask(pb.ResumeTaskRequest(task_id=start.task_id))).task
    assert (status_name(done.status), done.attempt, dict(done.result)) == ("SUCCESS", 2, {"rows": 3})
    assert await wire.statuses(start.task_id) == ["PENDING", "RUNNING", "PAUSED", "RUNNING", "SUCCESS"]
    commands = (await wire.tasks.ListTaskCommands(pb.ListTaskCommandsRequest(task_id=start.task_id))).commands
    resumes = [each.state for each in commands if each.verb == task_pb2.COMMAND_VERB_RESUME]
    assert resumes == [pb.COMMAND_STATE_APPLIED]


async def test_a_lost_unit_that_held_a_task_leaves_it_paused(wire: Wire, unit: RawUnit, connect: Connect) -> None:
    pause = await paused(wire, unit)
    await unit.break_off()
    other = await connect("unit-2")
    async with beating(other):
        await wire.tasks.ResumeTask(pb.ResumeTaskRequest(task_id=pause.task_id, no_wait=True))
        start = await other.expect("start", task_id=pause.task_id)
    assert start.start.checkpoint.number == 1


async def test_a_lease_must_outlast_two_heartbeats(served_url: str) -> None:
    server = ServerUnderTest(served_url, heartbeat_seconds=5, lease_seconds=9)
    with pytest.raises(ValueError, match="lease_seconds"):
        await server.start()
