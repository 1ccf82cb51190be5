"""Validation and conversion of the requests of HTTP units."""

from taskplane.server.core.documents import MAX_UNIT_CONFIG_BYTES
from taskplane.server.core.endpoint import Endpoints
from taskplane.server.core.errors import InvalidFields
from taskplane.server.core.unit import MAX_UNIT_ID, Registration
from taskplane.server.rpc.bounds import MAX_CAPACITY, MAX_NAME, MAX_UNIT_TYPE
from taskplane.server.rpc.unit_messages import read_task_types
from taskplane.server.rpc.validation import Checker
from taskplane.v1 import execution_unit_control_pb2 as pb


def read_registration(message: pb.RegisterUnitRequest) -> Registration:
    """Read a registration. Raises InvalidFields with every invalid field. HttpUnits checks for allowed endpoints."""
    check = Checker()
    capacity = message.capacity if message.HasField("capacity") else 1
    registration = Registration(
        unit_id=check.unit_id("unit_id", message.unit_id),
        unit_type=check.text("unit_type", message.unit_type, at_least=1, at_most=MAX_UNIT_TYPE),
        unit_name=check.text("unit_name", message.unit_name, at_least=1, at_most=MAX_NAME),
        capacity=check.number("capacity", capacity, at_least=0, at_most=MAX_CAPACITY),
        endpoint=_endpoint(check, message.endpoint),
        config=check.json("config", message.config, at_most=MAX_UNIT_CONFIG_BYTES),
        task_types=read_task_types(check, "task_types", message.task_types),
        labels=check.labels("labels", message.labels),
    )
    try:
        registration.accepted_task_types()
    except InvalidFields as error:
        for each in error.violations:
            check.refuse(each.field, each.description)
    check.done()
    return registration


def _endpoint(check: Checker, endpoint: str) -> str:
    if problem := Endpoints().problem(endpoint):
        check.refuse("endpoint", problem)
    return endpoint


def read_heartbeat(message: pb.HeartbeatRequest) -> tuple[str, int | None]:
    """Read a heartbeat: unit id, and the new capacity or None. Raises InvalidFields."""
    check = Checker()
    unit_id = check.text("unit_id", message.unit_id, at_least=1, at_most=MAX_UNIT_ID)
    capacity = None
    if message.HasField("capacity"):
        capacity = check.number("capacity", message.capacity, at_least=0, at_most=MAX_CAPACITY)
    check.done()
    return unit_id, capacity


def read_unit_id(message: pb.ReportTaskStatusRequest) -> str:
    """Read the unit id of a report. Raises InvalidFields."""
    check = Checker()
    unit_id = check.text("unit_id", message.unit_id, at_least=1, at_most=MAX_UNIT_ID)
    check.done()
    return unit_id
