"""A queued task says why no unit runs it, and what would help."""

from rpc.conftest import Connect
from rpc.raw_unit import RawUnit
from rpc.server import Wire, status_name
from rpc.tasks import create, paused, running

from taskplane.v1 import execution_unit_control_pb2 as unit_pb
from taskplane.v1 import task_pb2
from taskplane.v1 import task_service_pb2 as pb

NONE = task_pb2.WAITING_REASON_UNSPECIFIED


async def waiting(wire: Wire, **changes: object) -> tuple[task_pb2.WaitingReason.ValueType, str]:
    """Return the waiting reason of a new task, as StartTask returns it and as other callers see it."""
    task = await create(wire, **changes)
    started = (await wire.tasks.StartTask(pb.StartTaskRequest(task_id=task.id))).task
    assert status_name(started.status) == "PENDING"
    assert started.HasField("queued_at")
    seen = await wire.get(task.id)
    assert (seen.waiting_reason, seen.waiting_message) == (started.waiting_reason, started.waiting_message)
    assert started.waiting_message
    return started.waiting_reason, started.waiting_message


async def test_a_task_that_does_not_want_to_run_does_not_wait(wire: Wire, unit: RawUnit) -> None:
    task = await create(wire)
    assert (task.waiting_reason, task.waiting_message) == (NONE, "")
    running_one = await wire.get((await running(wire, unit)).task_id)
    assert (running_one.waiting_reason, running_one.waiting_message) == (NONE, "")


async def test_no_unit_accepts_the_type(wire: Wire, unit: RawUnit) -> None:
    reason, message = await waiting(wire, task_type="OTHER")
    assert reason == task_pb2.WAITING_REASON_NO_UNIT_FOR_TYPE
    assert "OTHER" in message


async def test_no_unit_has_the_labels(wire: Wire, connect: Connect) -> None:
    await connect(labels={"zone": "a"})
    reason, message = await waiting(wire, unit_labels={"zone": "b"})
    assert reason == task_pb2.WAITING_REASON_NO_UNIT_WITH_LABELS
    assert "zone=b" in message


async def test_every_unit_is_full(wire: Wire, unit: RawUnit) -> None:
    await running(wire, unit)
    assert (await waiting(wire))[0] == task_pb2.WAITING_REASON_UNITS_BUSY


async def test_every_unit_is_quiet(wire: Wire, connect: Connect) -> None:
    await connect(capacity=0)
    assert (await waiting(wire))[0] == task_pb2.WAITING_REASON_UNITS_BUSY


async def test_every_unit_is_about_to_leave(wire: Wire, unit: RawUnit) -> None:
    await unit.say(draining=unit_pb.Draining())
    await unit.say(heartbeat=unit_pb.UnitHeartbeat())
    await unit.ack_number(1)
    assert (await waiting(wire))[0] == task_pb2.WAITING_REASON_UNITS_DRAINING


async def test_a_resume_that_waits_says_why_too(wire: Wire, connect: Connect) -> None:
    unit = await connect()
    pause = await paused(wire, unit)
    await unit.say(draining=unit_pb.Draining())
    await unit.say(heartbeat=unit_pb.UnitHeartbeat())
    await unit.ack_number(1)
    task = (await wire.tasks.ResumeTask(pb.ResumeTaskRequest(task_id=pause.task_id))).task
    assert status_name(task.status) == "PAUSED"
    assert task.waiting_reason == task_pb2.WAITING_REASON_UNITS_DRAINING


async def test_a_unit_that_comes_gets_what_waits_highest_priority_first_then_oldest(
    wire: Wire, connect: Connect
) -> None:
    by_name = {}
    for name, priority in (("low", 1), ("old", 5), ("young", 5), ("high", 1000)):
        by_name[(await create(wire, task_name=name, priority=priority, start=True)).id] = name
    unit = await connect(capacity=1)
    order = []
    for _ in by_name:
        start = await unit.expect("start")
        order.append(by_name[start.task_id])
        await unit.report(start, succeeded=unit_pb.SucceededReport())
    assert order == ["high", "old", "young", "low"]


async def test_a_unit_with_the_labels_gets_the_task(wire: Wire, connect: Connect) -> None:
    await connect("zone-a", capacity=100, labels={"zone": "a"})
    right = await connect("zone-b", labels={"zone": "b", "gpu": "yes"})
    task = await create(wire, unit_labels={"zone": "b"}, start=True)
    assert (await right.expect("start")).task_id == task.id


async def test_the_least_loaded_unit_gets_the_task(wire: Wire, connect: Connect) -> None:
    one, four = await connect("one", capacity=2), await connect("two", capacity=4)
    for _ in range(6):
        await create(wire, start=True)
    for unit, slots in ((one, 2), (four, 4)):
        for _ in range(slots):
            await unit.expect("start")
