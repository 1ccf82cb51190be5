"""Verbs on many tasks: an outcome for each task, one transaction for all, and a repeat applies to the same tasks."""

import asyncio
from collections.abc import Iterable
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2
from rpc.conftest import Connect
from rpc.raw_unit import RawUnit
from rpc.refusals import refusal_of
from rpc.server import ServerUnderTest, Wire, status_name
from rpc.tasks import create, paused, running, spec, task_in

from taskplane.server.idempotency import responses
from taskplane.v1 import execution_unit_control_pb2 as unit_pb
from taskplane.v1 import execution_unit_pb2, task_pb2
from taskplane.v1 import task_service_pb2 as pb

ONCE = pb.RequestContext(request_id="4711", actor="ada", reason="all of them")
OK = (code_pb2.OK, "")
ILLEGAL = (code_pb2.FAILED_PRECONDITION, "ILLEGAL_TRANSITION")
NOT_FINAL = (code_pb2.FAILED_PRECONDITION, "TASK_NOT_FINAL")
NOT_FOUND = (code_pb2.NOT_FOUND, "TASK_NOT_FOUND")
PENDING_WORK = pb.TaskFilter(statuses=[task_pb2.TASK_STATUS_PENDING], task_types=["WORK"])
NOWHERE = 2**63 - 1
UNKNOWN: Any = 99  # of an enum


@pytest.fixture
def served_url(database_url: str) -> str:
    return database_url


def request(verb: str, task_ids: Iterable[int] = (), **fields: Any) -> pb.BatchControlTasksRequest:
    return pb.BatchControlTasksRequest(verb=pb.BatchVerb.Value(f"BATCH_VERB_{verb}"), task_ids=task_ids, **fields)


async def control(wire: Wire, verb: str, task_ids: Iterable[int] = (), **fields: Any) -> dict[int, tuple[int, str]]:
    """Return the code and reason of each task, by id, in the order of the response."""
    response = await wire.tasks.BatchControlTasks(request(verb, task_ids, **fields))
    assert all(bool(each.message) == bool(each.code) for each in response.results)
    return {each.task_id: (each.code, each.reason) for each in response.results}


async def status(wire: Wire, task_id: int) -> str:
    return status_name((await wire.get(task_id)).status)


async def create_many(wire: Wire, count: int) -> list[int]:
    response = await wire.tasks.BatchCreateTasks(pb.BatchCreateTasksRequest(tasks=[spec()] * count))
    return [task.id for task in response.tasks]


async def latest_revision(wire: Wire) -> int:
    return (await create(wire)).revision - 1


async def test_each_task_has_its_own_outcome(wire: Wire, connect: Connect) -> None:
    unit = await connect(capacity=2)
    ids = [await task_in(each, wire, unit) for each in ("PAUSED", "SUCCESS", "CANCELLED", "RUNNING", "PENDING")]
    outcomes = await control(wire, "CANCEL", [NOWHERE, *reversed(ids)])
    assert list(outcomes) == [*ids, NOWHERE]
    assert list(outcomes.values()) == [OK, ILLEGAL, OK, OK, OK, NOT_FOUND]
    assert [await wire.statuses(task_id) for task_id in ids[1:3]] == [
        ["PENDING", "RUNNING", "SUCCESS"],
        ["PENDING", "CANCELLED"],
    ]


async def test_an_error_says_what_the_verb_for_the_task_alone_says(wire: Wire) -> None:
    task = await create(wire)
    alone = await refusal_of(wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=task.id)))
    (result,) = (await wire.tasks.BatchControlTasks(request("PAUSE", [task.id]))).results
    assert (result.message, result.reason) == (alone.message, alone.reason)
    assert (await wire.get(task.id)).revision == task.revision


@pytest.mark.parametrize(
    ("verb", "before", "after"),
    [
        ("START", "PENDING", "RUNNING"),
        ("RESUME", "PAUSED", "RUNNING"),
        ("CANCEL", "PENDING", "CANCELLED"),
        ("RESTART", "FAILED", "RUNNING"),
    ],
)
async def test_a_verb_does_what_it_does_alone(verb: str, before: str, after: str, wire: Wire, connect: Connect) -> None:
    unit = await connect(capacity=2)
    ids = [await task_in(before, wire, unit) for _ in range(2)]
    assert await control(wire, verb, ids, context=ONCE) == dict.fromkeys(ids, OK)
    for task_id in ids:
        assert await status(wire, task_id) == after
        asked = [each for each in await wire.history(task_id) if each.changed_by == "ada"]
        assert any("all of them" in each.reason for each in asked)


