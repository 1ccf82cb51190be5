"""Commands to a unit over HTTP, and the meaning of its responses."""

import asyncio
import threading
from typing import Any

import grpc
import pytest
from http_units.calls import Calls, plain, struct
from http_units.scripted_unit import PATIENCE_SECONDS, Answer, Request, ScriptedUnit, always
from rpc.refusals import refusal_of
from rpc.server import eventually

from taskplane.server.execution_units.links.http_client import TRIES
from taskplane.v1 import execution_unit_control_pb2 as pb
from taskplane.v1 import task_pb2

RUNNING = task_pb2.TASK_STATUS_RUNNING


def then(*answers: Answer) -> Any:
    """Return a script that gives these responses in turn, and the last one forever."""
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


async def test_a_task_is_executed_as_the_requirements_have_it(calls: Calls, unit: ScriptedUnit) -> None:
    unit_id = (await calls.register(unit)).id
    request = await calls.accepted(unit, config=struct({"inputPath": "/data/users.csv", "batchSize": 1000}))
    assert request.path == "/execute"
    assert request.body == {
        "taskId": request.task_id,
        "taskType": "WORK",
        "taskName": "by http",
        "config": {"inputPath": "/data/users.csv", "batchSize": 1000},
        "attempt": 1,
        "checkpoint": None,
        "lastCheckpointNumber": 0,
        "retryCount": 0,
        "maxRetries": 3,
    }
    answer = await calls.report(unit_id, request, succeeded=pb.SucceededReport(result=struct({"rows": 3})))
    assert answer.status == task_pb2.TASK_STATUS_SUCCESS
    assert answer.verdict.action == pb.VERDICT_ACTION_KEEP
    assert plain((await calls.wire.get(request.task_id)).result) == {"rows": 3}
    assert await calls.wire.statuses(request.task_id) == ["PENDING", "RUNNING", "SUCCESS"]


async def test_an_answer_can_be_the_whole_story(calls: Calls, unit: ScriptedUnit) -> None:
    unit.on("execute", always(200, {"status": "SUCCESS", "result": {"rows": 3}}))
    await calls.register(unit)
    task = await calls.until(await calls.start(), "SUCCESS")
    assert plain(task.result) == {"rows": 3}


async def test_a_failure_is_told_in_the_units_words(calls: Calls, unit: ScriptedUnit) -> None:
    unit.on("execute", always(200, {"status": "FAILED", "errorMessage": "disk full", "retryable": False}))
    await calls.register(unit)
    task = await calls.until(await calls.start(), "FAILED")
    assert task.error_message == "disk full"
    assert task.retry_count == 0


async def test_a_pause_is_answered_with_its_checkpoint_and_a_resume_goes_on_in_memory(
    calls: Calls, unit: ScriptedUnit
) -> None:
    unit.on("pause", always(200, {"status": "PAUSED", "checkpoint": {"row": 10}, "progress": 0.5, "message": "row 10"}))
    await calls.register(unit)
    request = await calls.accepted(unit)
    task = await calls.pause(request.task_id)
    assert (await unit.expect("pause")).body == {"attempt": 1}
    assert plain(task.checkpoint.data) == {"row": 10}
    assert (task.checkpoint.number, task.progress.fraction, task.progress.message) == (1, 0.5, "row 10")
    unit.on("resume", always(200, {"status": "RUNNING"}))
    await calls.resume(request.task_id)
    assert (await unit.expect("resume")).body == {"attempt": 2, "heldAttempt": 1}
    assert unit.count("execute") == 1


@pytest.mark.parametrize("status", [404, 405])
async def test_a_unit_without_a_resume_begins_from_the_checkpoint(
    status: int, calls: Calls, unit: ScriptedUnit
) -> None:
    unit.on("pause", always(200, {"status": "PAUSED", "checkpoint": {"row": 10}}))
    unit.on("resume", always(status))
    await calls.register(unit)
    first = await calls.accepted(unit)
    await calls.pause(first.task_id)
    await calls.resume(first.task_id)
    again = await unit.expect("execute")
    assert (again.attempt, again.body["checkpoint"], again.body["lastCheckpointNumber"]) == (2, {"row": 10}, 1)
    assert await calls.wire.statuses(first.task_id) == ["PENDING", "RUNNING", "PAUSED", "RUNNING"]


