"""The API's description, as a generator of clients needs it."""

from typing import Any, cast

import pytest

from taskplane.gateway.application import application
from taskplane.gateway.callers import Callers
from taskplane.gateway.services import Services

DOCUMENT = application(cast("Services", None), Callers()).openapi()

# The documented table; other routes are absent.
PATHS = {
    "/api/tasks": {"get", "post"},
    "/api/batch/create": {"post"},
    "/api/batch/control": {"post"},
    "/api/tasks/{taskId}": {"get", "patch", "delete"},
    "/api/tasks/{taskId}/start": {"post"},
    "/api/tasks/{taskId}/pause": {"post"},
    "/api/tasks/{taskId}/resume": {"post"},
    "/api/tasks/{taskId}/cancel": {"post"},
    "/api/tasks/{taskId}/restart": {"post"},
    "/api/tasks/{taskId}/status": {"post"},
    "/api/tasks/{taskId}/history": {"get"},
    "/api/tasks/{taskId}/checkpoints": {"get"},
    "/api/tasks/{taskId}/commands": {"get"},
    "/api/tasks/{taskId}/events": {"get"},
    "/api/events": {"get"},
    "/api/execution-units": {"get", "post"},
    "/api/execution-units/{unitId}": {"get", "delete"},
    "/api/execution-units/{unitId}/heartbeat": {"post"},
    "/api/execution-units/{unitId}/drain": {"post"},
    "/api/statistics": {"get"},
    "/api/statistics/window": {"get"},
    "/metrics": {"get"},
    "/healthz": {"get"},
    "/readyz": {"get"},
}


def operations() -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method} {path}", operation)
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    ]


def test_the_paths_are_those_of_the_table() -> None:
    assert {path: set(methods) for path, methods in DOCUMENT["paths"].items()} == PATHS


@pytest.mark.parametrize(("name", "operation"), operations())
def test_each_operation_is_told_whole(name: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"]
    assert operation["tags"]
    assert "422" not in operation["responses"]
    for code, response in operation["responses"].items():
        if int(code) >= 400:
            content = response["content"]["application/json"]
            assert content["schema"] == {"$ref": "#/components/schemas/ErrorAnswer"}
            assert content["example"]["error"]["code"] == int(code)
    for parameter in operation.get("parameters", ()):
        assert "anyOf" not in parameter["schema"], parameter["name"]


def test_operation_ids_make_good_names() -> None:
    ids = [operation["operationId"] for _, operation in operations()]
    assert len(set(ids)) == len(ids)
    assert all(each.isidentifier() and each[0].islower() for each in ids)


def test_every_body_has_an_example() -> None:
    for name, operation in operations():
        if body := operation.get("requestBody"):
            content = body["content"]["application/json"]["schema"]
            reference = content.get("$ref") or next(each["$ref"] for each in content["anyOf"] if "$ref" in each)
            assert DOCUMENT["components"]["schemas"][reference.rpartition("/")[2]]["examples"], name


def test_every_member_of_a_request_is_described() -> None:
    bodies = [operation["requestBody"] for _, operation in operations() if "requestBody" in operation]
    for body in bodies:
        content = body["content"]["application/json"]["schema"]
        reference = content.get("$ref") or next(each["$ref"] for each in content["anyOf"] if "$ref" in each)
        for name, member in DOCUMENT["components"]["schemas"][reference.rpartition("/")[2]]["properties"].items():
            assert member["description"], f"{reference}: {name}"
    for name, operation in operations():
        for parameter in operation.get("parameters", ()):
            assert parameter["description"], f"{name}: {parameter['name']}"
