"""Lists come whole in pages of any size, choose by their filter, and keep their tokens to themselves."""

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from rpc.conftest import Connect
from rpc.raw_unit import RawUnit, checkpoint, struct
from rpc.refusals import refusal_of
from rpc.server import Wire
from rpc.tasks import create, paused, running, spec, task_in

from taskplane.server.rpc import fitting
from taskplane.v1 import operations_service_pb2 as operations_pb
from taskplane.v1 import task_pb2
from taskplane.v1 import task_service_pb2 as pb


@pytest.fixture
def served_url(database_url: str) -> str:
    return database_url


async def create_many(wire: Wire, count: int) -> list[int]:
    request = pb.BatchCreateTasksRequest(tasks=[spec(task_name=f"task {number}") for number in range(count)])
    return [task.id for task in (await wire.tasks.BatchCreateTasks(request)).tasks]


async def all_pages(wire: Wire, request: pb.ListTasksRequest) -> list[list[int]]:
    """Return the ids on each page."""
    pages = []
    while True:
        response = await wire.tasks.ListTasks(request)
        pages.append([task.id for task in response.tasks])
        if not response.next_page_token:
            return pages
        request.page_token = response.next_page_token


@pytest.mark.parametrize("page_size", [1, 3, 7, 8])
async def test_pages_add_up_to_the_list_newest_first(page_size: int, wire: Wire) -> None:
    ids = await create_many(wire, 7)
    pages = await all_pages(wire, pb.ListTasksRequest(page_size=page_size))
    assert [len(page) for page in pages[:-1]] == [page_size] * (len(pages) - 1)
    assert [task_id for page in pages for task_id in page] == ids[::-1]


async def test_a_list_may_begin_with_the_oldest(wire: Wire) -> None:
    ids = await create_many(wire, 5)
    request = pb.ListTasksRequest(page_size=2, order=pb.TASK_ORDER_OLDEST_FIRST)
    assert await all_pages(wire, request) == [ids[0:2], ids[2:4], ids[4:]]


async def test_a_page_is_not_moved_by_tasks_that_come_in_between(wire: Wire) -> None:
    ids = await create_many(wire, 4)
    first = await wire.tasks.ListTasks(pb.ListTasksRequest(page_size=2))
    await create_many(wire, 3)
    second = await wire.tasks.ListTasks(pb.ListTasksRequest(page_size=2, page_token=first.next_page_token))
    assert [task.id for task in (*first.tasks, *second.tasks)] == ids[::-1]


async def test_page_sizes_have_a_default_and_a_most(wire: Wire) -> None:
    await create_many(wire, 1000)
    await create_many(wire, 1)
    assert len((await wire.tasks.ListTasks(pb.ListTasksRequest())).tasks) == 50
    most = await wire.tasks.ListTasks(pb.ListTasksRequest(page_size=5000, include_total=True))
    assert (len(most.tasks), most.total, most.total_is_capped) == (1000, 1001, False)


async def test_a_token_belongs_to_its_list(wire: Wire) -> None:
    await create_many(wire, 3)
    token = (await wire.tasks.ListTasks(pb.ListTasksRequest(page_size=1))).next_page_token
    (task, *_) = (await wire.tasks.ListTasks(pb.ListTasksRequest())).tasks
    await wire.tasks.CancelTask(pb.CancelTaskRequest(task_id=task.id))
    of_history = (
        await wire.tasks.ListTaskTransitions(pb.ListTaskTransitionsRequest(task_id=task.id, page_size=1))
    ).next_page_token
    assert token
    assert of_history
    filtered = pb.TaskFilter(task_types=["WORK"])
    for call in (
        wire.tasks.ListTasks(pb.ListTasksRequest(page_token=token, filter=filtered)),
        wire.tasks.ListTasks(pb.ListTasksRequest(page_token=token, order=pb.TASK_ORDER_OLDEST_FIRST)),
        wire.tasks.ListTasks(pb.ListTasksRequest(page_token=of_history)),
        wire.tasks.ListTaskTransitions(pb.ListTaskTransitionsRequest(task_id=task.id, page_token=token)),
        wire.tasks.ListTaskTransitions(pb.ListTaskTransitionsRequest(task_id=task.id - 1, page_token=of_history)),
        wire.operations.ListUnits(operations_pb.ListUnitsRequest(page_token=token)),
    ):
        refusal = await refusal_of(call)
        assert (refusal.code, refusal.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["page_token"])