async def test_a_pause_may_take_effect_later_by_a_callback(calls: Calls, unit: ScriptedUnit) -> None:
    unit_id = (await calls.register(unit)).id
    unit.on("status", always(200, {"status": "RUNNING"}))
    unit.on("pause", always(202, "pausing"))
    request = await calls.accepted(unit)
    pausing = asyncio.create_task(calls.pause(request.task_id))
    await unit.expect("pause")
    accepted = await calls.wire.task_when(request.task_id, lambda task: task.HasField("pending_command"))
    assert accepted.status == RUNNING
    checkpoint = pb.CheckpointReport(number=1, data=struct({"row": 7}))
    answer = await calls.report(unit_id, request, paused=pb.PausedReport(checkpoint=checkpoint))
    assert answer.verdict.action == pb.VERDICT_ACTION_PAUSE
    assert plain((await pausing).checkpoint.data) == {"row": 7}


async def test_a_pause_may_be_seen_only_when_the_unit_is_asked(calls: Calls, unit: ScriptedUnit) -> None:
    paused = threading.Event()

    def pause(_: Request) -> Answer:
        paused.set()
        return Answer(200, "OK")

    def status(_: Request) -> Answer:
        return Answer(200, {"status": "PAUSED" if paused.is_set() else "RUNNING", "checkpoint": {"row": 3}})

    unit.on("pause", pause)
    unit.on("status", status)
    await calls.register(unit)
    request = await calls.accepted(unit)
    assert plain((await calls.pause(request.task_id)).checkpoint.data) == {"row": 3}


async def test_a_cancel_waits_for_the_unit_to_have_cleaned_up(calls: Calls, unit: ScriptedUnit) -> None:
    unit.on("cancel", always(200, {"status": "CANCELLED", "message": "removed 2 files"}))
    await calls.register(unit)
    request = await calls.accepted(unit)
    assert (await calls.cancel(request.task_id)).status == task_pb2.TASK_STATUS_CANCELLED
    assert (await unit.expect("cancel")).body == {"attempt": 1}
    assert "removed 2 files" in (await calls.reasons(request.task_id))[-1]


async def test_a_task_that_the_unit_does_not_know_is_cancelled(calls: Calls, unit: ScriptedUnit) -> None:
    unit.on("status", always(200, {"status": "RUNNING"}))
    unit.on("cancel", always(404))
    await calls.register(unit)
    request = await calls.accepted(unit)
    assert (await calls.cancel(request.task_id)).status == task_pb2.TASK_STATUS_CANCELLED


async def test_a_refused_pause_leaves_the_task_running(calls: Calls, unit: ScriptedUnit) -> None:
    unit.on("status", always(200, {"status": "RUNNING"}))
    unit.on("pause", always(409, "in the middle of a transaction"))
    await calls.register(unit)
    request = await calls.accepted(unit)
    refusal = await refusal_of(calls.pause(request.task_id))
    assert refusal.code == grpc.StatusCode.FAILED_PRECONDITION
    assert "in the middle of a transaction" in refusal.message
    assert (await calls.wire.get(request.task_id)).status == RUNNING
    assert unit.count("pause") == 1


async def test_a_refused_start_costs_no_retry_and_is_told_with_its_text(calls: Calls, unit: ScriptedUnit) -> None:
    unit.on("execute", then(Answer(409, "busy with something else"), Answer(200)))
    await calls.register(unit)
    task_id = await calls.start()
    await calls.wire.task_when(task_id, lambda task: task.attempt == 2 and task.status == RUNNING)
    assert any("busy with something else" in reason for reason in await calls.reasons(task_id))
    assert (await calls.wire.get(task_id)).retry_count == 0


@pytest.mark.parametrize("status", [400, 422])
async def test_a_task_that_the_unit_finds_wrong_fails_for_good(status: int, calls: Calls, unit: ScriptedUnit) -> None:
    unit.on("execute", always(status, {"error": "inputPath is missing"}))
    await calls.register(unit)
    task = await calls.until(await calls.start(), "FAILED")
    assert "inputPath is missing" in task.error_message
    assert unit.count("execute") == 1


async def test_errors_of_the_unit_are_tried_again(calls: Calls, unit: ScriptedUnit) -> None:
    unit.on("execute", then(Answer(503), Answer(503), Answer(200)))
    await calls.register(unit)
    request = await calls.accepted(unit)
    assert request.attempt == 1
    await eventually(lambda: calls.wire.get(request.task_id), lambda _: unit.count("execute") == 3)
    assert await calls.wire.statuses(request.task_id) == ["PENDING", "RUNNING"]