async def test_commands_reach_the_unit_each_under_its_own_id(wire: Wire, connect: Connect) -> None:
    unit = await connect(capacity=3)
    ids = [(await running(wire, unit)).task_id for _ in range(3)]
    assert await control(wire, "PAUSE", ids) == dict.fromkeys(ids, OK)
    pauses = [await unit.expect("pause", task_id=task_id) for task_id in ids]
    assert len({each.command_id for each in pauses}) == 3
    assert [await status(wire, task_id) for task_id in ids] == ["RUNNING"] * 3  # effects are not waited for
    assert await control(wire, "CANCEL", ids[:2]) == dict.fromkeys(ids[:2], OK)
    for task_id in ids[:2]:
        await unit.report(await unit.expect("cancel", task_id=task_id), cancelled=unit_pb.CancelledReport())
    await unit.report(pauses[2], paused=unit_pb.PausedReport())
    await unit.all_acknowledged()
    assert [await status(wire, task_id) for task_id in ids] == ["CANCELLED", "CANCELLED", "PAUSED"]


async def test_what_the_unit_cannot_pause_keeps_nothing_from_the_others(wire: Wire, connect: Connect) -> None:
    cannot = execution_unit_pb2.TaskTypeSupport(task_type="BLOCK")
    blocked = (await running(wire, await connect("unit-2", task_types=[cannot]), task_type="BLOCK")).task_id
    other = (await running(wire, await connect("unit-1"))).task_id
    outcomes = await control(wire, "PAUSE", [blocked, other])
    assert outcomes == {blocked: (code_pb2.FAILED_PRECONDITION, "UNIT_CANNOT_PAUSE"), other: OK}
    assert [(await wire.get(each)).HasField("pending_command") for each in (blocked, other)] == [False, True]


async def test_a_delete_is_of_what_is_final(wire: Wire, unit: RawUnit) -> None:
    ids = [await task_in(each, wire, unit) for each in ("SUCCESS", "FAILED", "CANCELLED", "PENDING", "RUNNING")]
    outcomes = await control(wire, "DELETE", ids)
    assert list(outcomes.values()) == [OK, OK, OK, NOT_FINAL, NOT_FINAL]
    left = (await wire.tasks.ListTasks(pb.ListTasksRequest(order=pb.TASK_ORDER_OLDEST_FIRST))).tasks
    assert [task.id for task in left] == ids[3:]


async def test_a_filter_chooses_up_to_so_many(wire: Wire) -> None:
    ids = await create_many(wire, 3)
    other = await create(wire, task_type="OTHER")
    assert await control(wire, "CANCEL", filter=PENDING_WORK, max_tasks=3) == dict.fromkeys(ids, OK)
    assert await status(wire, other.id) == "PENDING"
    assert await control(wire, "CANCEL", filter=PENDING_WORK) == {}


