"""Time limits: each expiry names itself in the history, and each can be changed while the task lives."""

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from rpc.conftest import Connect
from rpc.raw_unit import RawUnit
from rpc.refusals import refusal_of
from rpc.server import ServerUnderTest, Wire, status_name
from rpc.tasks import create, paused, running, spec, task_in
from sqlalchemy import create_engine, text

from taskplane.v1 import execution_unit_control_pb2 as unit_pb
from taskplane.v1 import task_pb2
from taskplane.v1 import task_service_pb2 as pb


def seconds(number: float) -> Duration:
    duration = Duration()
    duration.FromMilliseconds(round(number * 1000))
    return duration


def soon() -> Timestamp:
    now = Timestamp()
    now.GetCurrentTime()
    now.FromMilliseconds(now.ToMilliseconds() + 400)
    return now


def limits(**changes: Any) -> task_pb2.TaskLimits:
    return task_pb2.TaskLimits(**changes)


async def ended(wire: Wire, task_id: int) -> tuple[str, str]:
    """Return the final status of a task, and the last reason of its history."""
    task = await wire.task_when(task_id, lambda task: status_name(task.status) in {"FAILED", "CANCELLED"})
    return status_name(task.status), (await wire.history(task_id))[-1].reason


async def test_a_task_that_runs_for_longer_than_its_budget_fails_for_good(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit, limits=limits(run_budget=seconds(0.3)))
    assert await ended(wire, start.task_id) == ("FAILED", "run budget exceeded: 0.3 s")
    drop = await unit.expect("drop")
    assert drop.drop.reason == unit_pb.DROP_REASON_FINISHED
    await running(wire, unit)  # its slot is free


async def test_a_run_budget_stands_still_while_the_task_is_paused_and_a_deadline_does_not(
    wire: Wire, unit: RawUnit
) -> None:
    pause = await paused(wire, unit, limits=limits(run_budget=seconds(0.3), deadline=soon()))
    assert await ended(wire, pause.task_id) == ("CANCELLED", "deadline exceeded")


async def test_a_task_that_misses_its_deadline_while_it_runs_fails(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit, limits=limits(deadline=soon()))
    assert await ended(wire, start.task_id) == ("FAILED", "deadline exceeded")


async def test_a_task_whose_deadline_is_over_when_it_is_created_never_runs(wire: Wire, unit: RawUnit) -> None:
    task = await create(wire, start=True, limits=limits(deadline=Timestamp(seconds=1)))
    assert await ended(wire, task.id) == ("CANCELLED", "deadline exceeded")
    assert await wire.statuses(task.id) == ["PENDING", "CANCELLED"]
    await running(wire, unit)
    assert task.id not in [each.task_id for each in unit.commands]


async def test_a_task_that_waits_too_long_in_the_queue_is_cancelled(wire: Wire) -> None:
    task = await create(wire, start=True, limits=limits(queue_timeout=seconds(0.2)))
    assert await ended(wire, task.id) == ("CANCELLED", "queue timeout")


async def test_a_task_that_makes_no_progress_fails_and_is_tried_again(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit, limits=limits(stall_timeout=seconds(0.3)), max_retries=1)
    again = await unit.expect("start", task_id=start.task_id)
    assert again.attempt == 2
    await unit.accept(again)
    assert await ended(wire, start.task_id) == ("FAILED", "stalled: no progress for 0.3 s")


async def test_a_limit_can_be_changed_while_the_task_runs(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit, limits=limits(run_budget=seconds(3600)), max_retries=7)
    changed = pb.TaskSpec(limits=limits(run_budget=seconds(0.1)), priority=9, labels={"team": "blue"})
    mask = FieldMask(paths=["limits.run_budget", "priority", "labels"])
    request = pb.UpdateTaskRequest(task_id=start.task_id, task=changed, update_mask=mask)
    task = (await wire.tasks.UpdateTask(request)).task
    assert (task.priority, dict(task.labels), task.max_retries) == (9, {"team": "blue"}, 7)
    assert task.limits.run_budget.ToMilliseconds() == 100
    assert (await ended(wire, start.task_id))[0] == "FAILED"


