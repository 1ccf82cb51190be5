"""Every verb in every status: it takes effect, is a harmless repeat, or is refused with a reason."""

from collections.abc import Awaitable, Callable

import grpc
import pytest
from rpc.raw_unit import RawUnit, checkpoint
from rpc.refusals import refusal_of
from rpc.server import Wire, status_name
from rpc.tasks import create, task_in

from taskplane.server.core.task import TRANSITIONS, TaskStatus
from taskplane.v1 import execution_unit_control_pb2 as unit_pb
from taskplane.v1 import task_pb2
from taskplane.v1 import task_service_pb2 as pb

Verb = Callable[[Wire, int], Awaitable[object]]

VERBS: dict[str, Verb] = {
    "start": lambda wire, task_id: wire.tasks.StartTask(pb.StartTaskRequest(task_id=task_id)),
    "pause": lambda wire, task_id: wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=task_id)),
    "resume": lambda wire, task_id: wire.tasks.ResumeTask(pb.ResumeTaskRequest(task_id=task_id)),
    "cancel": lambda wire, task_id: wire.tasks.CancelTask(pb.CancelTaskRequest(task_id=task_id)),
    "restart": lambda wire, task_id: wire.tasks.RestartTask(pb.RestartTaskRequest(task_id=task_id)),
    "delete": lambda wire, task_id: wire.tasks.DeleteTask(pb.DeleteTaskRequest(task_id=task_id)),
}
TARGETS = {"start": "RUNNING", "pause": "PAUSED", "resume": "RUNNING", "cancel": "CANCELLED", "restart": "PENDING"}
EFFECTIVE = {
    ("start", "PENDING"),
    ("pause", "RUNNING"),
    ("resume", "PAUSED"),
    ("cancel", "PENDING"),
    ("cancel", "RUNNING"),
    ("cancel", "PAUSED"),
    ("restart", "FAILED"),
    ("restart", "CANCELLED"),
    ("delete", "SUCCESS"),
    ("delete", "FAILED"),
    ("delete", "CANCELLED"),
}
HARMLESS = {("start", "RUNNING"), ("pause", "PAUSED"), ("resume", "RUNNING"), ("cancel", "CANCELLED")}
EVERYTHING = {(verb, status.value) for verb in VERBS for status in TaskStatus}
REFUSED = EVERYTHING - EFFECTIVE - HARMLESS


@pytest.mark.parametrize(("verb", "status"), sorted(REFUSED))
async def test_a_verb_that_the_status_does_not_allow_is_refused(
    verb: str, status: str, wire: Wire, unit: RawUnit
) -> None:
    task_id = await task_in(status, wire, unit)
    before = await wire.get(task_id)
    refusal = await refusal_of(VERBS[verb](wire, task_id))
    assert refusal.code is grpc.StatusCode.FAILED_PRECONDITION
    assert refusal.metadata["task_id"] == str(task_id)
    assert refusal.metadata["from"] == status
    if verb == "delete":
        assert refusal.reason == "TASK_NOT_FINAL"
    else:
        assert refusal.reason == "ILLEGAL_TRANSITION"
        assert refusal.metadata["to"] == TARGETS[verb]
        allowed = {each for each in refusal.metadata["allowed"].split(",") if each}
        assert allowed == TRANSITIONS[TaskStatus(status)]
    assert (await wire.get(task_id)).revision == before.revision


@pytest.mark.parametrize(("verb", "status"), sorted(HARMLESS))
async def test_a_verb_whose_effect_holds_already_changes_nothing(
    verb: str, status: str, wire: Wire, unit: RawUnit
) -> None:
    task_id = await task_in(status, wire, unit)
    before, history = await wire.get(task_id), await wire.history(task_id)
    await VERBS[verb](wire, task_id)
    after = await wire.get(task_id)
    assert (after.revision, status_name(after.status)) == (before.revision, status)
    assert await wire.history(task_id) == history


async def test_a_repeated_start_or_restart_of_a_queued_task_changes_nothing(wire: Wire) -> None:
    task = await create(wire, start=True)
    started = (await wire.tasks.StartTask(pb.StartTaskRequest(task_id=task.id))).task
    restarted = (await wire.tasks.RestartTask(pb.RestartTaskRequest(task_id=task.id))).task
    assert task.revision == started.revision == restarted.revision
    assert started.queued_at == restarted.queued_at == task.queued_at


async def play_along(unit: RawUnit, verb: str) -> None:
    """Return the reports of a good unit for the command of the verb, if there is a command."""
    if verb == "pause":
        pause = await unit.expect("pause")
        await unit.accept(pause)
        await unit.report(pause, paused=unit_pb.PausedReport(checkpoint=checkpoint(1)))
    elif verb == "cancel":
        cancel = await unit.expect("cancel")
        await unit.accept(cancel)
        await unit.report(cancel, cancelled=unit_pb.CancelledReport())


@pytest.mark.parametrize(("verb", "status"), sorted(EFFECTIVE - {(v, s) for v, s in EFFECTIVE if v == "delete"}))
async def test_a_verb_that_the_status_allows_answers_when_its_effect_holds(
    verb: str, status: str, wire: Wire, unit: RawUnit
) -> None:
    task_id = await task_in(status, wire, unit)
    call = VERBS[verb](wire, task_id)
    if status != "PENDING":
        await play_along(unit, verb)
    answer = await call
    task: task_pb2.Task = answer.task  # type: ignore[attr-defined]  # all but DeleteTask answer with the task
    # A restart continues to RUNNING, since a unit is free.
    assert status_name(task.status) == ("RUNNING" if verb == "restart" else TARGETS[verb])
    assert not task.HasField("pending_command")
    assert TARGETS[verb] in await wire.statuses(task_id)
    assert (await wire.get(task_id)).revision == task.revision


@pytest.mark.parametrize("status", ["SUCCESS", "FAILED", "CANCELLED"])
async def test_a_deleted_task_is_gone_with_its_history(status: str, wire: Wire, unit: RawUnit) -> None:
    task_id = await task_in(status, wire, unit)
    await VERBS["delete"](wire, task_id)
    for gone in (
        wire.tasks.GetTask(pb.GetTaskRequest(task_id=task_id)),
        wire.tasks.ListTaskTransitions(pb.ListTaskTransitionsRequest(task_id=task_id)),
        wire.tasks.ListTaskCheckpoints(pb.ListTaskCheckpointsRequest(task_id=task_id)),
        VERBS["delete"](wire, task_id),
    ):
        refusal = await refusal_of(gone)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND")
        assert refusal.metadata["task_id"] == str(task_id)


@pytest.mark.parametrize("verb", sorted(VERBS))
async def test_a_verb_on_a_task_that_does_not_exist_is_told(verb: str, wire: Wire) -> None:
    refusal = await refusal_of(VERBS[verb](wire, 4711))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND")
    assert refusal.metadata == {"task_id": "4711"}


@pytest.mark.parametrize("task_id", [0, -5])
@pytest.mark.parametrize("verb", sorted(VERBS))
async def test_a_task_id_is_positive(verb: str, task_id: int, wire: Wire) -> None:
    refusal = await refusal_of(VERBS[verb](wire, task_id))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELDS")
    assert refusal.fields == ["task_id"]
