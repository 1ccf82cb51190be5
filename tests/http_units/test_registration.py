"""Registrations of units: first, repeated, and refused."""

from typing import Any

import grpc
import pytest
from http_units.calls import Calls, struct
from http_units.scripted_unit import ScriptedUnit, always
from rpc.raw_unit import hello
from rpc.refusals import refusal_of
from rpc.server import Wire, eventually

from taskplane.server.config import ServerConfig
from taskplane.v1 import execution_unit_control_pb2 as pb
from taskplane.v1 import execution_unit_pb2
from taskplane.v1 import operations_service_pb2 as operations_pb
from taskplane.v1.execution_unit_pb2 import TaskTypeSupport


async def test_the_requirements_example_registers(calls: Calls) -> None:
    answer = await calls.wire.units.RegisterUnit(
        pb.RegisterUnitRequest(
            unit_type="DOCKER_CONTAINER",
            unit_name="data-processor-1",
            capacity=5,
            endpoint="http://processor:8080",
            config=struct({}),
        )
    )
    unit = answer.unit
    assert (unit.unit_type, unit.unit_name, unit.capacity) == ("DOCKER_CONTAINER", "data-processor-1", 5)
    assert unit.endpoint == "http://processor:8080"
    assert unit.status == execution_unit_pb2.EXECUTION_UNIT_STATUS_AVAILABLE
    assert not unit.task_types, "it takes every type"
    assert (answer.heartbeat_interval.ToSeconds(), answer.lease_duration.ToSeconds()) == (5, 30)
    assert await calls.unit(unit.id) == unit


async def test_task_types_come_from_the_registration_then_the_config_else_all_are_taken(calls: Calls) -> None:
    config = struct({"taskTypes": ["B", "C"]})
    only_run = TaskTypeSupport(task_type="A")
    named = await calls.register("http://127.0.0.1:1/a", unit_name="a", task_types=[only_run], config=config)
    assert list(named.task_types) == [only_run]
    configured = await calls.register("http://127.0.0.1:1/b", unit_name="b", config=config)
    assert [(each.task_type, each.can_pause, each.can_checkpoint) for each in configured.task_types] == [
        ("B", True, True),
        ("C", True, True),
    ]
    plain = await calls.register("http://127.0.0.1:1/c", unit_name="c")
    assert not plain.task_types


async def test_a_unit_that_registers_again_keeps_its_id_and_changes_the_rest(calls: Calls, unit: ScriptedUnit) -> None:
    first = await calls.register(unit, capacity=1)
    again = await calls.register(f"{unit.endpoint}/v2/", capacity=7, labels={"gpu": "yes"})
    assert again.id == first.id
    assert again.session_id != first.session_id
    assert (again.capacity, dict(again.labels), again.endpoint) == (7, {"gpu": "yes"}, f"{unit.endpoint}/v2/")
    assert again.created_at == first.created_at
    request = await calls.accepted(unit)
    assert request.path == "/v2/execute"


async def test_other_names_are_other_units_and_an_id_of_its_own_is_kept(calls: Calls, unit: ScriptedUnit) -> None:
    first = await calls.register(unit, unit_name="one")
    second = await calls.register(unit, unit_name="two")
    own = await calls.register(unit, unit_id="my-unit", unit_name="three")
    assert own.id == "my-unit"
    assert len({first.id, second.id, own.id}) == 3
    assert (await calls.register(unit, unit_id="my-unit", unit_name="four")).id == "my-unit"


async def test_two_units_share_a_host_under_different_paths(calls: Calls, unit: ScriptedUnit) -> None:
    for path in ("red", "blue"):
        await calls.register(f"{unit.endpoint}/units/{path}", unit_name=path, labels={"colour": path})
    unit.on("status", always(200, {"status": "RUNNING"}))
    red = await calls.accepted(unit, unit_labels={"colour": "red"})
    blue = await calls.accepted(unit, unit_labels={"colour": "blue"})
    assert (red.path, blue.path) == ("/units/red/execute", "/units/blue/execute")
    polls = await eventually(
        lambda: _polls(unit), lambda found: {each.split("/")[2] for each in found} == {"red", "blue"}
    )
    assert {f"/units/red/status/{red.task_id}", f"/units/blue/status/{blue.task_id}"} == set(polls)


async def _polls(unit: ScriptedUnit) -> list[str]:
    return [each.path for each in unit.requests if each.route == "status"]