async def test_a_unit_that_only_fails_is_given_up_after_some_tries(calls: Calls, unit: ScriptedUnit) -> None:
    unit.on("execute", always(503, "out of order"))
    await calls.register(unit)
    task_id = await calls.start()
    await eventually(lambda: calls.reasons(task_id), lambda reasons: len(reasons) >= 4)
    assert "the unit refused: OTHER: HTTP 503: out of order" in await calls.reasons(task_id)
    # The unit is silent, so it gets no new work.
    assert unit.count("execute") == TRIES
    assert {each.attempt for each in unit.requests if each.route == "execute"} == {1}


async def test_a_redirect_is_not_followed(calls: Calls, unit: ScriptedUnit) -> None:
    unit.on("execute", always(302, "", ("Location", f"{unit.endpoint}/elsewhere/execute")))
    await calls.register(unit)
    task_id = await calls.start()
    await eventually(lambda: calls.reasons(task_id), lambda reasons: len(reasons) >= 4)
    assert any("HTTP 302: redirects are not followed" in reason for reason in await calls.reasons(task_id))
    assert all(each.path == "/execute" for each in unit.requests if each.route == "execute")


async def test_an_answer_of_two_megabytes_is_refused(calls: Calls, unit: ScriptedUnit) -> None:
    unit.on("status", always(200, {"status": "RUNNING"}))
    unit.on("pause", always(200, {"status": "PAUSED", "checkpoint": {"data": "x" * 2_000_000}}))
    await calls.register(unit)
    request = await calls.accepted(unit)
    refusal = await refusal_of(calls.pause(request.task_id))
    assert "with more than 1048576 bytes" in refusal.message
    assert (await calls.wire.get(request.task_id)).status == RUNNING


async def test_a_start_with_a_huge_answer_is_executed_once_and_fails(calls: Calls, unit: ScriptedUnit) -> None:
    unit.on("execute", always(200, {"status": "SUCCESS", "result": {"data": "x" * 2_000_000}}))
    await calls.register(unit)
    task = await calls.until(await calls.start(), "FAILED")
    assert "with more than 1048576 bytes" in task.error_message
    assert task.retry_count == 0
    assert unit.count("execute") == 1


async def test_a_resume_with_a_huge_answer_fails_the_task(calls: Calls, unit: ScriptedUnit) -> None:
    unit.on("pause", always(200, {"status": "PAUSED", "checkpoint": {"row": 10}}))
    unit.on("resume", always(200, {"status": "RUNNING", "message": "x" * 2_000_000}))
    await calls.register(unit)
    request = await calls.accepted(unit)
    await calls.pause(request.task_id)
    await calls.resume(request.task_id)
    task = await calls.until(request.task_id, "FAILED")
    assert "with more than 1048576 bytes" in task.error_message


async def test_a_huge_status_fails_the_task(calls: Calls, unit: ScriptedUnit) -> None:
    await calls.register(unit)
    unit.on("status", always(200, {"status": "SUCCESS", "result": {"data": "x" * 2_000_000}}))
    request = await calls.accepted(unit)
    task = await calls.until(request.task_id, "FAILED")
    assert "with more than 1048576 bytes" in task.error_message


async def test_a_start_with_a_huge_error_may_have_begun(calls: Calls, unit: ScriptedUnit) -> None:
    unit.on("status", always(200, {"status": "RUNNING", "attempt": 1}))
    unit.on("execute", always(502, "x" * 2_000_000))
    await calls.register(unit)
    task_id = await calls.start()
    await unit.expect("status")
    assert unit.count("execute") == 1
    assert await calls.wire.statuses(task_id) == ["PENDING", "RUNNING"]


BAD_BODIES = [
    '{"status": "PAUS',
    "paused",
    "[]",
    "null",
    '{"status": "ASLEEP"}',
    '{"status": "PAUSED", "progress": "half"}',
    '{"status": "PAUSED", "progress": NaN}',
    '{"status": "PAUSED", "progress": -1}',
    '{"status": "PAUSED", "checkpoint": {"x": 1e999}}',
    '{"status": "PAUSED", "message": "\\ud800"}',
    '{"status": "PAUSED", "checkpoint": ' + '{"x": ' * 30 + "1" + "}" * 31,
    "[" * 100_000,
    "\x00\xff",
]


