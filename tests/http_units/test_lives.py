"""Tasks of a unit that dies, hangs, forgets, leaves or returns, and of a server that does."""

import asyncio
import threading
from functools import partial
from typing import Any

import grpc
import pytest
from http_units.calls import Calls, plain, struct
from http_units.scripted_unit import PATIENCE_SECONDS, Answer, Request, ScriptedUnit, always
from rpc.refusals import refusal_of
from rpc.server import ServerUnderTest, eventually

from taskplane.server.core.tuning import Tuning
from taskplane.server.execution_units.links import http_client
from taskplane.v1 import execution_unit_control_pb2 as pb
from taskplane.v1 import execution_unit_pb2, task_pb2
from taskplane.v1 import operations_service_pb2 as operations_pb

AVAILABLE = execution_unit_pb2.EXECUTION_UNIT_STATUS_AVAILABLE
OFFLINE = execution_unit_pb2.EXECUTION_UNIT_STATUS_OFFLINE
PAUSED = task_pb2.TASK_STATUS_PAUSED
SUCCEEDED = pb.SucceededReport()


def _is_half_done(task: task_pb2.Task) -> bool:
    return task.progress.fraction == 0.5


async def until_unit(calls: Calls, unit_id: str, status: int) -> None:
    await eventually(lambda: calls.unit(unit_id), lambda unit: unit.status == status)


class TestLeases:
    """Return settings with a lease so short that it ends within a test."""

    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {"poll_seconds": 0.1, "heartbeat_seconds": 0.2, "lease_seconds": 1.0}

    async def test_a_unit_that_dies_loses_its_task_to_another(self, calls: Calls, unit: ScriptedUnit) -> None:
        unit.on("status", always(200, {"status": "RUNNING", "checkpoint": {"row": 5}}))
        unit_id = (await calls.register(unit)).id
        request = await calls.accepted(unit)
        await calls.wire.task_when(request.task_id, lambda task: task.HasField("checkpoint"))
        unit.die()
        await until_unit(calls, unit_id, OFFLINE)
        with ScriptedUnit() as other:
            await calls.register(other, unit_name="other")
            again = await other.expect("execute", request.task_id)
        assert (again.attempt, again.body["checkpoint"]) == (2, {"row": 5})
        assert "unit lost: not heard from for 1 s" in await calls.reasons(request.task_id)

    async def test_a_unit_without_heartbeats_lives_on_by_its_answers(self, calls: Calls, unit: ScriptedUnit) -> None:
        """An idle unit is only asked for a sign of life, with a task unknown to the unit."""
        unit_id = (await calls.register(unit)).id
        await eventually(_count(unit, "status"), lambda count: count >= 8)
        assert (await calls.unit(unit_id)).status == AVAILABLE
        assert {each.path for each in unit.requests} == {"/status/0"}

    async def test_a_unit_with_heartbeats_is_not_asked_for_signs_of_life(
        self, calls: Calls, unit: ScriptedUnit
    ) -> None:
        unit_id = (await calls.register(unit)).id
        for _ in range(60):
            await calls.heartbeat(unit_id)
            await asyncio.sleep(0.02)  # the test is about the passing time
        assert unit.requests == []

    async def test_a_heartbeat_brings_a_lost_unit_back(self, calls: Calls, unit: ScriptedUnit) -> None:
        unit_id = (await calls.register(unit)).id
        unit.die()
        await until_unit(calls, unit_id, OFFLINE)
        unit.live()
        assert (await calls.heartbeat(unit_id)).status == AVAILABLE
        await calls.accepted(unit)

    async def test_a_lost_unit_without_heartbeats_is_found_again(self, calls: Calls, unit: ScriptedUnit) -> None:
        unit_id = (await calls.register(unit)).id
        unit.die()
        await until_unit(calls, unit_id, OFFLINE)
        unit.live()
        await until_unit(calls, unit_id, AVAILABLE)
        await calls.accepted(unit)

    async def test_a_late_word_of_a_lost_attempt_changes_nothing(self, calls: Calls, unit: ScriptedUnit) -> None:
        unit_id = (await calls.register(unit)).id
        request = await calls.accepted(unit)
        unit.die()
        await until_unit(calls, unit_id, OFFLINE)
        await calls.wire.task_when(request.task_id, lambda task: task.status != task_pb2.TASK_STATUS_RUNNING)
        answer = await calls.report(unit_id, request, succeeded=SUCCEEDED)
        assert answer.verdict.action == pb.VERDICT_ACTION_DROP
        assert answer.verdict.drop_reason == pb.DROP_REASON_SUPERSEDED
        assert "SUCCESS" not in await calls.wire.statuses(request.task_id)


