"""The right to a unit's id: a process that responds keeps the id and its tasks."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from http_units.scripted_unit import ScriptedUnit
from rpc.conftest import Connect
from rpc.raw_unit import RawUnit, hello
from rpc.refusals import Refusal, refusal_of
from rpc.server import ServerUnderTest, Wire
from rpc.tasks import running
from rpc.test_sessions import held

from taskplane.server.core.tuning import Tuning
from taskplane.v1 import execution_unit_control_pb2 as pb
from taskplane.v1 import operations_service_pb2 as operations_pb

OpenStream = Callable[[], RawUnit]

NOT_HELD = pb.RejectReason.REJECT_REASON_UNKNOWN_ATTEMPT


# Silent processes lose their ids soon.
impatient = pytest.mark.parametrize("tuning", [Tuning(probe_seconds=0.2)])
# Responses are waited for however slow the machine is.
patient = pytest.mark.parametrize("tuning", [Tuning(probe_seconds=60.0)])


async def say_hello(open_stream: OpenStream, boot_id: str, **changes: Any) -> RawUnit:
    unit = open_stream()
    await unit.say(hello=hello(boot_id=boot_id, **changes))
    return unit


def is_taken(refusal: Refusal) -> bool:
    return (refusal.code, refusal.reason) == (grpc.StatusCode.ALREADY_EXISTS, "UNIT_ID_TAKEN")


@patient
async def test_a_process_that_answers_keeps_its_id_and_its_tasks(
    wire: Wire, connect: Connect, open_stream: OpenStream, caplog: pytest.LogCaptureFixture
) -> None:
    holder = await connect()
    start = await running(wire, holder)
    newcomer = await say_hello(open_stream, "other", inventory=[held(start.task_id, start.attempt)])
    await holder.reject(await holder.expect("get_status"), NOT_HELD)
    refusal = await newcomer.refusal()
    assert is_taken(refusal)
    assert "'unit-1' is taken: process boot at ipv4:127.0.0.1:" in refusal.message
    assert "has had it since 20" in refusal.message
    assert not newcomer.welcome.session_id
    assert not newcomer.commands
    assert "rejected" not in caplog.text, "the answer is no refusal of anything"
    await holder.report(start, succeeded=pb.SucceededReport())
    await holder.all_acknowledged()
    assert await wire.statuses(start.task_id) == ["PENDING", "RUNNING", "SUCCESS"]


@patient
@pytest.mark.parametrize("sign", [{"heartbeat": pb.UnitHeartbeat()}, {}], ids=["a heartbeat", "an unknown body"])
async def test_any_message_is_a_sign_of_life(
    sign: dict[str, pb.UnitHeartbeat], connect: Connect, open_stream: OpenStream
) -> None:
    holder = await connect()
    newcomer = await say_hello(open_stream, "other")
    await holder.expect("get_status")
    await holder.say(**sign)
    assert is_taken(await newcomer.refusal())


@impatient
async def test_a_silent_process_loses_its_id(wire: Wire, connect: Connect) -> None:
    silent = await connect()
    start = await running(wire, silent)
    newcomer = await connect(boot_id="other")
    refusal = await silent.refusal()
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "SESSION_SUPERSEDED")
    again = await newcomer.expect("start")
    assert (again.task_id, again.attempt) == (start.task_id, start.attempt + 1)


@patient
async def test_a_process_whose_stream_breaks_while_it_is_asked_loses_its_id_at_once(
    connect: Connect, open_stream: OpenStream
) -> None:
    holder = await connect()
    newcomer = await say_hello(open_stream, "other")
    await holder.expect("get_status")
    await holder.break_off()
    assert (await newcomer.welcomed()).unit_id == "unit-1"


@impatient
async def test_of_several_newcomers_one_gets_the_id(connect: Connect, open_stream: OpenStream) -> None:
    await connect()
    newcomers = [await say_hello(open_stream, f"newcomer {number}") for number in range(5)]

    async def answer(unit: RawUnit) -> None:
        while True:
            await unit.reject(await unit.expect("get_status"), NOT_HELD)

    async def outcome(unit: RawUnit) -> str:
        welcomed = asyncio.create_task(unit.welcomed())
        refused = asyncio.create_task(unit.refusal())
        done, _ = await asyncio.wait({welcomed, refused}, return_when=asyncio.FIRST_COMPLETED)
        if refused in done:
            welcomed.cancel()
            await asyncio.wait({welcomed})
            return refused.result().reason
        answering.append(asyncio.create_task(answer(unit)))
        refused.cancel()
        await asyncio.wait({refused})
        return "welcomed"

    answering: list[asyncio.Task[None]] = []
    outcomes = await asyncio.gather(*(outcome(each) for each in newcomers))
    for each in answering:
        each.cancel()
    await asyncio.wait(answering)
    assert sorted(outcomes) == ["UNIT_ID_TAKEN"] * 4 + ["welcomed"]


@patient
async def test_a_registration_never_touches_a_unit_with_a_stream(wire: Wire, connect: Connect) -> None:
    holder = await connect()
    start = await running(wire, holder)
    request = pb.RegisterUnitRequest(unit_id="unit-1", unit_type="X", unit_name="x", endpoint="http://127.0.0.1:1")
    assert is_taken(await refusal_of(wire.units.RegisterUnit(request)))
    await holder.report(start, succeeded=pb.SucceededReport())
    await holder.all_acknowledged()
    await holder.break_off()
    out_of_reach = await refusal_of(wire.units.RegisterUnit(request))
    assert is_taken(out_of_reach)
    assert "whose lease is not over" in out_of_reach.message
    unit = (await wire.operations.GetUnit(operations_pb.GetUnitRequest(unit_id="unit-1"))).unit
    assert (unit.unit_type, unit.endpoint) == ("TEST", "")


async def test_a_unit_that_has_left_may_come_back_without_a_stream(wire: Wire, connect: Connect) -> None:
    holder = await connect()
    await holder.say(goodbye=pb.Goodbye())
    await holder.half_close()
    request = pb.RegisterUnitRequest(unit_id="unit-1", unit_type="X", unit_name="x", endpoint="http://127.0.0.1:1")
    assert (await wire.units.RegisterUnit(request)).unit.endpoint == "http://127.0.0.1:1"


@patient
async def test_a_hello_under_the_id_of_a_unit_that_answers_over_http_is_refused(
    wire: Wire, open_stream: OpenStream
) -> None:
    with ScriptedUnit() as holder:
        request = pb.RegisterUnitRequest(unit_id="unit-1", unit_type="X", unit_name="x", endpoint=holder.endpoint)
        await wire.units.RegisterUnit(request)
        refusal = await (await say_hello(open_stream, "other")).refusal()
    assert is_taken(refusal)
    assert holder.endpoint in refusal.message


@patient
async def test_after_a_restart_of_the_server_the_process_with_the_tasks_is_waited_for(
    server: ServerUnderTest, wire: Wire, connect: Connect, open_stream: OpenStream
) -> None:
    holder = await connect()
    start = await running(wire, holder)
    await holder.break_off()
    await server.stop()
    await server.start()
    newcomer = await say_hello(open_stream, "other")
    back = await connect(inventory=[held(start.task_id, start.attempt)])
    (verdict,) = back.welcome.verdicts
    assert verdict.action == pb.VERDICT_ACTION_KEEP
    await back.reject(await back.expect("get_status"), NOT_HELD)
    assert is_taken(await newcomer.refusal())


@impatient
async def test_after_a_restart_of_the_server_another_process_gets_the_id_if_the_first_stays_away(
    server: ServerUnderTest, wire: Wire, connect: Connect
) -> None:
    holder = await connect()
    start = await running(wire, holder)
    await holder.break_off()
    await server.stop()
    await server.start()
    newcomer = await connect(boot_id="other")
    assert (await newcomer.expect("start")).attempt == start.attempt + 1
