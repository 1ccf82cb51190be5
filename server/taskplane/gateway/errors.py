"""Errors as HTTP responses, for all routes: `{"error": {code, status, reason, message, details}}`."""

import logging
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import compile_path

from taskplane.gateway.lingering import LingeringResponse
from taskplane.gateway.schema import PATTERN_MEANINGS, Schema, camel_case
from taskplane.server.core.error_bounds import MAX_VIOLATIONS
from taskplane.server.core.errors import (
    Code,
    FieldViolation,
    InvalidFields,
    StaleRevision,
    TaskplaneError,
)

log = logging.getLogger(__name__)

_STATUS = {
    Code.INVALID_ARGUMENT: 400,
    Code.OUT_OF_RANGE: 400,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.FAILED_PRECONDITION: 409,
    Code.ABORTED: 409,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
}
# Levels of the gRPC API's requests that JSON leaves out, and fields with another name in JSON.
_GRPC_LEVELS = re.compile(r"^(context|task|filter)\.")
_RENAMED = {"expectedRevision": "revision", "executionUnitId": "unitId", "request": "body"}


class Refused(TaskplaneError):
    """A use of HTTP that the server does not support."""

    code = Code.INVALID_ARGUMENT

    def __init__(self, http_status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.reason = reason


class InvalidRequest(InvalidFields):
    """Bad fields, with the names of the REST API's requests."""


class FieldViolationAnswer(Schema):
    """One bad field."""

    field: str
    description: str


class ErrorDetails(Schema):
    """Details for programs: facts by name, and every bad field."""

    metadata: dict[str, str]
    field_violations: list[FieldViolationAnswer]


class ErrorContent(Schema):
    """An error: the HTTP status, gRPC's name for its kind, the exact reason, and a text for people."""

    code: int
    status: str
    reason: str
    message: str
    details: ErrorDetails


class ErrorAnswer(Schema):
    """The body of every response to a failed request."""

    error: ErrorContent


def install(app: FastAPI) -> None:
    """Make the application respond to every error in this shape."""
    app.add_exception_handler(TaskplaneError, _on_taskplane_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_routing_error)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(Exception, _on_unexpected_error)


def error_response(error: TaskplaneError, headers: dict[str, str] | None = None) -> Response:
    """Return the response for an error."""
    code = http_status(error)
    content = ErrorContent(
        code=code,
        status=error.code,
        reason=error.reason,
        message=error.message,
        details=ErrorDetails(
            metadata={camel_case(name): value for name, value in error.metadata.items()},
            field_violations=[
                FieldViolationAnswer(field=each.field, description=each.description) for each in error.violations
            ],
        ),
    )
    headers = dict(headers or {})
    if error.retry_delay_seconds is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_delay_seconds)))
    body = ErrorAnswer(error=content).model_dump_json(by_alias=True)
    return LingeringResponse(body, code, headers, media_type="application/json")


def http_status(error: TaskplaneError) -> int:
    """Return the HTTP status of an error."""
    match error:
        case Refused():
            return error.http_status
        case StaleRevision():
            return 412
        case _:
            return _STATUS[error.code]


async def _on_taskplane_error(_: Request, error: Any) -> Response:
    if isinstance(error, InvalidRequest):
        return error_response(_named(error, _http_root))
    return error_response(_in_http_words(error) if error.violations else error)


async def _on_invalid_request(_: Request, error: Any) -> Response:
    found = error.errors()
    return error_response(_named(InvalidFields(*map(_violation, found[:MAX_VIOLATIONS]), found=len(found)), _http_root))


async def _on_routing_error(request: Request, error: Any) -> Response:
    if error.status_code == 404:  # noqa: PLR2004  (Not Found)
        refused = Refused(404, "NO_SUCH_PATH", f"nothing is served at {request.url.path[:200]}; see /docs")
        refused.code = Code.NOT_FOUND
        return error_response(refused)
    if error.status_code == 405:  # noqa: PLR2004  (Method Not Allowed)
        allowed = ", ".join(sorted(_methods(request))) or "GET"
        message = f"{request.method} is not served here; {allowed} is"
        return error_response(Refused(405, "METHOD_NOT_ALLOWED", message), {"allow": allowed})
    return error_response(Refused(error.status_code, "BAD_REQUEST", str(error.detail)))


async def _on_disconnect(_: Request, __: Exception) -> Response:
    return Response(status_code=400)  # the client has left


async def _on_unexpected_error(_: Request, __: Exception) -> Response:
    # The HTTP server receives the error too, and logs it.
    return error_response(TaskplaneError("internal error; the server's log has the details"))


def _methods(request: Request) -> Iterator[str]:
    for path, operations in request.app.openapi()["paths"].items():
        if compile_path(path)[0].match(request.url.path):
            yield from (method.upper() for method in operations)


def _in_http_words(error: TaskplaneError) -> TaskplaneError:
    """Return an error of the services with the field names of the REST API."""
    return _named(error, _http_name)


def _named(error: TaskplaneError, name: Callable[[str], str]) -> TaskplaneError:
    violations = [FieldViolation(name(each.field), each.description) for each in error.violations]
    if isinstance(error, InvalidFields):
        return InvalidFields(*violations)
    error.violations = tuple(violations)
    return error


def _http_name(field: str) -> str:
    name = camel_case(_GRPC_LEVELS.sub("", field))
    return _RENAMED.get(name, name)


def _http_root(field: str) -> str:
    return "body" if field == "request" else field


def _violation(found: Any) -> FieldViolation:
    where, *path = found["loc"]
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
    return FieldViolation(name[:200] or where, _description(found))


def _description(found: Any) -> str:
    match found["type"]:
        case "missing":
            return "is required"
        case "extra_forbidden":
            return "is not known here"
        case "dict_type" | "model_type" | "model_attributes_type":
            return "must be a JSON object"
        case "string_pattern_mismatch":
            return PATTERN_MEANINGS.get(found["ctx"]["pattern"], str(found["msg"]))
        case "value_error":
            return str(found["ctx"]["error"])
        case _:
            return str(found["msg"])