class TestStartsWithoutAnAnswer:
    """The unit may be at work: no other unit gets the task before the server knows."""

    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {"poll_seconds": 0.1, "heartbeat_seconds": 0.2, "lease_seconds": 3.0}

    @pytest.fixture
    def tuning(self) -> Tuning:
        return Tuning(accept_seconds=0.2)

    @pytest.fixture(autouse=True)
    def _impatient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http_client, "REQUEST_SECONDS", 1.0)

    @pytest.mark.parametrize("status", [500, 502, 504])
    async def test_one_that_has_begun_is_found_out(self, status: int, calls: Calls, unit: ScriptedUnit) -> None:
        unit.on("execute", always(status, "the gateway has lost its patience"))
        asked = 0

        def begins_late(request: Request) -> Answer:
            nonlocal asked
            asked += request.task_id > 0
            return Answer(200, {"status": "RUNNING", "attempt": 1, "progress": 0.5}) if asked > 3 else Answer(404)

        unit.on("status", begins_late)
        await calls.register(unit)
        with ScriptedUnit() as other:
            task_id = await calls.start()
            await unit.expect("execute", task_id)
            await calls.register(other, unit_name="other")
            await eventually(partial(calls.wire.get, task_id), _is_half_done)
            unit.on("status", always(200, {"status": "SUCCESS", "attempt": 1}))
            assert (await calls.until(task_id, "SUCCESS")).attempt == 1
            assert not other.count("execute")
        assert unit.count("execute") == 1

    async def test_one_that_has_not_begun_for_a_lease_goes_to_another_unit(
        self, calls: Calls, unit: ScriptedUnit
    ) -> None:
        let_go = threading.Event()

        def hang(_: Request) -> Answer:
            assert let_go.wait(PATIENCE_SECONDS)
            return Answer(200)

        unit.on("execute", hang)
        await calls.register(unit)
        task_id = await calls.start()
        began = asyncio.get_running_loop().time()
        await unit.expect("execute")
        with ScriptedUnit() as other:
            await calls.register(other, unit_name="other")
            again = await other.expect("execute", task_id)
            assert asyncio.get_running_loop().time() - began >= 3.0
        let_go.set()
        assert again.attempt == 2
        assert (await calls.wire.get(task_id)).retry_count == 0
        # HTTP has no command to drop an attempt that continues elsewhere, so the unit gets none.
        assert unit.count("cancel") == 0
        assert unit.count("execute") == 1

    async def test_a_word_of_the_unit_itself_settles_it(self, calls: Calls, unit: ScriptedUnit) -> None:
        unit.on("execute", always(504))
        unit_id = (await calls.register(unit)).id
        task_id = await calls.start()
        request = await unit.expect("execute", task_id)
        await calls.report(unit_id, request, progress=pb.ProgressReport(fraction=0.5))
        await eventually(partial(calls.wire.get, task_id), _is_half_done)
        await calls.report(unit_id, request, succeeded=SUCCEEDED)
        assert await calls.wire.statuses(task_id) == ["PENDING", "RUNNING", "SUCCESS"]

    async def test_a_cancel_need_not_wait(self, calls: Calls, unit: ScriptedUnit) -> None:
        unit.on("execute", always(504))
        unit.on("cancel", always(200, {"status": "CANCELLED"}))
        await calls.register(unit)
        task_id = await calls.start()
        await unit.expect("execute", task_id)
        await unit.expect("status", task_id)
        assert (await calls.cancel(task_id)).status == task_pb2.TASK_STATUS_CANCELLED
        await unit.expect("cancel", task_id)

    async def test_a_resume_without_an_answer_is_not_begun_elsewhere(self, calls: Calls, unit: ScriptedUnit) -> None:
        unit.on("status", always(200, {"status": "RUNNING", "attempt": 1}))
        unit.on("pause", always(200, {"status": "PAUSED", "checkpoint": {"row": 1}, "attempt": 1}))
        await calls.register(unit)
        first = await calls.accepted(unit)
        await calls.pause(first.task_id)
        unit.on("resume", always(502))
        unit.on("status", always(200, {"status": "PAUSED", "attempt": 1}))
        await calls.resume(first.task_id)
        await unit.expect("resume")
        unit.on("status", always(200, {"status": "RUNNING", "attempt": 2, "progress": 0.5}))
        resumed = await eventually(partial(calls.wire.get, first.task_id), _is_half_done)
        assert resumed.attempt == 2
        assert unit.count("execute") == 1
        assert unit.count("resume") == 1