async def test_every_filter_restricts(wire: Wire, unit: RawUnit) -> None:
    ran = await task_in("SUCCESS", wire, unit)
    low = await create(wire, task_name="Low and SLOW 100%", task_type="A", priority=1)
    high = await create(wire, task_name="high_", task_type="B", priority=9, labels={"team": "x", "env": "test"})

    async def found(**restrictions: object) -> list[int]:
        chosen = pb.TaskFilter(**restrictions)  # type: ignore[arg-type]  # each call names a field with its type
        request = pb.ListTasksRequest(filter=chosen, order=pb.TASK_ORDER_OLDEST_FIRST, include_total=True)
        response = await wire.tasks.ListTasks(request)
        assert response.total == len(response.tasks)
        return [task.id for task in response.tasks]

    assert await found() == [ran, low.id, high.id]
    assert await found(statuses=[task_pb2.TASK_STATUS_SUCCESS]) == [ran]
    both = [task_pb2.TASK_STATUS_SUCCESS, task_pb2.TASK_STATUS_PENDING]
    assert await found(statuses=both) == [ran, low.id, high.id]
    assert await found(task_types=["A", "B"]) == [low.id, high.id]
    assert await found(task_types=["a"]) == []
    assert await found(execution_unit_id="unit-1") == [ran]
    assert await found(min_priority=1) == [low.id, high.id]
    assert await found(max_priority=1) == [ran, low.id]
    assert await found(min_priority=2, max_priority=8) == []
    assert await found(name_contains="slow 100%") == [low.id]
    assert await found(name_contains="%") == [low.id]
    assert await found(name_contains="_") == [high.id]
    assert await found(name_contains="\\") == []
    assert await found(labels={"team": "x"}) == [high.id]
    assert await found(labels={"team": "x", "env": "live"}) == []
    assert await found(created_from=high.created_at) == [high.id]
    assert await found(created_before=low.created_at) == [ran]
    assert await found(created_from=Timestamp(seconds=4102444800)) == []  # the year 2100


async def test_a_long_history_comes_in_pages_oldest_first(wire: Wire, unit: RawUnit) -> None:
    pause = await paused(wire, unit)
    whole = await wire.history(pause.task_id)
    request = pb.ListTaskTransitionsRequest(task_id=pause.task_id, page_size=2)
    first = await wire.tasks.ListTaskTransitions(request)
    request.page_token = first.next_page_token
    last = await wire.tasks.ListTaskTransitions(request)
    assert [*first.transitions, *last.transitions] == whole
    assert not last.next_page_token


async def test_commands_are_listed_newest_first(wire: Wire, unit: RawUnit) -> None:
    pause = await paused(wire, unit)
    await wire.tasks.CancelTask(pb.CancelTaskRequest(task_id=pause.task_id, no_wait=True))
    response = await wire.tasks.ListTaskCommands(pb.ListTaskCommandsRequest(task_id=pause.task_id))
    cancelled, applied = response.commands
    assert (cancelled.verb, cancelled.state) == (task_pb2.COMMAND_VERB_CANCEL, pb.COMMAND_STATE_ISSUED)
    assert (applied.verb, applied.state) == (task_pb2.COMMAND_VERB_PAUSE, pb.COMMAND_STATE_APPLIED)
    assert applied.command_id == pause.command_id


async def test_units_are_listed_in_pages_and_by_what_they_are(wire: Wire, connect: Connect) -> None:
    gone = await connect("a", unit_type="OTHER")
    await gone.say(goodbye={})
    await gone.half_close()
    await running(wire, await connect("b"))
    await connect("c", labels={"zone": "x"}, sdk="raw 1")

    async def found(**restrictions: object) -> list[str]:
        request = operations_pb.ListUnitsRequest(page_size=2, **restrictions)  # type: ignore[arg-type]  # as above
        ids: list[str] = []
        while True:
            page = await wire.operations.ListUnits(request)
            ids += [unit.id for unit in page.units]
            if not page.next_page_token:
                return ids
            request.page_token = page.next_page_token

    assert await found() == ["a", "b", "c"]
    assert await found(unit_type="OTHER") == ["a"]
    assert await found(task_type="WORK") == ["a", "b", "c"]
    assert await found(task_type="NONE") == []
    statuses = operations_pb.DESCRIPTOR.pool.FindEnumTypeByName("taskplane.v1.ExecutionUnitStatus").values_by_name
    for name, ids in (("OFFLINE", ["a"]), ("BUSY", ["b"]), ("AVAILABLE", ["c"])):
        assert await found(statuses=[statuses[f"EXECUTION_UNIT_STATUS_{name}"].number]) == ids
    unit = (await wire.operations.GetUnit(operations_pb.GetUnitRequest(unit_id="c"))).unit
    assert (dict(unit.labels), unit.sdk, unit.unit_name) == ({"zone": "x"}, "raw 1", "unit under test")
    assert unit.session_id


