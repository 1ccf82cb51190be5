"""The figures of GetStatistics: of tasks from the database, of units and slots from memory."""

from datetime import UTC, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from rpc.conftest import Connect
from rpc.raw_unit import WORK, RawUnit
from rpc.refusals import refusal_of
from rpc.server import Wire
from rpc.tasks import create, running, task_in
from rpc.test_resume import is_offline

from taskplane.server.core.clock import utc_now
from taskplane.v1 import execution_unit_control_pb2 as unit_pb
from taskplane.v1 import execution_unit_pb2, task_pb2
from taskplane.v1 import operations_service_pb2 as pb

DAY_SECONDS = 24 * 3600


@pytest.fixture
def served_url(database_url: str) -> str:
    return database_url


async def figures(wire: Wire, **request: Any) -> pb.GetStatisticsResponse:
    return await wire.operations.GetStatistics(pb.GetStatisticsRequest(**request))


def counts(response: pb.GetStatisticsResponse) -> list[int]:
    return [each.count for each in response.tasks]


async def test_without_tasks_and_units_all_figures_are_zero(wire: Wire) -> None:
    began = utc_now()  # the clock of the server, which differs from the system's by some milliseconds
    response = await figures(wire)
    assert began <= response.taken_at.ToDatetime(UTC) <= utc_now()
    assert [task_pb2.TaskStatus.Name(each.status) for each in response.tasks] == [
        f"TASK_STATUS_{name}" for name in ("PENDING", "RUNNING", "SUCCESS", "FAILED", "PAUSED", "CANCELLED")
    ]
    assert counts(response) == [0] * 6
    assert {field.name for field, _ in response.ListFields()} == {"taken_at", "tasks", "mean_active_time"}
    assert response.mean_active_time == Duration()


async def test_tasks_are_counted_as_they_are_now(wire: Wire, connect: Connect) -> None:
    unit = await connect(capacity=2)
    for status in ("PENDING", "RUNNING", "SUCCESS", "SUCCESS", "FAILED", "PAUSED", "CANCELLED"):
        await task_in(status, wire, unit)
    queued = await create(wire, start=True, task_type="OTHER")
    response = await figures(wire)
    assert counts(response) == [2, 1, 2, 1, 1, 1]
    assert (response.queued, response.failures) == (1, 1)
    waited = response.taken_at.ToDatetime(UTC) - queued.queued_at.ToDatetime(UTC)
    assert abs(response.oldest_queued.ToTimedelta() - waited) < timedelta(milliseconds=1)
    of_type = await figures(wire, task_type="OTHER")
    assert (counts(of_type), of_type.queued, of_type.failures) == ([1, 0, 0, 0, 0, 0], 1, 0)
    assert (await figures(wire, task_type="WORK")).queued == 0


async def test_rates_are_of_the_tasks_that_ended(wire: Wire, unit: RawUnit) -> None:
    ids = [await task_in(status, wire, unit) for status in ("SUCCESS", "SUCCESS", "FAILED", "CANCELLED")]
    tasks = [await wire.get(task_id) for task_id in ids]
    response = await figures(wire)
    assert response.success_rate == 0.5
    assert response.finished_per_second == pytest.approx(4 / 3600)
    mean = sum(task.active_time.ToNanoseconds() for task in tasks) / 4
    assert mean > 0
    assert response.mean_active_time.ToNanoseconds() == pytest.approx(mean, abs=1_000)
    in_a_day = await figures(wire, window=Duration(seconds=DAY_SECONDS))
    assert in_a_day.finished_per_second == pytest.approx(4 / DAY_SECONDS)
    assert (await figures(wire, task_type="OTHER")).success_rate == 0


async def test_a_window_begins_when_it_says(wire: Wire, unit: RawUnit) -> None:
    await task_in("FAILED", wire, unit)
    at_once = await figures(wire, window=Duration(nanos=1))
    assert (at_once.finished_per_second, at_once.failures) == (0, 0)
    assert (await figures(wire, window=Duration(seconds=31 * DAY_SECONDS))).failures == 1


async def test_an_attempt_that_is_tried_again_is_a_failure_but_no_end(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    await unit.report(start, failed=unit_pb.FailedReport(message="broken"))
    await unit.all_acknowledged()
    response = await figures(wire)
    assert (response.failures, response.finished_per_second, response.success_rate) == (1, 0, 0)


async def test_slots_are_those_of_connected_units(wire: Wire, connect: Connect) -> None:
    other = execution_unit_pb2.TaskTypeSupport(task_type="OTHER")
    gone = await connect("gone", capacity=8)
    await gone.break_off()
    await is_offline(wire, "gone")
    await running(wire, await connect("both", capacity=3, task_types=[WORK, other]), task_type="OTHER")
    await connect("work", capacity=2)
    for task_type, units in {"": (2, 5, 1), "WORK": (2, 5, 1), "OTHER": (1, 3, 1), "NONE": (0, 0, 0)}.items():
        response = await figures(wire, task_type=task_type)
        assert (response.units_connected, response.slots, response.slots_used) == units


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"window": Duration()}, "window"),
        ({"window": Duration(seconds=-1)}, "window"),
        ({"window": Duration(seconds=31 * DAY_SECONDS, nanos=1_000)}, "window"),
        ({"window": Duration(seconds=2**62)}, "window"),
        ({"window": Duration(nanos=-1)}, "window"),
        ({"task_type": "not ok"}, "task_type"),
    ],
)
async def test_a_bad_question_is_refused(fields: dict[str, Any], name: str, wire: Wire) -> None:
    refusal = await refusal_of(wire.operations.GetStatistics(pb.GetStatisticsRequest(**fields)))
    assert (refusal.code, refusal.fields) == (grpc.StatusCode.INVALID_ARGUMENT, [name])