async def test_a_unit_that_has_forgotten_a_task_loses_it_after_a_second_look(calls: Calls, unit: ScriptedUnit) -> None:
    unit.on("status", always(404))
    await calls.register(unit)
    request = await calls.accepted(unit)
    again = await unit.expect("execute")
    assert again.attempt == 2
    assert "unit lost: it does not know this attempt" in await calls.reasons(request.task_id)
    assert (await calls.wire.get(request.task_id)).retry_count == 1
    assert [each.route for each in unit.requests[:4]] == ["execute", "status", "status", "execute"]


async def test_a_unit_that_holds_another_attempt_has_forgotten_this_one(calls: Calls, unit: ScriptedUnit) -> None:
    unit.on("status", always(200, {"status": "SUCCESS", "attempt": 99}))
    await calls.register(unit)
    request = await calls.accepted(unit)
    assert (await unit.expect("execute")).attempt == 2
    assert "SUCCESS" not in await calls.wire.statuses(request.task_id)


async def test_what_is_polled_is_progress_checkpoints_and_the_end(calls: Calls, unit: ScriptedUnit) -> None:
    unit.on("status", always(200, {"status": "RUNNING", "progress": 50, "message": "half", "checkpoint": {"row": 5}}))
    await calls.register(unit)
    request = await calls.accepted(unit)
    task = await calls.wire.task_when(request.task_id, lambda task: task.HasField("checkpoint"))
    assert plain(task.checkpoint.data) == {"row": 5}
    polled = unit.count("status")
    await eventually(_count(unit, "status"), lambda count: count >= polled + 3)
    task = await calls.wire.get(request.task_id)
    assert (task.progress.fraction, task.progress.message) == (0.5, "half")
    assert task.checkpoint.number == 1, "what was said before was stored again"
    unit.on("status", always(200, {"status": "SUCCESS", "result": {"rows": 10}}))
    assert plain((await calls.until(request.task_id, "SUCCESS")).result) == {"rows": 10}


async def test_a_unit_that_restarts_loses_what_it_does_not_know_any_more(calls: Calls, unit: ScriptedUnit) -> None:
    known: set[int] = set()

    def status(request: Request) -> Answer:
        return Answer(200, {"status": "RUNNING"}) if request.task_id in known else Answer(404)

    def execute(request: Request) -> Answer:
        known.add(request.task_id)
        return Answer(200)

    unit.on("status", status)
    unit.on("execute", execute)
    await calls.register(unit, capacity=2)
    kept, forgotten = await calls.accepted(unit), await calls.accepted(unit)
    known.remove(forgotten.task_id)
    await calls.register(unit, capacity=2)
    assert (await unit.expect("execute", forgotten.task_id)).attempt == 2
    assert (await calls.wire.get(kept.task_id)).attempt == 1


