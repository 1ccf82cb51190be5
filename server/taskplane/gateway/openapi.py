"""The OpenAPI document, at /openapi.json."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from taskplane.gateway.errors import ErrorAnswer
from taskplane.gateway.requests import Body
from taskplane.gateway.responses import schemas
from taskplane.gateway.task_responses import STATUS_RESPONSE, TASK_PAGE
from taskplane.gateway.unit_responses import UNIT_SCHEMAS
from taskplane.v1 import operations_service_pb2, task_pb2
from taskplane.v1 import task_service_pb2 as pb

_ERRORS = {
    400: ("INVALID_ARGUMENT", "INVALID_FIELDS", "Invalid input; every bad field is named."),
    403: (
        "PERMISSION_DENIED",
        "ORIGIN_NOT_ALLOWED",
        "A web page of another site, or an unknown host name.",
    ),
    404: ("NOT_FOUND", "TASK_NOT_FOUND", "The task, unit or path does not exist."),
    408: ("INVALID_ARGUMENT", "BODY_TIMEOUT", "The body did not arrive in time."),
    409: ("FAILED_PRECONDITION", "ILLEGAL_TRANSITION", "The present status does not allow the request."),
    412: ("ABORTED", "STALE_REVISION", "`revision` differs from the task's revision."),
    413: ("INVALID_ARGUMENT", "BODY_TOO_LARGE", "The body is too large."),
    415: ("INVALID_ARGUMENT", "UNSUPPORTED_MEDIA_TYPE", "The body is not declared as JSON in UTF-8."),
    429: ("RESOURCE_EXHAUSTED", "TOO_MANY_READS", "Overload; see Retry-After."),
    503: (
        "UNAVAILABLE",
        "DATABASE_UNAVAILABLE",
        "The database is not reachable, or the server is stopping; see Retry-After.",
    ),
    504: (
        "DEADLINE_EXCEEDED",
        "COMMAND_PENDING",
        "The time ran out. A command stays pending and takes effect later; narrow the filter of a list.",
    ),
}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}}
_SCHEMAS = "#/components/schemas/{model}"
DESCRIPTION = """Controls long-running tasks: create, start, pause, resume, cancel, restart, delete, watch.

Ids are numbers, times are RFC 3339 in UTC, unknown fields are refused. Repeating a verb whose effect already holds is
harmless. gRPC (taskplane.v1) serves the same tasks."""


_RESPONSES = (
    task_pb2.Task,
    pb.BatchCreateTasksResponse,
    pb.BatchControlTasksResponse,
    pb.ListTaskTransitionsResponse,
    pb.ListTaskCheckpointsResponse,
    pb.ListTaskCommandsResponse,
    operations_service_pb2.GetStatisticsResponse,
)


def errors(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Return the descriptions of a route's errors, with the errors of every route."""
    return {code: _described(code) for code in sorted({400, 403, 429, 503, *codes})}


def description_of(app: FastAPI, bodies: Sequence[Body[Any]]) -> dict[str, Any]:
    """Return the OpenAPI document, built once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
        )
        _drop_validation_errors(document)
        _add_error_schemas(document)
        _add_schemas(document, bodies)
        _drop_null_parameters(document)
        app.openapi_schema = document
    return app.openapi_schema


def _described(code: int) -> dict[str, Any]:
    status, reason, text = _ERRORS[code]
    content = {
        "code": code,
        "status": status,
        "reason": reason,
        "message": text,
        "details": {"metadata": {}, "fieldViolations": []},
    }
    # Not as a `model`: FastAPI would give it the media type of the route's success.
    schema = {"$ref": _SCHEMAS.format(model=ErrorAnswer.__name__)}
    body = {"application/json": {"schema": schema, "example": {"error": content}}}
    described: dict[str, Any] = {"description": text, "content": body}
    return described | ({"headers": _RETRY_AFTER} if code in {429, 503} else {})


def _add_error_schemas(document: dict[str, Any]) -> None:
    schema = ErrorAnswer.model_json_schema(mode="serialization", ref_template=_SCHEMAS)
    document["components"]["schemas"] |= schema.pop("$defs") | {ErrorAnswer.__name__: schema}


def _add_schemas(document: dict[str, Any], bodies: Sequence[Body[Any]]) -> None:
    found = document["components"]["schemas"]
    found |= schemas(_RESPONSES) | {"TaskPage": TASK_PAGE, "TaskStatusResponse": STATUS_RESPONSE}
    found |= UNIT_SCHEMAS
    found |= {each.name: each.schema() for each in bodies}


def _drop_null_parameters(document: dict[str, Any]) -> None:
    """Remove null from the types of parameters: a query has no null."""
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", ()):
                schema = parameter["schema"]
                parameter["schema"] = schema | next((each for each in schema.pop("anyOf", ())), {})


def _drop_validation_errors(document: dict[str, Any]) -> None:
    """Remove FastAPI's 422: invalid requests are 400."""
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
