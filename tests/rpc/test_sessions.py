"""Sessions of units: connect, reconnect, supersede, leave."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from rpc.conftest import Connect
from rpc.raw_unit import WORK, RawUnit, checkpoint, hello
from rpc.server import ServerUnderTest, Wire, status_name
from rpc.tasks import create, paused, running

from taskplane.server.core.tuning import Tuning
from taskplane.v1 import execution_unit_control_pb2 as unit_pb
from taskplane.v1 import execution_unit_pb2, task_pb2
from taskplane.v1 import operations_service_pb2 as operations_pb
from taskplane.v1 import task_service_pb2 as pb
from taskplane.v1.execution_unit_pb2 import TaskTypeSupport

OpenStream = Callable[[], RawUnit]


def held(task_id: int, attempt: int = 1, state: int = unit_pb.ATTEMPT_STATE_RUNNING) -> unit_pb.HeldAttempt:
    return unit_pb.HeldAttempt(task_id=task_id, attempt=attempt, state=state)  # type: ignore[arg-type]  # bad ones too


async def test_a_welcome_says_what_the_unit_has_to_know(unit: RawUnit) -> None:
    assert unit.welcome.unit_id == "unit-1"
    assert unit.welcome.session_id
    assert unit.welcome.heartbeat_interval.ToSeconds() == 5
    assert unit.welcome.lease_duration.ToSeconds() == 30
    assert not unit.welcome.verdicts


async def test_a_unit_without_an_id_is_given_a_lasting_one(wire: Wire, connect: Connect) -> None:
    unit = await connect("")
    start = await running(wire, unit)
    given = (await wire.get(start.task_id)).execution_unit_id
    assert given == unit.welcome.unit_id
    await unit.break_off()
    again = await connect(given, inventory=[held(start.task_id)])
    assert again.welcome.unit_id == given
    assert again.welcome.verdicts[0].action == unit_pb.VERDICT_ACTION_KEEP


async def test_a_unit_may_come_back_under_the_id_that_was_made_of_any_name(connect: Connect) -> None:
    unit = await connect("", unit_name=" a/name \t" + "x" * 246)
    await unit.break_off()
    assert (await connect(unit.welcome.unit_id)).welcome.unit_id == unit.welcome.unit_id


async def test_units_without_an_id_are_not_taken_for_each_other(connect: Connect) -> None:
    first, second = await connect(""), await connect("")
    assert first.welcome.unit_id != second.welcome.unit_id


BAD_HELLOS: list[tuple[str, dict[str, Any], list[str]]] = [
    ("capacity -1", {"capacity": -1}, ["hello.capacity"]),
    ("capacity 10001", {"capacity": 10_001}, ["hello.capacity"]),
    ("a task type twice", {"task_types": [WORK, WORK]}, ["hello.task_types"]),
    (
        "a task type with spaces",
        {"task_types": [WORK, TaskTypeSupport(task_type="not ok")]},
        ["hello.task_types[1].task_type"],
    ),
    ("an unnamed task type", {"task_types": [TaskTypeSupport()]}, ["hello.task_types[0].task_type"]),
    ("no boot id", {"boot_id": ""}, ["hello.boot_id"]),
    ("a long boot id", {"boot_id": "x" * 65}, ["hello.boot_id"]),
    ("a long unit id", {"unit_id": "x" * 251}, ["hello.unit_id"]),
    ("a unit id with a slash", {"unit_id": "eu/west"}, ["hello.unit_id"]),
    ("no type", {"unit_type": ""}, ["hello.unit_type"]),
    ("no name", {"unit_name": ""}, ["hello.unit_name"]),
    ("33 labels", {"labels": {str(number): "" for number in range(33)}}, ["hello.labels"]),
    ("a long sdk", {"sdk": "x" * 101}, ["hello.sdk"]),
    ("attempt of task 0", {"inventory": [held(0)]}, ["hello.inventory[0].task_id"]),
    ("attempt in no state", {"inventory": [held(1, 1, 0)]}, ["hello.inventory[0].state"]),
    ("attempt in an unknown state", {"inventory": [held(1), held(2, 1, 99)]}, ["hello.inventory[1].state"]),
    ("an attempt twice", {"inventory": [held(1), held(1)]}, ["hello.inventory"]),
    (
        "several at once",
        {"capacity": -1, "unit_name": "", "boot_id": ""},
        ["hello.capacity", "hello.unit_name", "hello.boot_id"],
    ),
]


@pytest.mark.parametrize(("case", "changes", "fields"), BAD_HELLOS, ids=[row[0] for row in BAD_HELLOS])
async def test_a_bad_hello_is_refused_with_every_bad_field(
    case: str, changes: dict[str, Any], fields: list[str], wire: Wire, open_stream: OpenStream
) -> None:
    unit = open_stream()
    await unit.say(hello=hello(**changes))
    refusal = await unit.refusal()
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELDS")
    assert sorted(refusal.fields) == sorted(fields)
    assert not (await wire.operations.ListUnits(operations_pb.ListUnitsRequest())).units


@pytest.mark.parametrize("version", [0, 2, -1])
async def test_another_version_of_the_protocol_is_refused(version: int, open_stream: OpenStream) -> None:
    unit = open_stream()
    await unit.say(hello=hello(protocol_version=version))
    refusal = await unit.refusal()
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PROTOCOL_VERSION_UNSUPPORTED")
    assert "version 1" in refusal.message


@pytest.mark.parametrize(
    "body",
    [
        {"heartbeat": unit_pb.UnitHeartbeat()},
        {"reports": unit_pb.Reports()},
        {"goodbye": unit_pb.Goodbye()},
        {},
    ],
    ids=["heartbeat", "reports", "goodbye", "a body that is not known"],
)
async def test_the_first_message_is_hello(body: dict[str, Any], open_stream: OpenStream) -> None:
    unit = open_stream()
    await unit.say(**body)
    refusal = await unit.refusal()
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "HELLO_EXPECTED")


async def test_a_second_hello_ends_the_stream(unit: RawUnit) -> None:
    await unit.say(hello=hello())
    refusal = await unit.refusal()
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "HELLO_EXPECTED")


@pytest.mark.parametrize("tuning", [Tuning(hello_seconds=0.05)])
async def test_a_stream_that_says_nothing_is_ended(open_stream: OpenStream) -> None:
    refusal = await open_stream().refusal()
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "HELLO_TIMEOUT")


async def test_a_body_that_is_not_known_is_ignored_later(wire: Wire, unit: RawUnit) -> None:
    await unit.say()
    await running(wire, unit)


async def test_every_heartbeat_is_answered(unit: RawUnit) -> None:
    for count in (1, 2):
        await unit.say(heartbeat=unit_pb.UnitHeartbeat())
        await unit.ack_number(count)


async def test_a_newer_session_of_the_same_unit_takes_over(wire: Wire, connect: Connect) -> None:
    older = await connect()
    start = await running(wire, older)
    newer = await connect(inventory=[held(start.task_id, start.attempt)])
    refusal = await older.refusal()
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "SESSION_SUPERSEDED")
    (verdict,) = newer.welcome.verdicts
    assert (verdict.task_id, verdict.attempt) == (start.task_id, start.attempt)
    assert verdict.action == unit_pb.VERDICT_ACTION_KEEP
    await newer.report(start, succeeded=unit_pb.SucceededReport())
    await newer.all_acknowledged()
    assert await wire.statuses(start.task_id) == ["PENDING", "RUNNING", "SUCCESS"]


async def test_a_broken_stream_takes_nothing_from_the_unit(wire: Wire, connect: Connect) -> None:
    unit = await connect()
    start = await running(wire, unit)
    await unit.break_off()
    again = await connect(inventory=[held(start.task_id, start.attempt)])
    assert again.welcome.verdicts[0].action == unit_pb.VERDICT_ACTION_KEEP
    assert await wire.statuses(start.task_id) == ["PENDING", "RUNNING"]


async def test_half_closing_is_no_goodbye(wire: Wire, connect: Connect) -> None:
    unit = await connect()
    start = await running(wire, unit)
    await unit.half_close()
    assert await wire.statuses(start.task_id) == ["PENDING", "RUNNING"]


async def test_an_attempt_that_is_gone_fails_and_is_tried_again_from_its_checkpoint(
    wire: Wire, connect: Connect
) -> None:
    unit = await connect()
    start = await running(wire, unit)
    await unit.report(start, checkpoint=checkpoint(3, row=30))
    await unit.all_acknowledged()
    await unit.break_off()
    again = await connect()
    retry = await again.expect("start")
    assert (retry.task_id, retry.attempt, retry.start.retry_count) == (start.task_id, start.attempt + 1, 1)
    assert MessageToDict(retry.start.checkpoint.data) == {"row": 30}
    assert await wire.statuses(start.task_id) == ["PENDING", "RUNNING", "FAILED", "PENDING", "RUNNING"]
    failure = next(each for each in await wire.history(start.task_id) if status_name(each.to_status) == "FAILED")
    assert "unit lost" in failure.reason


async def test_a_unit_that_makes_no_checkpoints_begins_every_attempt_from_the_start(
    wire: Wire, connect: Connect
) -> None:
    unit = await connect()
    start = await running(wire, unit)
    await unit.report(start, checkpoint=checkpoint(3, row=30))
    await unit.all_acknowledged()
    without = [TaskTypeSupport(task_type="WORK", can_pause=True)]
    other = await connect("other", task_types=without)
    await unit.say(draining=unit_pb.Draining())
    await unit.report(start, released=unit_pb.ReleasedReport())
    moved = await other.expect("start", task_id=start.task_id)
    assert not moved.start.HasField("checkpoint")
    assert moved.start.last_checkpoint_number == 3
    assert "from checkpoint" not in (await wire.history(start.task_id))[-1].reason
    await other.break_off()
    again = await connect("other", task_types=without)
    assert await again.expect("start") == moved


async def test_a_start_that_was_not_answered_is_sent_again(wire: Wire, connect: Connect) -> None:
    unit = await connect()
    await create(wire, start=True)
    start = await unit.expect("start")
    await unit.break_off()
    again = await (await connect()).expect("start")
    assert again == start


async def test_a_pause_that_was_not_answered_is_sent_again(wire: Wire, connect: Connect) -> None:
    unit = await connect()
    start = await running(wire, unit)
    call = wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=start.task_id))
    pause = await unit.expect("pause")
    await unit.break_off()
    again = await connect(inventory=[held(start.task_id, start.attempt)])
    assert await again.expect("pause") == pause
    await again.report(pause, paused=unit_pb.PausedReport())
    assert status_name((await call).task.status) == "PAUSED"


async def test_a_report_that_was_not_acknowledged_counts_when_it_comes_again(wire: Wire, connect: Connect) -> None:
    unit = await connect()
    start = await running(wire, unit)
    await unit.break_off()
    again = await connect(inventory=[held(start.task_id, start.attempt, unit_pb.ATTEMPT_STATE_ENDED)])
    assert again.welcome.verdicts[0].action == unit_pb.VERDICT_ACTION_KEEP
    await again.report(start, succeeded=unit_pb.SucceededReport())
    await again.all_acknowledged()
    assert await wire.statuses(start.task_id) == ["PENDING", "RUNNING", "SUCCESS"]


async def test_the_inventory_is_judged_attempt_by_attempt(wire: Wire, connect: Connect) -> None:
    unit = await connect(capacity=2)
    keep = await running(wire, unit)
    pause = await paused(wire, unit)
    gone = await running(wire, unit)
    await unit.report(gone, succeeded=unit_pb.SucceededReport())
    await unit.all_acknowledged()
    await unit.break_off()
    again = await connect(
        capacity=2,
        inventory=[
            held(keep.task_id, keep.attempt),
            held(pause.task_id, pause.attempt, unit_pb.ATTEMPT_STATE_PAUSED),
            held(gone.task_id, gone.attempt),
            held(4711),
        ],
    )
    judged = {each.task_id: (each.action, each.drop_reason) for each in again.welcome.verdicts}
    assert judged == {
        keep.task_id: (unit_pb.VERDICT_ACTION_KEEP, unit_pb.DROP_REASON_UNSPECIFIED),
        pause.task_id: (unit_pb.VERDICT_ACTION_PAUSE, unit_pb.DROP_REASON_UNSPECIFIED),
        gone.task_id: (unit_pb.VERDICT_ACTION_DROP, unit_pb.DROP_REASON_FINISHED),
        4711: (unit_pb.VERDICT_ACTION_DROP, unit_pb.DROP_REASON_DELETED),
    }


async def test_of_two_attempts_of_one_task_the_older_is_dropped(wire: Wire, connect: Connect) -> None:
    unit = await connect()
    first = await running(wire, unit)
    await unit.report(first, failed=unit_pb.FailedReport(message="x", retry_delay=Duration()))
    second = await unit.expect("start")
    await unit.accept(second)
    await unit.all_acknowledged()
    await unit.break_off()
    again = await connect(inventory=[held(first.task_id, first.attempt), held(first.task_id, second.attempt)])
    assert {each.attempt: each.action for each in again.welcome.verdicts} == {
        first.attempt: unit_pb.VERDICT_ACTION_DROP,
        second.attempt: unit_pb.VERDICT_ACTION_KEEP,
    }


async def test_goodbye_gives_running_attempts_to_others_at_once(wire: Wire, connect: Connect) -> None:
    unit = await connect("leaving")
    start = await running(wire, unit)
    await unit.say(goodbye=unit_pb.Goodbye(reason="power"))
    await unit.half_close()
    assert "FAILED" in await wire.statuses(start.task_id)
    other = await connect("other")
    assert (await other.expect("start")).task_id == start.task_id
    failure = next(each for each in await wire.history(start.task_id) if status_name(each.to_status) == "FAILED")
    assert "power" in failure.reason


async def test_a_draining_unit_gets_nothing_new(wire: Wire, connect: Connect) -> None:
    leaving = await connect("leaving", capacity=100)
    await leaving.say(draining=unit_pb.Draining())
    await leaving.say(heartbeat=unit_pb.UnitHeartbeat())
    await leaving.ack_number(1)
    assert (await wire.operations.GetUnit(operations_pb.GetUnitRequest(unit_id="leaving"))).unit.draining
    staying = await connect("staying")
    await running(wire, staying)
    assert not leaving.commands


async def test_capacity_changes_while_connected(wire: Wire, connect: Connect) -> None:
    unit = await connect(capacity=0)
    task = await create(wire, start=True)
    assert not (await wire.get(task.id)).execution_unit_id
    await unit.say(capacity=unit_pb.CapacityUpdate(capacity=1))
    assert (await unit.expect("start")).task_id == task.id
    await unit.say(capacity=unit_pb.CapacityUpdate(capacity=-1))
    refusal = await unit.refusal()
    assert (refusal.code, refusal.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["capacity.capacity"])


async def test_a_server_that_stops_ends_streams_so_that_units_come_back(
    server: ServerUnderTest, wire: Wire, connect: Connect
) -> None:
    unit = await connect()
    start = await running(wire, unit)
    await server.stop()
    refusal = await unit.refusal()
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_STOPPING")
    assert refusal.retry_delay_seconds is not None
    await server.start()
    await wire.channel.channel_ready()
    again = await connect(inventory=[held(start.task_id, start.attempt)])
    assert again.welcome.verdicts[0].action == unit_pb.VERDICT_ACTION_KEEP
    await again.report(start, succeeded=unit_pb.SucceededReport())
    await again.all_acknowledged()
    assert await wire.statuses(start.task_id) == ["PENDING", "RUNNING", "SUCCESS"]


async def test_a_drain_outlives_the_server_and_the_history_names_who_asked(
    server: ServerUnderTest, wire: Wire, connect: Connect
) -> None:
    start = await running(wire, await connect(capacity=2))
    drain = operations_pb.DrainUnitRequest(unit_id="unit-1", actor="alice", reason="a new disk", no_wait=True)
    await wire.operations.DrainUnit(drain)
    await server.stop()
    await server.start()
    await wire.channel.channel_ready()
    unit = await connect(capacity=2, inventory=[held(start.task_id, start.attempt)])
    await unit.drain_requested()
    assert (await wire.operations.GetUnit(operations_pb.GetUnitRequest(unit_id="unit-1"))).unit.draining
    waiting = await create(wire, start=True)
    assert (await wire.get(waiting.id)).waiting_reason == task_pb2.WAITING_REASON_UNITS_DRAINING
    await unit.report(start, released=unit_pb.ReleasedReport())
    await unit.all_acknowledged()
    given_back = next(each for each in await wire.history(start.task_id) if status_name(each.to_status) == "PAUSED")
    assert (given_back.changed_by, given_back.reason) == ("alice", "a new disk; released by the unit")


async def test_slots_add_up(wire: Wire, connect: Connect) -> None:
    unit = await connect(capacity=2)
    first = await running(wire, unit)
    await running(wire, unit)
    request = operations_pb.GetUnitRequest(unit_id="unit-1")
    busy = (await wire.operations.GetUnit(request)).unit
    assert (busy.capacity, busy.current_load) == (2, 2)
    assert busy.status == execution_unit_pb2.EXECUTION_UNIT_STATUS_BUSY
    await unit.report(first, succeeded=unit_pb.SucceededReport())
    await unit.all_acknowledged()
    free = (await wire.operations.GetUnit(request)).unit
    assert (free.current_load, free.status) == (1, execution_unit_pb2.EXECUTION_UNIT_STATUS_AVAILABLE)