async def test_a_paused_task_that_is_forgotten_goes_on_from_its_checkpoint(calls: Calls, unit: ScriptedUnit) -> None:
    unit.on("status", always(200, {"status": "RUNNING"}))
    unit.on("pause", always(200, {"status": "PAUSED", "checkpoint": {"row": 10}}))
    await calls.register(unit)
    request = await calls.accepted(unit)
    await calls.pause(request.task_id)
    unit.on("status", always(404))
    await unit.expect("status", request.task_id)
    seen = unit.count("status")
    await eventually(_count(unit, "status"), lambda count: count >= seen + 1)
    unit.on("resume", always(404))
    await calls.resume(request.task_id)
    assert (await unit.expect("execute", request.task_id)).body["checkpoint"] == {"row": 10}


async def test_what_cannot_be_resumed_begins_from_the_start_where_no_checkpoints_are_made(
    calls: Calls, unit: ScriptedUnit
) -> None:
    unit.on("status", always(200, {"status": "RUNNING"}))
    unit.on("pause", always(200, {"status": "PAUSED", "checkpoint": {"row": 10}}))
    unit.on("resume", always(404))
    await calls.register(unit, task_types=[execution_unit_pb2.TaskTypeSupport(task_type="WORK", can_pause=True)])
    request = await calls.accepted(unit)
    await calls.pause(request.task_id)
    await calls.resume(request.task_id)
    assert (await unit.expect("execute", request.task_id)).body["checkpoint"] is None


async def test_a_control_that_nobody_hears_is_repeated_until_it_is_heard(calls: Calls, unit: ScriptedUnit) -> None:
    unit.on("status", always(200, {"status": "RUNNING"}))
    await calls.register(unit)
    request = await calls.accepted(unit)
    unit.on("pause", always(503))
    await calls.pause(request.task_id, no_wait=True)
    await eventually(_count(unit, "pause"), lambda count: count > 4)
    assert (await calls.wire.get(request.task_id)).pending_command.verb == task_pb2.COMMAND_VERB_PAUSE
    unit.on("pause", always(200, {"status": "PAUSED"}))
    await calls.until(request.task_id, "PAUSED")


async def test_a_restart_of_the_server_changes_nothing(
    server: ServerUnderTest, calls: Calls, unit: ScriptedUnit
) -> None:
    unit.on("status", always(200, {"status": "RUNNING"}))
    unit.on("pause", always(200, {"status": "PAUSED", "checkpoint": {"row": 1}}))
    unit_id = (await calls.register(unit, capacity=2)).id
    running, paused = await calls.accepted(unit), await calls.accepted(unit)
    await calls.pause(paused.task_id)
    await server.stop()
    asked = unit.count("status")
    await server.start()
    await eventually(_count(unit, "status"), lambda count: count > asked)
    assert (await calls.unit(unit_id)).endpoint == unit.endpoint
    answer = await calls.report(unit_id, running, succeeded=SUCCEEDED)
    assert answer.status == task_pb2.TASK_STATUS_SUCCESS
    await calls.resume(paused.task_id)
    assert (await unit.expect("resume")).body == {"attempt": 2, "heldAttempt": 1}
    assert unit.count("execute") == 2


async def test_a_start_that_was_stored_and_not_sent_is_sent_by_the_next_server(
    server: ServerUnderTest, calls: Calls, unit: ScriptedUnit
) -> None:
    let_go = threading.Event()

    def hang(_: Request) -> Answer:
        assert let_go.wait(PATIENCE_SECONDS)
        return Answer(200)

    unit.on("execute", hang)
    await calls.register(unit)
    task_id = await calls.start()
    await unit.expect("execute")
    await server.stop()
    let_go.set()
    await server.start()
    assert (await unit.expect("execute", task_id)).attempt == 1
    assert await calls.wire.statuses(task_id) == ["PENDING", "RUNNING"]


