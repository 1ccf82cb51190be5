"""Bad input of clients: INVALID_ARGUMENT with the name of every bad field, and nothing done."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp
from rpc.deep import lists_in_lists, objects_in_objects
from rpc.raw_unit import struct
from rpc.refusals import Refusal, refusal_of
from rpc.server import Wire
from rpc.tasks import create, spec

from taskplane.v1 import operations_service_pb2 as operations_pb
from taskplane.v1 import task_service_pb2 as pb

NESTED = {"outer": {"list": [1, {"inner": "x" * (2 * 1024 * 1024)}]}}
NOT_A_NUMBER = Struct(fields={"rate": Value(number_value=float("nan"))})
INFINITE = Struct(fields={"rates": Value(struct_value=Struct(fields={"top": Value(number_value=float("inf"))}))})

BAD_SPECS: list[tuple[str, dict[str, Any], list[str]]] = [
    ("no name", {"task_name": ""}, ["task.task_name"]),
    ("a blank name", {"task_name": " \t\n"}, ["task.task_name"]),
    ("a long name", {"task_name": "x" * 256}, ["task.task_name"]),
    ("NUL in the name", {"task_name": "a\0b"}, ["task.task_name"]),
    ("no type", {"task_type": ""}, ["task.task_type"]),
    ("spaces in the type", {"task_type": "DATA PROCESSING"}, ["task.task_type"]),
    ("a newline after the type", {"task_type": "WORK\n"}, ["task.task_type"]),
    ("a long type", {"task_type": "x" * 101}, ["task.task_type"]),
    ("negative priority", {"priority": -1}, ["task.priority"]),
    ("too high a priority", {"priority": 1001}, ["task.priority"]),
    ("negative retries", {"max_retries": -1}, ["task.max_retries"]),
    ("too many retries", {"max_retries": 1001}, ["task.max_retries"]),
    ("2 MB of config", {"config": struct({"text": "x" * 2_000_000})}, ["task.config"]),
    ("2 MB deep in the config", {"config": struct(NESTED)}, ["task.config"]),
    ("a key of 64 KiB in the config", {"config": struct({"k" * 65_536: 1})}, ["task.config"]),
    ("NaN in the config", {"config": NOT_A_NUMBER}, ["task.config"]),
    ("infinity in the config", {"config": INFINITE}, ["task.config"]),
    ("25 objects in each other", {"config": struct(objects_in_objects(25))}, ["task.config"]),
    ("24 lists in an object", {"config": struct({"list": lists_in_lists(24)})}, ["task.config"]),
    ("33 labels", {"labels": {str(number): "" for number in range(33)}}, ["task.labels"]),
    ("an empty label key", {"labels": {"": "x"}}, ["task.labels['']"]),
    ("a long label key", {"labels": {"k" * 64: "x"}}, [f"task.labels['{'k' * 64}']"]),
    ("a long label value", {"labels": {"key": "x" * 256}}, ["task.labels['key']"]),
    ("33 unit labels", {"unit_labels": {str(number): "" for number in range(33)}}, ["task.unit_labels"]),
    (
        "several at once",
        {"task_name": "", "task_type": "a b", "priority": -1, "max_retries": 2000},
        ["task.task_name", "task.task_type", "task.priority", "task.max_retries"],
    ),
]
BAD_CONTEXTS: list[tuple[str, dict[str, Any], str]] = [
    ("a long request id", {"request_id": "x" * 65}, "context.request_id"),
    ("a request id that ends with a space", {"request_id": "x "}, "context.request_id"),
    ("a long actor", {"actor": "x" * 256}, "context.actor"),
    ("a long reason", {"reason": "x" * 1001}, "context.reason"),
    ("a negative revision", {"expected_revision": -1}, "context.expected_revision"),
]
UNKNOWN: Any = 99  # of an enum
TOO_LATE = Timestamp(seconds=253402300800)  # the year 10000
BEFORE_YEAR_1 = Timestamp(seconds=-62135596801)
BAD_LISTS: list[tuple[str, dict[str, Any], str]] = [
    ("negative page size", {"page_size": -1}, "page_size"),
    ("a made-up token", {"page_token": "next, please"}, "page_token"),
    ("a token of JSON", {"page_token": "WzEsMl0"}, "page_token"),
    ("a long token", {"page_token": "x" * 5000}, "page_token"),
    ("an unknown order", {"order": 99}, "order"),
    ("an unknown status", {"filter": pb.TaskFilter(statuses=[UNKNOWN])}, "filter.statuses[0]"),
    ("a long unit id", {"filter": pb.TaskFilter(execution_unit_id="x" * 251)}, "filter.execution_unit_id"),
    ("a type with spaces", {"filter": pb.TaskFilter(task_types=["OK", "not ok"])}, "filter.task_types[1]"),
    ("a time after year 9999", {"filter": pb.TaskFilter(created_from=TOO_LATE)}, "filter.created_from"),
    ("a time before year 1", {"filter": pb.TaskFilter(created_before=BEFORE_YEAR_1)}, "filter.created_before"),
]
BAD_WATCHES: list[tuple[str, dict[str, Any], str]] = [
    ("id 0", {"task_ids": [0]}, "task_ids[0]"),
    ("a negative id", {"task_ids": [1, -5]}, "task_ids[1]"),
    ("an id twice", {"task_ids": [7, 7]}, "task_ids"),
    ("1001 ids", {"task_ids": range(1, 1002)}, "task_ids"),
    ("a negative revision", {"after_revision": -1}, "after_revision"),
    ("too much progress", {"max_progress_per_second": 101}, "max_progress_per_second"),
    ("negative progress", {"max_progress_per_second": -1}, "max_progress_per_second"),
]


def names(table: list[Any]) -> dict[str, Any]:
    return {"argvalues": table, "ids": [row[0] for row in table]}


def assert_names(refusal: Refusal, *fields: str) -> None:
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELDS")
    assert sorted(refusal.fields) == sorted(fields)
    assert all(field in refusal.message for field in fields)


async def count_tasks(wire: Wire) -> int:
    return (await wire.tasks.ListTasks(pb.ListTasksRequest(include_total=True))).total


@pytest.mark.parametrize(("case", "changes", "fields"), **names(BAD_SPECS))
async def test_a_bad_task_is_not_created(case: str, changes: dict[str, Any], fields: list[str], wire: Wire) -> None:
    assert_names(await refusal_of(wire.tasks.CreateTask(pb.CreateTaskRequest(task=spec(**changes)))), *fields)
    assert await count_tasks(wire) == 0


async def test_a_create_without_a_task_names_what_is_required(wire: Wire) -> None:
    refusal = await refusal_of(wire.tasks.CreateTask(pb.CreateTaskRequest()))
    assert_names(refusal, "task.task_name", "task.task_type")


async def test_one_bad_task_keeps_the_whole_batch_from_being_created(wire: Wire) -> None:
    request = pb.BatchCreateTasksRequest(tasks=[spec(), spec(priority=-1), spec(), spec(task_name="")])
    assert_names(await refusal_of(wire.tasks.BatchCreateTasks(request)), "tasks[1].priority", "tasks[3].task_name")
    assert await count_tasks(wire) == 0


@pytest.mark.parametrize("count", [0, 1001])
async def test_a_batch_has_1_to_1000_tasks(count: int, wire: Wire) -> None:
    request = pb.BatchCreateTasksRequest(tasks=[spec()] * count)
    assert_names(await refusal_of(wire.tasks.BatchCreateTasks(request)), "tasks")


@pytest.mark.parametrize(("case", "changes", "field"), **names(BAD_CONTEXTS))
async def test_a_bad_context_is_refused_by_every_call_that_changes_something(
    case: str, changes: dict[str, Any], field: str, wire: Wire
) -> None:
    context = pb.RequestContext(**changes)
    task = await create(wire)
    calls: list[Awaitable[Message]] = [
        wire.tasks.CreateTask(pb.CreateTaskRequest(task=spec(), context=context)),
        wire.tasks.BatchCreateTasks(pb.BatchCreateTasksRequest(tasks=[spec()], context=context)),
        wire.tasks.StartTask(pb.StartTaskRequest(task_id=task.id, context=context)),
        wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=task.id, context=context)),
        wire.tasks.ResumeTask(pb.ResumeTaskRequest(task_id=task.id, context=context)),
        wire.tasks.CancelTask(pb.CancelTaskRequest(task_id=task.id, context=context)),
        wire.tasks.RestartTask(pb.RestartTaskRequest(task_id=task.id, context=context)),
        wire.tasks.DeleteTask(pb.DeleteTaskRequest(task_id=task.id, context=context)),
        wire.tasks.BatchControlTasks(
            pb.BatchControlTasksRequest(verb=pb.BATCH_VERB_CANCEL, task_ids=[task.id], context=context)
        ),
    ]
    for call in calls:
        assert_names(await refusal_of(call), field)
    assert (await wire.get(task.id)).revision == task.revision
    assert await count_tasks(wire) == 1


async def test_a_verb_from_a_chosen_checkpoint_names_all_that_is_bad(wire: Wire) -> None:
    bad: dict[str, Any] = {"checkpoint_number": -1, "context": pb.RequestContext(expected_revision=-1)}
    calls: list[Awaitable[Message]] = [
        wire.tasks.ResumeTask(pb.ResumeTaskRequest(**bad)),
        wire.tasks.RestartTask(pb.RestartTaskRequest(**bad)),
    ]
    for call in calls:
        assert_names(await refusal_of(call), "task_id", "context.expected_revision", "checkpoint_number")


@pytest.mark.parametrize(("case", "changes", "field"), **names(BAD_LISTS))
async def test_a_bad_list_is_refused(case: str, changes: dict[str, Any], field: str, wire: Wire) -> None:
    assert_names(await refusal_of(wire.tasks.ListTasks(pb.ListTasksRequest(**changes))), field)


async def test_a_list_names_a_bad_token_beside_what_else_is_bad(wire: Wire) -> None:
    bad: dict[str, Any] = {"page_size": -1, "page_token": "next, please"}
    assert_names(await refusal_of(wire.tasks.ListTasks(pb.ListTasksRequest(**bad))), *bad)
    assert_names(await refusal_of(wire.operations.ListUnits(operations_pb.ListUnitsRequest(**bad))), *bad)
    calls: list[Awaitable[Message]] = [
        wire.tasks.ListTaskTransitions(pb.ListTaskTransitionsRequest(**bad)),
        wire.tasks.ListTaskCommands(pb.ListTaskCommandsRequest(**bad)),
    ]
    for call in calls:
        assert_names(await refusal_of(call), "task_id", *bad)


@pytest.mark.parametrize("number", [-1, 2**62 + 1])
async def test_a_bad_number_of_a_checkpoint_is_refused(number: int, wire: Wire) -> None:
    call = wire.tasks.ListTaskCheckpoints(pb.ListTaskCheckpointsRequest(number=number))
    assert_names(await refusal_of(call), "task_id", "number")


@pytest.mark.parametrize(("case", "changes", "field"), **names(BAD_WATCHES))
async def test_a_bad_watch_is_refused(case: str, changes: dict[str, Any], field: str, wire: Wire) -> None:
    call = wire.tasks.WatchTasks(pb.WatchTasksRequest(**changes))
    assert_names(await refusal_of(anext(aiter(call))), field)


READS: dict[str, Callable[[Wire, int], Awaitable[object]]] = {
    "GetTask": lambda wire, task_id: wire.tasks.GetTask(pb.GetTaskRequest(task_id=task_id)),
    "ListTaskTransitions": lambda wire, task_id: wire.tasks.ListTaskTransitions(
        pb.ListTaskTransitionsRequest(task_id=task_id)
    ),
    "ListTaskCheckpoints": lambda wire, task_id: wire.tasks.ListTaskCheckpoints(
        pb.ListTaskCheckpointsRequest(task_id=task_id)
    ),
}


@pytest.mark.parametrize("method", sorted(READS))
async def test_a_read_of_no_task_is_refused(method: str, wire: Wire) -> None:
    read = READS[method]
    for task_id in (0, -5):
        assert_names(await refusal_of(read(wire, task_id)), "task_id")
    refusal = await refusal_of(read(wire, 2**63 - 1))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND")
    assert refusal.metadata == {"task_id": str(2**63 - 1)}


async def test_a_watch_of_a_task_that_does_not_exist_is_told(wire: Wire) -> None:
    task = await create(wire)
    call = wire.tasks.WatchTasks(pb.WatchTasksRequest(task_ids=[task.id, 4711]))
    refusal = await refusal_of(anext(aiter(call)))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND")


@pytest.mark.parametrize("unit_id", ["", "x" * 251])
async def test_a_bad_unit_id_is_refused(unit_id: str, wire: Wire) -> None:
    assert_names(await refusal_of(wire.operations.GetUnit(operations_pb.GetUnitRequest(unit_id=unit_id))), "unit_id")
    assert_names(
        await refusal_of(wire.operations.DeleteUnit(operations_pb.DeleteUnitRequest(unit_id=unit_id))), "unit_id"
    )
    assert_names(
        await refusal_of(wire.operations.DrainUnit(operations_pb.DrainUnitRequest(unit_id=unit_id))), "unit_id"
    )


async def test_a_bad_list_of_units_is_refused(wire: Wire) -> None:
    request = operations_pb.ListUnitsRequest(page_size=-1, statuses=[UNKNOWN])
    assert_names(await refusal_of(wire.operations.ListUnits(request)), "page_size", "statuses[0]")
    request = operations_pb.ListUnitsRequest(page_token="more")
    assert_names(await refusal_of(wire.operations.ListUnits(request)), "page_token")