async def test_an_update_leaves_alone_what_its_mask_does_not_name(wire: Wire) -> None:
    task = await create(wire, priority=3, limits=limits(stall_timeout=seconds(5), run_budget=seconds(6)))
    mask = FieldMask(paths=["limits.stall_timeout"])
    request = pb.UpdateTaskRequest(task_id=task.id, task=pb.TaskSpec(priority=8), update_mask=mask)
    changed = (await wire.tasks.UpdateTask(request)).task
    assert changed.priority == 3
    assert not changed.limits.HasField("stall_timeout")
    assert changed.limits.run_budget.seconds == 6


async def test_a_bad_update_is_refused_by_name_and_changes_nothing(wire: Wire) -> None:
    task = await create(wire, priority=3)
    for paths, bad in ((["task_name"], "update_mask"), ([], "update_mask"), (["priority"], "task.priority")):
        mask = FieldMask(paths=paths)
        request = pb.UpdateTaskRequest(task_id=task.id, task=pb.TaskSpec(priority=-1), update_mask=mask)
        refusal = await refusal_of(wire.tasks.UpdateTask(request))
        assert bad in refusal.fields
    assert (await wire.get(task.id)).revision == task.revision


async def test_a_final_task_cannot_be_updated(wire: Wire, unit: RawUnit) -> None:
    task_id = await task_in("SUCCESS", wire, unit)
    request = pb.UpdateTaskRequest(
        task_id=task_id, task=pb.TaskSpec(priority=1), update_mask=FieldMask(paths=["priority"])
    )
    assert (await refusal_of(wire.tasks.UpdateTask(request))).reason == "ILLEGAL_TRANSITION"


LONGEST_SECONDS = 3660 * 24 * 3600
BAD_DURATIONS = {
    "negative": Duration(seconds=-1),
    "negative nanos": Duration(seconds=1, nanos=-1),
    "more nanos than a second has": Duration(seconds=1, nanos=2_000_000_000),
    "too long": Duration(seconds=10**12),
    "too long by a nanosecond": Duration(seconds=LONGEST_SECONDS, nanos=1),
}


@pytest.mark.parametrize("case", sorted(BAD_DURATIONS))
async def test_bad_limits_are_refused_by_name(case: str, wire: Wire) -> None:
    bad = limits(
        run_budget=BAD_DURATIONS[case],
        stall_timeout=BAD_DURATIONS[case],
        queue_timeout=Duration(seconds=LONGEST_SECONDS),
    )
    refusal = await refusal_of(wire.tasks.CreateTask(pb.CreateTaskRequest(task=spec(limits=bad))))
    assert sorted(refusal.fields) == ["task.limits.run_budget", "task.limits.stall_timeout"]


async def test_a_limit_of_zero_is_off(wire: Wire) -> None:
    zero = limits(run_budget=Duration(), deadline=Timestamp(), queue_timeout=Duration(), stall_timeout=Duration())
    task = await create(wire, limits=zero)
    assert not task.HasField("limits")


async def test_a_limit_that_is_shorter_than_any_that_is_kept_is_not_off(wire: Wire) -> None:
    task = await create(wire, limits=limits(stall_timeout=Duration(nanos=1)))
    assert task.limits.stall_timeout == Duration(nanos=1000)


async def test_a_task_does_not_stall_while_the_server_is_down(
    server: ServerUnderTest, wire: Wire, connect: Connect, served_url: str
) -> None:
    unit = await connect()
    start = await running(wire, unit, limits=limits(stall_timeout=seconds(600)))
    await server.stop()
    engine = create_engine(served_url)
    with engine.begin() as connection:
        # As if the server had been down for an hour.
        hour_ago = "strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 hour')"
        connection.execute(text(f"UPDATE tasks SET status_changed_at = {hour_ago}, expires_at = {hour_ago}"))  # noqa: S608
    engine.dispose()
    await server.start()
    held = unit_pb.HeldAttempt(task_id=start.task_id, attempt=start.attempt, state=unit_pb.ATTEMPT_STATE_RUNNING)
    await connect(inventory=[held])
    late = await create(wire, limits=limits(deadline=soon()))
    assert (await ended(wire, late.id))[0] == "CANCELLED"
    task = await wire.get(start.task_id)
    assert (status_name(task.status), task.attempt) == ("RUNNING", 1)