async def test_a_start_that_the_unit_has_already_is_not_sent_again_by_the_next_server(
    server: ServerUnderTest, calls: Calls, unit: ScriptedUnit
) -> None:
    let_go = threading.Event()

    def hang(_: Request) -> Answer:
        assert let_go.wait(PATIENCE_SECONDS)
        return Answer(200)

    unit.on("execute", hang)
    await calls.register(unit)
    task_id = await calls.start()
    await unit.expect("execute")
    await server.stop()
    let_go.set()
    unit.on("status", always(200, {"status": "RUNNING", "attempt": 1, "progress": 0.5}))
    await server.start()
    await eventually(partial(calls.wire.get, task_id), _is_half_done)
    assert unit.count("execute") == 1


async def test_a_drained_unit_gives_its_tasks_to_others_and_stays_away(calls: Calls, unit: ScriptedUnit) -> None:
    unit.on("status", always(200, {"status": "RUNNING"}))
    unit.on("pause", always(200, {"status": "PAUSED", "checkpoint": {"row": 10}}))
    unit_id = (await calls.register(unit)).id
    request = await calls.accepted(unit)
    with ScriptedUnit() as other:
        await calls.register(other, unit_name="other")
        drained = await calls.wire.operations.DrainUnit(operations_pb.DrainUnitRequest(unit_id=unit_id))
        assert drained.unit.status == OFFLINE
        again = await other.expect("execute", request.task_id)
    assert again.body["checkpoint"] == {"row": 10}
    assert (await calls.wire.get(request.task_id)).retry_count == 0
    assert (await calls.heartbeat(unit_id)).status == OFFLINE
    late = await refusal_of(calls.report(unit_id, request, succeeded=SUCCEEDED))
    assert late.reason == "UNIT_DRAINED"
    assert (await calls.register(unit)).status == AVAILABLE


async def test_a_drained_unit_stays_away_from_the_next_server_too_until_it_registers(
    server: ServerUnderTest, calls: Calls, unit: ScriptedUnit, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="taskplane.server")
    unit_id = (await calls.register(unit)).id
    await calls.wire.operations.DrainUnit(operations_pb.DrainUnitRequest(unit_id=unit_id))
    for expected in (OFFLINE, AVAILABLE):
        caplog.clear()
        await server.stop()
        await server.start()
        assert (f"unit {unit_id} connected" in caplog.text) == (expected == AVAILABLE)
        await calls.wire.channel.channel_ready()
        assert (await calls.heartbeat(unit_id)).status == expected
        assert (await calls.register(unit)).status == AVAILABLE


async def test_a_drain_goes_on_when_the_server_comes_back(
    server: ServerUnderTest, calls: Calls, unit: ScriptedUnit
) -> None:
    unit.on("status", always(200, {"status": "RUNNING"}))
    unit.on("pause", always(503))
    unit_id = (await calls.register(unit)).id
    request = await calls.accepted(unit)
    drain = operations_pb.DrainUnitRequest(unit_id=unit_id, actor="alice", reason="a new disk", no_wait=True)
    await calls.wire.operations.DrainUnit(drain)
    await unit.expect("pause")
    await server.stop()
    unit.on("pause", always(200, {"status": "PAUSED", "checkpoint": {"row": 10}}))
    await server.start()
    await calls.wire.channel.channel_ready()
    await until_unit(calls, unit_id, OFFLINE)
    given_back = next(each for each in await calls.wire.history(request.task_id) if each.to_status == PAUSED)
    assert (given_back.changed_by, given_back.reason) == ("alice", "a new disk; released: the unit is drained")
    assert (await calls.heartbeat(unit_id)).status == OFFLINE


