"""Creation: tasks are stored as requested, under increasing ids."""

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from rpc.conftest import Connect
from rpc.deep import objects_in_objects
from rpc.raw_unit import RawUnit, struct
from rpc.server import Wire, status_name, watching
from rpc.tasks import create, running, spec

from taskplane.server.core.documents import MAX_DOCUMENT_BYTES
from taskplane.v1 import execution_unit_control_pb2 as unit_pb
from taskplane.v1 import task_service_pb2 as pb


@pytest.fixture
def served_url(database_url: str) -> str:
    return database_url


CONFIG = {
    "text": "naïve ☕ 李娜 \U0001f680",
    "whole": 9007199254740991,
    "fraction": 0.1,
    "huge": 1e300,
    "negative": -5,
    "yes": True,
    "nothing": None,
    "list": [1, "two", [3], {"four": 4}, []],
    "empty": {},
    "": "empty key",
}


async def test_a_task_is_stored_as_it_was_asked_for(wire: Wire) -> None:
    context = pb.RequestContext(actor="ada", reason="a try")
    asked = spec(
        task_name="naïve ☕",
        task_type="A.b_c:d/e-9",
        priority=1000,
        config=struct(CONFIG),
        max_retries=0,
        labels={"team": "data", "empty": ""},
        unit_labels={"gpu": "yes"},
    )
    created = (await wire.tasks.CreateTask(pb.CreateTaskRequest(task=asked, context=context))).task
    task = await wire.get(created.id)
    assert task == created
    assert (task.task_name, task.task_type, task.priority) == ("naïve ☕", "A.b_c:d/e-9", 1000)
    assert MessageToDict(task.config) == CONFIG
    assert (task.max_retries, task.retry_count, task.attempt) == (0, 0, 0)
    assert (dict(task.labels), dict(task.unit_labels)) == ({"team": "data", "empty": ""}, {"gpu": "yes"})
    assert status_name(task.status) == "PENDING"
    is_set = {field.name for field, _ in task.ListFields()}
    assert not is_set & {"queued_at", "started_at", "completed_at", "progress", "checkpoint", "result"}
    (creation,) = await wire.history(task.id)
    assert (creation.from_status, status_name(creation.to_status)) == (0, "PENDING")
    assert (creation.changed_by, creation.reason, creation.attempt) == ("ada", "a try", 0)
    assert (creation.revision, creation.changed_at) == (task.revision, task.created_at)


async def test_what_is_not_said_has_its_default(wire: Wire) -> None:
    task = await create(wire)
    assert (task.priority, task.max_retries, MessageToDict(task.config)) == (0, 3, {})
    (creation,) = await wire.history(task.id)
    assert creation.changed_by == "client"


async def test_a_batch_is_stored_in_its_order(wire: Wire) -> None:
    before = await create(wire)
    request = pb.BatchCreateTasksRequest(tasks=[spec(task_name=f"task {number}") for number in range(1000)])
    tasks = (await wire.tasks.BatchCreateTasks(request)).tasks
    assert [task.task_name for task in tasks] == [f"task {number}" for number in range(1000)]
    ids, revisions = [task.id for task in tasks], [task.revision for task in tasks]
    assert ids == sorted(set(ids))
    assert revisions == sorted(set(revisions))
    assert ids[0] > before.id
    assert await wire.get(tasks[500].id) == tasks[500]


async def test_the_answer_to_a_large_batch_leaves_out_what_the_caller_has_sent(wire: Wire) -> None:
    asked = spec(config=struct({"text": "x" * 750_000}), labels={"team": "data"}, unit_labels={"gpu": "yes"})
    response = await wire.tasks.BatchCreateTasks(pb.BatchCreateTasksRequest(tasks=[asked] * 5))
    assert response.ByteSize() < 4 * 1024 * 1024
    assert len(response.tasks) == 5
    for task in response.tasks:
        assert not {"config", "labels", "unit_labels"} & {field.name for field, _ in task.ListFields()}
        stored = await wire.get(task.id)
        assert (stored.config, stored.labels, stored.unit_labels) == (asked.config, asked.labels, asked.unit_labels)
        assert (stored.task_name, stored.revision) == (task.task_name, task.revision)


async def test_the_largest_config_passes(wire: Wire) -> None:
    config = struct({"text": "x" * (MAX_DOCUMENT_BYTES - 20)})
    assert MAX_DOCUMENT_BYTES - 5 < config.ByteSize() <= MAX_DOCUMENT_BYTES
    task = await create(wire, config=config)
    assert (await wire.get(task.id)).config == config


async def test_many_large_tasks_reach_their_unit_at_once(wire: Wire, connect: Connect) -> None:
    config = struct({"text": "x" * 750_000})
    tasks = [await create(wire, config=config, start=True) for _ in range(10)]
    unit = await connect(capacity=10)
    for task in tasks:
        assert (await unit.expect("start", task_id=task.id)).start.config == config


async def test_the_deepest_config_passes_to_everybody_who_is_told_of_it(wire: Wire, unit: RawUnit) -> None:
    deepest = struct(objects_in_objects(24))
    start = await running(wire, unit, config=deepest)
    assert start.start.config == deepest
    carried = unit_pb.CheckpointReport(number=1, data=deepest)
    await unit.report(start, failed=unit_pb.FailedReport(message="x", checkpoint=carried, retry_delay=Duration()))
    assert (await unit.expect("start")).start.checkpoint.data == deepest
    async with watching(wire, after_revision=0) as events:
        assert (await anext(events)).transition.task.config == deepest


async def test_created_and_started_in_one_call(wire: Wire) -> None:
    task = await create(wire, start=True)
    assert task.HasField("queued_at")
    assert status_name(task.status) == "PENDING"
