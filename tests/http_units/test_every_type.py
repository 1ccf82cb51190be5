"""Units without named task types accept every type."""

from http_units.calls import Calls, struct
from http_units.scripted_unit import ScriptedUnit, always
from rpc.server import ServerUnderTest

from taskplane.v1 import execution_unit_control_pb2 as pb
from taskplane.v1 import operations_service_pb2 as operations_pb
from taskplane.v1 import task_pb2
from taskplane.v1.execution_unit_pb2 import TaskTypeSupport


async def test_the_requirements_unit_runs_the_requirements_task(calls: Calls, unit: ScriptedUnit) -> None:
    unit.on("execute", always(200, {"status": "SUCCESS", "result": {"files": 3}}))
    await calls.register(unit, unit_type="DOCKER_CONTAINER", unit_name="data-processor-1", capacity=5)
    config = {"inputPath": "/data/input", "outputPath": "/data/output"}
    task_id = await calls.start(task_type="DATA_PROCESSING", priority=1, config=struct(config), max_retries=3)
    asked = await unit.expect("execute", task_id)
    assert (asked.body["taskType"], asked.body["config"]) == ("DATA_PROCESSING", config)
    await calls.until(task_id, "SUCCESS")


async def test_tasks_that_waited_before_the_unit_came_run_whatever_their_types(
    server: ServerUnderTest, calls: Calls, unit: ScriptedUnit
) -> None:
    unit.on("execute", always(200, {"status": "SUCCESS"}))
    waiting = [await calls.start(task_type=task_type) for task_type in ("A", "B", "C", "A")]
    await calls.register(unit)
    for task_id in waiting:
        await calls.until(task_id, "SUCCESS")


async def test_after_a_restart_the_server_knows_of_which_types_tasks_wait(
    server: ServerUnderTest, calls: Calls, unit: ScriptedUnit
) -> None:
    waiting = [await calls.start(task_type=task_type) for task_type in ("A", "B")]
    await server.stop()
    await server.start()
    unit.on("execute", always(200, {"status": "SUCCESS"}))
    await calls.register(unit)
    for task_id in waiting:
        await calls.until(task_id, "SUCCESS")


async def test_one_slot_serves_all_types_in_order_of_priority(calls: Calls, unit: ScriptedUnit) -> None:
    unit.on("status", always(200, {"status": "RUNNING"}))
    unit_id = (await calls.register(unit)).id
    first = await calls.accepted(unit, task_type="A")
    low = await calls.start(task_type="B", priority=1)
    high = await calls.start(task_type="C", priority=2)
    await calls.report(unit_id, first, succeeded=pb.SucceededReport())
    await calls.report(unit_id, await unit.expect("execute", high), succeeded=pb.SucceededReport())
    await unit.expect("execute", low)


async def test_units_that_name_the_type_are_preferred(calls: Calls, unit: ScriptedUnit) -> None:
    unit.on("status", always(200, {"status": "RUNNING"}))
    with ScriptedUnit() as named:
        named.on("status", always(200, {"status": "RUNNING"}))
        await calls.register(unit, unit_name="any", capacity=100)
        await calls.register(named, unit_name="named", task_types=[TaskTypeSupport(task_type="A")], capacity=2)
        for _ in range(2):
            await calls.accepted(named, task_type="A")
        await calls.accepted(unit, task_type="A")
        await calls.accepted(unit, task_type="B")


async def test_what_it_was_given_can_be_paused_and_goes_on_from_its_checkpoint(
    calls: Calls, unit: ScriptedUnit
) -> None:
    unit.on("pause", always(200, {"status": "PAUSED", "checkpoint": {"row": 5}}))
    unit.on("resume", always(404))
    await calls.register(unit)
    asked = await calls.accepted(unit, task_type="ANYTHING")
    assert (await calls.pause(asked.task_id)).status == task_pb2.TASK_STATUS_PAUSED
    await calls.resume(asked.task_id)
    assert (await unit.expect("execute", asked.task_id)).body["checkpoint"] == {"row": 5}


async def test_it_is_listed_for_every_type_and_its_slots_count(calls: Calls, unit: ScriptedUnit) -> None:
    unit_id = (await calls.register(unit)).id
    listed = await calls.wire.operations.ListUnits(operations_pb.ListUnitsRequest(task_type="ANYTHING"))
    assert [each.id for each in listed.units] == [unit_id]
    await calls.accepted(unit, task_type="A")
    waiting = await calls.wire.get(await calls.start(task_type="B"))
    assert waiting.waiting_reason == task_pb2.WAITING_REASON_UNITS_BUSY