async def test_a_unit_that_registers_while_it_is_drained_goes_on_draining(calls: Calls, unit: ScriptedUnit) -> None:
    unit.on("status", always(200, {"status": "RUNNING"}))
    unit.on("pause", always(503))
    unit_id = (await calls.register(unit)).id
    await calls.accepted(unit)
    await calls.wire.operations.DrainUnit(operations_pb.DrainUnitRequest(unit_id=unit_id, no_wait=True))
    assert (await calls.register(unit, capacity=2)).draining
    unit.on("pause", always(200, {"status": "PAUSED"}))
    await until_unit(calls, unit_id, OFFLINE)


async def test_what_a_drained_unit_does_not_give_back_in_time_is_lost(calls: Calls, unit: ScriptedUnit) -> None:
    unit.on("status", always(200, {"status": "RUNNING"}))
    unit_id = (await calls.register(unit)).id
    request = await calls.accepted(unit)
    drain = operations_pb.DrainUnitRequest(unit_id=unit_id)
    drain.timeout.FromMilliseconds(300)
    await calls.wire.operations.DrainUnit(drain)
    assert "unit left: drained" in await calls.reasons(request.task_id)


async def test_a_deleted_unit_is_left_alone(calls: Calls, unit: ScriptedUnit) -> None:
    unit.on("status", always(200, {"status": "RUNNING"}))
    unit_id = (await calls.register(unit)).id
    request = await calls.accepted(unit)
    delete = operations_pb.DeleteUnitRequest(unit_id=unit_id)
    refusal = await refusal_of(calls.wire.operations.DeleteUnit(delete))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "UNIT_IN_USE")
    await calls.report(unit_id, request, succeeded=SUCCEEDED)
    await calls.wire.operations.DeleteUnit(delete)
    assert (await refusal_of(calls.heartbeat(unit_id))).reason == "UNIT_NOT_FOUND"
    assert not (await calls.wire.operations.ListUnits(operations_pb.ListUnitsRequest())).units


async def test_a_report_is_fenced_and_its_repeat_is_harmless(calls: Calls, unit: ScriptedUnit) -> None:
    unit_id = (await calls.register(unit)).id
    request = await calls.accepted(unit)
    other = Request("execute", request.task_id, {"attempt": 2}, "")
    stale = await calls.report(unit_id, other, succeeded=SUCCEEDED)
    assert stale.verdict.action == pb.VERDICT_ACTION_DROP
    for _ in range(2):
        answer = await calls.report(unit_id, request, succeeded=pb.SucceededReport(result=struct({"rows": 1})))
        assert (answer.verdict.action, answer.status) == (pb.VERDICT_ACTION_KEEP, task_pb2.TASK_STATUS_SUCCESS)
    late = await calls.report(unit_id, request, failed=pb.FailedReport(message="no"))
    assert late.verdict.drop_reason == pb.DROP_REASON_FINISHED
    unknown = await refusal_of(calls.report(unit_id, Request("", 999, {"attempt": 1}, ""), succeeded=SUCCEEDED))
    assert unknown.reason == "TASK_NOT_FOUND"


async def test_an_answer_to_a_command_is_told_too_that_its_attempt_is_over(calls: Calls, unit: ScriptedUnit) -> None:
    unit_id = (await calls.register(unit)).id
    request = await calls.accepted(unit)
    taken_on = {"command_id": "pause-1-1", "accepted": pb.CommandAccepted()}
    status = {"attempt_status": pb.AttemptStatusReport(state=pb.ATTEMPT_STATE_RUNNING)}
    other = Request("execute", request.task_id, {"attempt": 2}, "")
    for answer in (taken_on, status):
        assert (await calls.report(unit_id, request, **answer)).verdict.action == pb.VERDICT_ACTION_KEEP
        assert (await calls.report(unit_id, other, **answer)).verdict.drop_reason == pb.DROP_REASON_SUPERSEDED
    await calls.report(unit_id, request, succeeded=SUCCEEDED)
    for answer in (taken_on, status):
        assert (await calls.report(unit_id, request, **answer)).verdict.drop_reason == pb.DROP_REASON_FINISHED


def _count(unit: ScriptedUnit, route: str) -> Any:
    async def count() -> int:
        return unit.count(route)

    return count