async def test_only_a_unit_that_is_gone_can_be_deleted(wire: Wire, connect: Connect) -> None:
    unit = await connect()
    request = operations_pb.DeleteUnitRequest(unit_id="unit-1")
    refusal = await refusal_of(wire.operations.DeleteUnit(request))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "UNIT_IN_USE")
    assert refusal.metadata["unit_id"] == "unit-1"
    await unit.say(goodbye={})
    await unit.half_close()
    await wire.operations.DeleteUnit(request)
    for call in (
        wire.operations.DeleteUnit(request),
        wire.operations.GetUnit(operations_pb.GetUnitRequest(unit_id="unit-1")),
    ):
        refusal = await refusal_of(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "UNIT_NOT_FOUND")


async def test_a_page_of_large_tasks_ends_early_and_the_next_goes_on(wire: Wire) -> None:
    large = struct({"text": "x" * 750_000})
    ids = [(await create(wire, config=large)).id for _ in range(5)]
    request = pb.ListTasksRequest(order=pb.TASK_ORDER_OLDEST_FIRST)
    found: list[int] = []
    pages = 0
    while pages == 0 or request.page_token:
        page = await wire.tasks.ListTasks(request)
        assert page.ByteSize() < 4 * 1024 * 1024
        found += [task.id for task in page.tasks]
        request.page_token = page.next_page_token
        pages += 1
    assert found == ids
    assert pages == 2


async def test_a_page_of_long_transitions_ends_early_and_the_next_goes_on(
    wire: Wire, unit: RawUnit, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause = await paused(wire, unit)
    whole = await wire.history(pause.task_id)
    monkeypatch.setattr(fitting, "FULL_BYTES", whole[0].ByteSize() + whole[1].ByteSize())
    request = pb.ListTaskTransitionsRequest(task_id=pause.task_id)
    first = await wire.tasks.ListTaskTransitions(request)
    request.page_token = first.next_page_token
    last = await wire.tasks.ListTaskTransitions(request)
    assert [list(first.transitions), list(last.transitions)] == [whole[:2], whole[2:]]
    assert not last.next_page_token


async def test_a_page_of_long_commands_ends_early_and_the_next_goes_on(
    wire: Wire, unit: RawUnit, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause = await paused(wire, unit)
    await wire.tasks.ResumeTask(pb.ResumeTaskRequest(task_id=pause.task_id))
    await wire.tasks.CancelTask(pb.CancelTaskRequest(task_id=pause.task_id, no_wait=True))
    request = pb.ListTaskCommandsRequest(task_id=pause.task_id)
    whole = list((await wire.tasks.ListTaskCommands(request)).commands)
    monkeypatch.setattr(fitting, "FULL_BYTES", 1)
    found: list[pb.TaskCommand] = []
    while not found or request.page_token:
        page = await wire.tasks.ListTaskCommands(request)
        found += page.commands
        request.page_token = page.next_page_token
        assert len(page.commands) == 1
    assert found == whole
    assert len(whole) == 3


async def test_of_large_checkpoints_the_newest_have_their_data_and_each_can_be_had_with_it(
    wire: Wire, unit: RawUnit
) -> None:
    start = await running(wire, unit)
    for number in range(1, 6):
        await unit.report(start, checkpoint=checkpoint(number, text="x" * 750_000))
    await unit.all_acknowledged()
    request = pb.ListTaskCheckpointsRequest(task_id=start.task_id)
    response = await wire.tasks.ListTaskCheckpoints(request)
    assert response.ByteSize() < 4 * 1024 * 1024
    assert [(each.number, each.HasField("data")) for each in response.checkpoints] == [
        (5, True),
        (4, True),
        (3, True),
        (2, True),
        (1, False),
    ]
    request.number = 1
    (oldest,) = (await wire.tasks.ListTaskCheckpoints(request)).checkpoints
    assert (oldest.number, oldest.data) == (1, struct({"text": "x" * 750_000}))
    request.number = 6
    assert not (await wire.tasks.ListTaskCheckpoints(request)).checkpoints


async def test_a_checkpoint_that_is_too_large_for_a_list_can_be_had_alone(
    wire: Wire, unit: RawUnit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "FULL_BYTES", 1)
    pause = await paused(wire, unit)
    request = pb.ListTaskCheckpointsRequest(task_id=pause.task_id)
    (listed,) = (await wire.tasks.ListTaskCheckpoints(request)).checkpoints
    assert (listed.number, listed.HasField("data")) == (1, False)
    request.number = 1
    (alone,) = (await wire.tasks.ListTaskCheckpoints(request)).checkpoints
    assert alone.data["row"] == 10
