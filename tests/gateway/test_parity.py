"""The REST API has every method of the gRPC API for clients, and every field of its requests."""

from typing import Any

from taskplane.gateway import operations, task_requests, unit_requests
from taskplane.gateway.json_messages import Member
from taskplane.gateway.requests import Shape
from taskplane.v1 import operations_service_pb2, task_service_pb2

# Requests that have no more than the id in the path.
BY_PATH_ALONE = {"GetTaskRequest", "GetUnitRequest", "DeleteUnitRequest"}
# Fields with another name or form in JSON: ids in the path, `wait`, `limit`, `sort`, the members of a PATCH.
ELSEWHERE = {
    *("task_id", "task_ids", "unit_id", "no_wait", "page_size", "order", "no_snapshot", "update_mask"),
    # REST always includes both; the REST list of units has numbered pages.
    *("include_total", "include_progress", "page_token"),
}
# A condition on the revision of tasks that have none yet, or of many tasks; fields that cannot change.
MEANINGLESS = {
    "CreateTaskRequest": {"context.expected_revision"},
    "BatchCreateTasksRequest": {"context.expected_revision"},
    "BatchControlTasksRequest": {"context.expected_revision"},
    "UpdateTaskRequest": {"task.task_name", "task.task_type", "task.config", "task.start"},
}


def shapes() -> dict[str, Shape[object]]:
    modules = (task_requests, unit_requests, operations)
    found = [each for module in modules for each in vars(module).values() if isinstance(each, Shape)]
    # Of two shapes of a message, that with more members.
    return {each.name: each for each in sorted(found, key=lambda each: len(each.members))}


def test_every_method_for_clients_has_a_request() -> None:
    files = (task_service_pb2, operations_service_pb2)
    services = [service for file in files for service in file.DESCRIPTOR.services_by_name.values()]
    methods = {method.input_type.name for service in services for method in service.methods}
    assert methods - BY_PATH_ALONE - shapes().keys() == set()


def test_every_field_of_a_request_is_a_member() -> None:
    for name, shape in shapes().items():
        paths = {each.path for each in shape.members.values()}
        descriptor: Any = shape.message_type.DESCRIPTOR
        for field in descriptor.fields:
            if field.name in ELSEWHERE | paths:
                continue
            # Otherwise a level that JSON leaves out.
            inner = {f"{field.name}.{each.name}" for each in field.message_type.fields}
            assert inner - paths == MEANINGLESS.get(name, set()) & inner, f"{name}.{field.name}"


def test_names_in_json_say_their_unit() -> None:
    members: dict[str, Member] = task_requests.CREATE.members["limits"].members  # type: ignore[assignment]
    assert set(members) == {"runBudgetSeconds", "deadline", "queueTimeoutSeconds", "stallTimeoutSeconds"}