@pytest.mark.parametrize("body", BAD_BODIES, ids=[each[:40] for each in BAD_BODIES])
async def test_a_body_that_says_nothing_is_acceptance_and_no_more(body: str, calls: Calls, unit: ScriptedUnit) -> None:
    unit_id = (await calls.register(unit)).id
    unit.on("status", always(200, {"status": "RUNNING"}))
    unit.on("pause", always(200, body))
    request = await calls.accepted(unit)
    await calls.pause(request.task_id, no_wait=True)
    await calls.until_accepted(request.task_id)
    await calls.report(unit_id, request, paused=pb.PausedReport())
    assert (await calls.wire.get(request.task_id)).status == task_pb2.TASK_STATUS_PAUSED


@pytest.mark.parametrize("name", ["result", "checkpoint"])
async def test_what_is_too_large_to_be_stored_fails_the_task(name: str, calls: Calls, unit: ScriptedUnit) -> None:
    """200 KB of JSON, and 1.1 MB as google.protobuf.Struct."""
    await calls.register(unit)
    unit.on("status", always(200, {"status": "SUCCESS", name: {"a": [1] * 100_000}}))
    unit.on("pause", always(200, {"status": "PAUSED", name: {"a": [1] * 100_000}}))
    request = await calls.accepted(unit)
    await calls.pause(request.task_id, no_wait=True)
    task = await calls.until(request.task_id, "FAILED")
    assert task.error_message.startswith(f"the unit's {name} has ")
    assert "786432 are allowed" in task.error_message


BAD_ENDS = [
    ('{"status": "SUCCESS", "result": {"mean": NaN}}', "the unit's answer holds nan"),
    ('{"status": "SUCCESS", "result": {"mean": -1e999}}', "the unit's answer holds -inf"),
    ('{"status": "SUCCESS", "result": "\\ud800"}', "the unit's answer holds half a surrogate pair"),
    ('{"status": "SUCCESS", "result": ' + '{"x": ' * 30 + "1" + "}" * 31, "the unit's answer is nested deeper"),
    ('{"status": "FAILED", "errorMessage": "\\ud800"}', "the unit's answer holds half a surrogate pair"),
]


@pytest.mark.parametrize(("body", "problem"), BAD_ENDS, ids=[each[:40] for each, _ in BAD_ENDS])
async def test_an_end_that_is_no_json_fails_the_task(body: str, problem: str, calls: Calls, unit: ScriptedUnit) -> None:
    unit.on("execute", always(200, body))
    await calls.register(unit)
    task = await calls.until(await calls.start(), "FAILED")
    assert task.error_message.startswith(problem)
    assert task.retry_count == 0


async def test_progress_at_the_end_does_not_matter(calls: Calls, unit: ScriptedUnit) -> None:
    unit.on("execute", always(200, {"status": "SUCCESS", "progress": "100 %", "result": {"rows": 3}}))
    await calls.register(unit)
    task = await calls.until(await calls.start(), "SUCCESS")
    assert plain(task.result) == {"rows": 3}


async def test_a_slow_unit_is_waited_for(calls: Calls, unit: ScriptedUnit) -> None:
    let_go = threading.Event()

    def execute(_: Request) -> Answer:
        assert let_go.wait(PATIENCE_SECONDS)
        return Answer(200)

    unit.on("execute", execute)
    unit.on("status", always(200, {"status": "RUNNING"}))
    await calls.register(unit)
    task_id = await calls.start()
    request = await unit.expect("execute", task_id)
    # Requested before the response to the start, which it must not overtake.
    await calls.cancel(task_id, no_wait=True)
    assert unit.count("cancel") == 0
    unit.on("cancel", always(200, {"status": "CANCELLED"}))
    let_go.set()
    await calls.until(request.task_id, "CANCELLED")
    assert [each.route for each in unit.requests if each.route != "status"] == ["execute", "cancel"]


async def test_who_speaks_for_an_attempt_has_accepted_it(calls: Calls, unit: ScriptedUnit) -> None:
    let_go = threading.Event()

    def execute(_: Request) -> Answer:
        assert let_go.wait(PATIENCE_SECONDS)
        return Answer(200)

    unit.on("execute", execute)
    unit_id = (await calls.register(unit)).id
    task_id = await calls.start()
    request = await unit.expect("execute", task_id)
    answer = await calls.report(unit_id, request, progress=pb.ProgressReport(fraction=0.25, message="a quarter"))
    assert answer.verdict.action == pb.VERDICT_ACTION_KEEP
    task = await calls.wire.get(task_id)
    assert task.progress.fraction == 0.25
    await calls.report(unit_id, request, succeeded=pb.SucceededReport())
    let_go.set()
    assert await calls.wire.statuses(task_id) == ["PENDING", "RUNNING", "SUCCESS"]