async def test_when_a_filter_chooses_too_many_nothing_is_done(wire: Wire) -> None:
    ids = await create_many(wire, 3)
    for fields in ({}, {"context": ONCE}, {"validate_only": True}):
        call = wire.tasks.BatchControlTasks(request("CANCEL", filter=PENDING_WORK, max_tasks=2, **fields))
        refusal = await refusal_of(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_TASKS")
        assert refusal.metadata == {"max_tasks": "2"}
    assert [await wire.statuses(task_id) for task_id in ids] == [["PENDING"]] * 3
    # Refused, so the id may be used again.
    assert await control(wire, "CANCEL", ids, context=ONCE) == dict.fromkeys(ids, OK)


async def test_a_thousand_tasks_are_controlled_by_one_call_and_not_one_more(wire: Wire) -> None:
    ids = await create_many(wire, 1000)
    assert await control(wire, "CANCEL", ids) == dict.fromkeys(ids, OK)
    assert await control(wire, "RESTART", filter=pb.TaskFilter()) == dict.fromkeys(ids, OK)
    await create(wire)
    refusal = await refusal_of(wire.tasks.BatchControlTasks(request("CANCEL", filter=pb.TaskFilter())))
    assert (refusal.reason, refusal.metadata) == ("TOO_MANY_TASKS", {"max_tasks": "1000"})
    assert await wire.statuses(ids[-1]) == ["PENDING", "CANCELLED", "PENDING"]


async def test_what_would_be_done_can_be_seen_before(wire: Wire, connect: Connect) -> None:
    unit = await connect(capacity=2)
    statuses = ("PENDING", "RUNNING", "PAUSED", "SUCCESS", "CANCELLED")
    ids = [await task_in(each, wire, unit) for each in statuses]
    before = await latest_revision(wire)
    commands = len(unit.commands)
    for verb in ("START", "PAUSE", "RESUME", "CANCEL", "RESTART", "DELETE"):
        by_id = await control(wire, verb, [*ids, NOWHERE], validate_only=True, context=ONCE)
        assert by_id[NOWHERE] == NOT_FOUND
        by_filter = await control(
            wire, verb, filter=pb.TaskFilter(statuses=[task_pb2.TASK_STATUS_PAUSED]), validate_only=True
        )
        assert by_filter == {ids[2]: by_id[ids[2]]}
    assert await control(wire, "DELETE", ids, validate_only=True) == dict(
        zip(ids, [NOT_FINAL, NOT_FINAL, NOT_FINAL, OK, OK], strict=True)
    )
    assert await latest_revision(wire) == before + 1  # the key of the earlier task
    assert tuple([await status(wire, task_id) for task_id in ids]) == statuses
    assert len(unit.commands) == commands


async def test_a_look_ahead_leaves_the_request_id_alone(wire: Wire) -> None:
    first, second = await create_many(wire, 2)
    done = await control(wire, "CANCEL", [first], context=ONCE)
    assert await control(wire, "PAUSE", [second], context=ONCE, validate_only=True) == {second: ILLEGAL}
    assert await control(wire, "CANCEL", [first], context=ONCE) == done


async def test_a_repeat_gets_the_first_answer(wire: Wire, server: ServerUnderTest) -> None:
    (task_id,) = await create_many(wire, 1)
    first = await control(wire, "CANCEL", [task_id, NOWHERE], context=ONCE)
    await wire.tasks.RestartTask(pb.RestartTaskRequest(task_id=task_id))
    assert await control(wire, "CANCEL", [task_id, NOWHERE], context=ONCE) == first
    await server.stop()
    await server.start()
    await wire.channel.channel_ready()
    assert await control(wire, "CANCEL", [task_id, NOWHERE], context=ONCE) == first
    assert await status(wire, task_id) == "PENDING"


async def test_repeats_at_the_same_time_are_done_once(wire: Wire) -> None:
    ids = await create_many(wire, 3)
    calls = (control(wire, "CANCEL", filter=PENDING_WORK, context=ONCE) for _ in range(20))
    assert await asyncio.gather(*calls) == [dict.fromkeys(ids, OK)] * 20
    assert [await wire.statuses(task_id) for task_id in ids] == [["PENDING", "CANCELLED"]] * 3


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("more", [0, 1, 5])
async def test_a_repeat_is_about_the_tasks_of_the_first_whatever_its_filter_chooses_by_now(
    more: int, wire: Wire, server: ServerUnderTest, *, restarts: bool
) -> None:
    ids = await create_many(wire, 2)
    cancel: dict[str, Any] = {"filter": PENDING_WORK, "max_tasks": 3, "context": ONCE}
    first = await control(wire, "CANCEL", **cancel)
    assert first == dict.fromkeys(ids, OK)
    later = await create_many(wire, more) if more else []
    if restarts:
        await server.stop()
        await server.start()
        await wire.channel.channel_ready()
    assert await control(wire, "CANCEL", **cancel) == first
    assert [await status(wire, task_id) for task_id in later] == ["PENDING"] * more


@pytest.mark.parametrize("more", [0, 2, 5])
async def test_a_repeat_whose_answer_was_not_kept_tells_what_the_first_call_told(
    more: int, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "MAX_RESPONSE_BYTES", -1)
    gone, there = await create_many(wire, 2)
    cancel: dict[str, Any] = {"filter": PENDING_WORK, "max_tasks": 3, "context": ONCE}
    await control(wire, "CANCEL", **cancel)
    await control(wire, "DELETE", [gone])
    later = await create_many(wire, more) if more else []
    assert await control(wire, "CANCEL", **cancel) == {gone: OK, there: OK}
    assert [await status(wire, task_id) for task_id in later] == ["PENDING"] * more


async def test_a_repeat_of_a_filter_that_chose_nothing_does_nothing(wire: Wire) -> None:
    assert await control(wire, "CANCEL", filter=PENDING_WORK, context=ONCE) == {}
    task = await create(wire)
    assert await control(wire, "CANCEL", filter=PENDING_WORK, context=ONCE) == {}
    assert await status(wire, task.id) == "PENDING"


async def test_a_request_id_is_for_one_call(wire: Wire) -> None:
    ids = await create_many(wire, 2)
    await control(wire, "CANCEL", ids[:1], context=ONCE)
    others = [
        request("CANCEL", ids, context=ONCE),
        request("START", ids[:1], context=ONCE),
        request("CANCEL", filter=pb.TaskFilter(), context=ONCE),
        request("CANCEL", filter=pb.TaskFilter(), max_tasks=1, context=ONCE),  # too many, too
    ]
    for other in others:
        refusal = await refusal_of(wire.tasks.BatchControlTasks(other))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")
        assert refusal.metadata == {"request_id": "4711", "method": "BatchControlTasks"}
    refusal = await refusal_of(wire.tasks.CreateTask(pb.CreateTaskRequest(task=spec(), context=ONCE)))
    assert refusal.reason == "REQUEST_ID_REUSED"
    assert await status(wire, ids[1]) == "PENDING"


async def test_a_held_task_is_resumed_where_it_is_held(wire: Wire, unit: RawUnit) -> None:
    pause = await paused(wire, unit)
    assert await control(wire, "RESUME", [pause.task_id]) == {pause.task_id: OK}
    assert (await unit.expect("resume")).resume.held_attempt == pause.attempt


BAD: list[tuple[str, dict[str, Any], list[str]]] = [
    ("no verb", {"verb": 0, "task_ids": [1]}, ["verb"]),
    ("an unknown verb", {"verb": UNKNOWN, "task_ids": [1]}, ["verb"]),
    ("neither ids nor a filter", {"verb": 4}, ["task_ids"]),
    ("ids and a filter", {"verb": 4, "task_ids": [1], "filter": pb.TaskFilter()}, ["task_ids"]),
    ("an id twice", {"verb": 4, "task_ids": [7, 7]}, ["task_ids"]),
    ("ids that are none", {"verb": 4, "task_ids": [0, 1, -5]}, ["task_ids[0]", "task_ids[2]"]),
    ("1001 ids", {"verb": 4, "task_ids": range(1, 1002)}, ["task_ids"]),
    ("max_tasks without a filter", {"verb": 4, "task_ids": [1], "max_tasks": 1}, ["max_tasks"]),
    ("max_tasks of 1001", {"verb": 4, "filter": pb.TaskFilter(), "max_tasks": 1001}, ["max_tasks"]),
    ("negative max_tasks", {"verb": 4, "filter": pb.TaskFilter(), "max_tasks": -1}, ["max_tasks"]),
    ("a bad filter", {"verb": 4, "filter": pb.TaskFilter(task_types=["a b"])}, ["filter.task_types[0]"]),
    (
        "a revision",
        {"verb": 4, "task_ids": [1], "context": pb.RequestContext(expected_revision=1)},
        ["context.expected_revision"],
    ),
    (
        "several at once",
        {"verb": 0, "task_ids": [0], "context": pb.RequestContext(expected_revision=-1, actor="x" * 256)},
        ["verb", "task_ids[0]", "context.expected_revision", "context.actor"],
    ),
]


@pytest.mark.parametrize(("case", "fields", "names"), BAD, ids=[row[0] for row in BAD])
async def test_every_bad_field_is_named(case: str, fields: dict[str, Any], names: list[str], wire: Wire) -> None:
    task = await create(wire)
    refusal = await refusal_of(wire.tasks.BatchControlTasks(pb.BatchControlTasksRequest(**fields)))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELDS")
    assert sorted(refusal.fields) == sorted(names)
    assert (await wire.get(task.id)).revision == task.revision