BAD_REGISTRATIONS: list[tuple[str, dict[str, Any], list[str]]] = [
    ("no endpoint", {"endpoint": ""}, ["endpoint"]),
    ("a file", {"endpoint": "file:///etc/passwd"}, ["endpoint"]),
    ("no host", {"endpoint": "http://:8080"}, ["endpoint"]),
    ("no scheme", {"endpoint": "processor:8080"}, ["endpoint"]),
    ("a user", {"endpoint": "http://me:secret@processor"}, ["endpoint"]),
    ("a fragment", {"endpoint": "http://processor/#top"}, ["endpoint"]),
    ("a query", {"endpoint": "http://processor/?x=1"}, ["endpoint"]),
    ("a space", {"endpoint": "http://processor/a b"}, ["endpoint"]),
    ("port 0", {"endpoint": "http://processor:0"}, ["endpoint"]),
    ("port 70000", {"endpoint": "http://processor:70000"}, ["endpoint"]),
    ("a bad address", {"endpoint": "http://[::1"}, ["endpoint"]),
    ("an empty label", {"endpoint": "http://a..b"}, ["endpoint"]),
    ("501 characters", {"endpoint": "http://processor/" + "x" * 484}, ["endpoint"]),
    ("no type", {"unit_type": " "}, ["unit_type"]),
    ("no name", {"unit_name": ""}, ["unit_name"]),
    ("a long id", {"unit_id": "x" * 251}, ["unit_id"]),
    ("an id with a slash", {"unit_id": "eu/west"}, ["unit_id"]),
    ("an id that ends with a space", {"unit_id": "x "}, ["unit_id"]),
    ("capacity -1", {"capacity": -1}, ["capacity"]),
    ("config.taskTypes is no list", {"config": struct({"taskTypes": "A"})}, ["config.taskTypes"]),
    ("config.taskTypes is empty", {"config": struct({"taskTypes": []})}, ["config.taskTypes"]),
    ("config.taskTypes has numbers", {"config": struct({"taskTypes": [1]})}, ["config.taskTypes"]),
    ("a task type with spaces", {"task_types": [TaskTypeSupport(task_type="not ok")]}, ["task_types[0].task_type"]),
    ("several at once", {"unit_name": "", "capacity": 10_001}, ["unit_name", "capacity"]),
    (
        "some of each kind",
        {"unit_type": "", "endpoint": "processor", "config": struct({"taskTypes": 1})},
        ["unit_type", "endpoint", "config.taskTypes"],
    ),
]


@pytest.mark.parametrize(("case", "changes", "fields"), BAD_REGISTRATIONS, ids=[each[0] for each in BAD_REGISTRATIONS])
async def test_a_bad_registration_is_refused_with_every_bad_field(
    case: str, changes: dict[str, Any], fields: list[str], calls: Calls
) -> None:
    request = {"unit_type": "WORK", "unit_name": "bad", "endpoint": "http://processor"} | changes
    refusal = await refusal_of(calls.wire.units.RegisterUnit(pb.RegisterUnitRequest(**request)))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELDS")
    assert refusal.fields == fields
    assert not (await calls.wire.operations.ListUnits(operations_pb.ListUnitsRequest())).units


async def test_a_bad_report_is_refused_with_every_bad_field(wire: Wire) -> None:
    report = pb.Report(attempt=-1, checkpoint=pb.CheckpointReport(number=0))
    request = pb.ReportTaskStatusRequest(unit_id="scripted", report=report)
    refusal = await refusal_of(wire.units.ReportTaskStatus(request))
    assert refusal.fields == ["report.task_id", "report.attempt", "report.checkpoint.number"]


async def test_a_heartbeat_changes_the_capacity(calls: Calls, unit: ScriptedUnit) -> None:
    unit_id = (await calls.register(unit, capacity=0)).id
    task_id = await calls.start()
    assert (await calls.heartbeat(unit_id)).capacity == 0
    assert (await calls.heartbeat(unit_id, capacity=2)).capacity == 2
    await unit.expect("execute", task_id)


async def test_heartbeats_of_others_are_refused(wire: Wire, calls: Calls) -> None:
    unknown = await refusal_of(calls.heartbeat("nobody"))
    assert (unknown.code, unknown.reason) == (grpc.StatusCode.NOT_FOUND, "UNIT_NOT_FOUND")
    bad = await refusal_of(wire.units.Heartbeat(pb.HeartbeatRequest(capacity=-1)))
    assert bad.fields == ["unit_id", "capacity"]
    assert (await refusal_of(calls.heartbeat("x" * 251))).fields == ["unit_id"]
    stream = wire.units.Connect()
    await stream.write(pb.UnitMessage(hello=hello("on-a-stream")))
    assert isinstance(await stream.read(), pb.ServerMessage)
    refusal = await refusal_of(calls.heartbeat("on-a-stream"))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "UNIT_HAS_STREAM")
    stream.cancel()


class TestAllowedEndpoints:
    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {"allowed_endpoints": "processor, 10.0.0.0/8"}

    @pytest.mark.parametrize("endpoint", ["http://processor:8080", "https://PROCESSOR/x", "http://10.1.2.3"])
    async def test_hosts_and_networks_that_are_listed_are_taken(self, endpoint: str, calls: Calls) -> None:
        assert (await calls.register(endpoint)).endpoint == endpoint

    @pytest.mark.parametrize("endpoint", ["http://other", "http://11.0.0.1", "http://[::1]", "http://10.0.0.1.example"])
    async def test_others_are_not(self, endpoint: str, calls: Calls) -> None:
        assert (await refusal_of(calls.register(endpoint))).fields == ["endpoint"]


def test_a_setting_that_is_no_network_is_refused() -> None:
    with pytest.raises(ValueError, match="neither a host name nor a network"):
        ServerConfig(allowed_endpoints="10.0.0.0/99")  # type: ignore[arg-type]  # as the environment gives it
