"""Bodies of requests, read within limits of size and time, and parsed strictly."""

import asyncio
import email.message
import functools
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar, get_args, get_type_hints

from fastapi.routing import APIRoute, APIRouter
from starlette.requests import Request
from starlette.responses import Response

from taskplane.gateway.errors import Refused
from taskplane.gateway.requests import Body, Given, QueryString
from taskplane.gateway.schema import DOCUMENT_BODY_BYTES, MAX_FIELDS, Schema
from taskplane.gateway.strict_json import NotStrictJson, parse
from taskplane.protocol.documents import DocumentError
from taskplane.server.core.documents import LARGE_BYTES, check
from taskplane.server.core.error_bounds import MAX_VIOLATIONS
from taskplane.server.core.errors import DatabaseSilent, FieldViolation, InvalidFields
from taskplane.server.core.off_loop import off_loop

R = TypeVar("R")

# The most that any body has.
MAX_BODY_BYTES = DOCUMENT_BODY_BYTES
READ_SECONDS = 10.0
# Seconds after which a call is abandoned; waits for effects end earlier.
CALL_SECONDS = 90.0


class StrictRoute(APIRoute):
    """A route that reads and parses its JSON body itself, and always responds in time.

    The result of the route's function is not validated: a stored row that breaks a newer rule must not turn a whole
    list into a 500.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **settings: Any) -> None:
        # Responses are described by their schemas, not by the annotation of the function.
        if get_type_hints(endpoint).get("return") is bytes:
            settings["response_model"] = None
        super().__init__(path, _rendering(endpoint, settings.get("status_code") or HTTPStatus.OK), **settings)
        if self.shapes:
            self.openapi_extra = {name: each for shape in self.shapes for name, each in shape.described().items()}

    @property
    def shapes(self) -> list[Body[Any] | QueryString[Any]]:
        """The bodies and queries among the dependencies."""
        calls: list[Any] = [each.call for each in self.dependant.dependencies]
        return [each for each in calls if isinstance(each, Body | QueryString)]

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler."""
        handle = super().get_route_handler()
        body = self.body_field and _model(self.body_field.field_info.annotation)
        has_shape = any(isinstance(each, Body) for each in self.shapes)

        async def strict(request: Request) -> Response:
            if has_shape:
                budget = request.app.state.body_budget
                with budget.share() as take:
                    request.scope["taskplane.body"] = partial(_given, take)
                    return await _timely(handle(request))
            if not body:
                _refuse_body(request)
                return await _timely(handle(request))
            budget = request.app.state.body_budget
            with budget.share() as take:
                request = await _with_json(request, body, take)
                return await _timely(handle(request))

        return strict


def bodies_of(router: APIRouter) -> list[Body[Any]]:
    """Return the bodies of a router's routes."""
    shapes = [shape for route in router.routes if isinstance(route, StrictRoute) for shape in route.shapes]
    return [each for each in shapes if isinstance(each, Body)]


def _rendering(call: Callable[..., Any], status: int) -> Callable[..., Any]:
    """Wrap a route's function: return its result as a response, with the headers that the function has set."""

    @functools.wraps(call)
    async def render(**values: Any) -> Response:
        answer = await call(**values)
        if isinstance(answer, Response):
            return answer
        if answer is None:
            return Response(status_code=status)
        body = answer if isinstance(answer, bytes) else answer.model_dump_json(by_alias=True, warnings=False)
        rendered = Response(body, status, media_type="application/json")
        if given := values.get("response"):
            rendered.headers.raw.extend(given.headers.raw)
        return rendered

    return render


class _JsonRequest(Request):
    """A request with a body that is read and parsed."""

    def __init__(self, request: Request, raw: bytes, value: Any) -> None:
        super().__init__(request.scope, request.receive)
        self._body = raw
        self._value = value

    async def json(self) -> Any:
        return self._value


def _model(annotation: Any) -> type[Schema]:
    """Return the body's model from an annotation, with or without None."""
    return next(
        each for each in (annotation, *get_args(annotation)) if isinstance(each, type) and issubclass(each, Schema)
    )


async def _with_json(request: Request, model: type[Schema], take: Callable[[int], None]) -> Request:
    raw = await _read(request, model.max_bytes, take)
    if not raw:
        return _JsonRequest(request, raw, None)
    _check_content_type(request.headers.get("content-type", ""))
    if len(raw) > LARGE_BYTES:
        return _JsonRequest(request, raw, await off_loop(_checked, raw, model))
    return _JsonRequest(request, raw, _checked(raw, model))


async def _given(take: Callable[[int], None], request: Request, body: Body[R], ids: Mapping[str, Any]) -> Given[R]:
    raw = await _read(request, body.max_bytes, take)
    if not raw:
        return body.given(body.value_of(None), ids)
    _check_content_type(request.headers.get("content-type", ""))
    if len(raw) > LARGE_BYTES:
        return await off_loop(_parsed, raw, body, ids)
    return _parsed(raw, body, ids)


def _parsed(raw: bytes, body: Body[R], ids: Mapping[str, Any]) -> Given[R]:
    try:
        value = parse(raw, body.max_depth)
    except NotStrictJson as error:
        raise InvalidFields(FieldViolation("body", str(error))) from error
    return body.given(body.value_of(value), ids)


def _checked(raw: bytes, model: type[Schema]) -> Any:
    """Return the JSON value of a body whose fields and documents are within their bounds. Raises InvalidFields."""
    try:
        value = parse(raw)
    except NotStrictJson as error:
        raise InvalidFields(FieldViolation("body", str(error))) from error
    if isinstance(value, dict):
        _check_names(value, model)
        _check_documents(value, model)
    return value


def _check_names(value: dict[str, Any], model: type[Schema]) -> None:
    """Refuse very many unknown fields before each causes an error."""
    if len(value) > MAX_FIELDS:
        known = {field.alias for field in model.model_fields.values()}
        unknown = [name for name in value if name not in known]
        named = [FieldViolation(name, "is not known here") for name in unknown[:MAX_VIOLATIONS]]
        raise InvalidFields(*named, found=len(unknown))


def _check_documents(value: dict[str, Any], model: type[Schema]) -> None:
    violations = []
    for name, at_most in model.documents.items():
        document = value.get(name)
        try:
            check(document if isinstance(document, dict) else {"value": document}, at_most)
        except DocumentError as error:
            violations.append(FieldViolation(name, str(error)))
    if violations:
        raise InvalidFields(*violations)


async def _read(request: Request, at_most: int, take: Callable[[int], None]) -> bytes:
    declared = request.headers.get("content-length", "")
    if len(declared) > 10 or int(declared or 0) > at_most:  # noqa: PLR2004  (digits; h11 lets nothing else by)
        raise _too_large(at_most)
    body = bytearray()
    try:
        async with asyncio.timeout(READ_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > at_most:
                    raise _too_large(at_most)
                take(len(chunk))
    except TimeoutError as error:
        message = f"the body did not arrive within {READ_SECONDS:g} s"
        raise Refused(408, "BODY_TIMEOUT", message) from error
    request.scope["taskplane.body_is_read"] = True
    return bytes(body)


def _too_large(at_most: int) -> Refused:
    return Refused(413, "BODY_TOO_LARGE", f"a body has at most {at_most} bytes here")


def _check_content_type(given: str) -> None:
    message = email.message.Message()
    message["content-type"] = given
    charset = message.get_content_charset("utf-8")
    if not given or message.get_content_type() != "application/json" or charset not in {"utf-8", "utf8"}:
        wanted = "send the body as JSON in UTF-8, with the header Content-Type: application/json"
        raise Refused(415, "UNSUPPORTED_MEDIA_TYPE", f"Content-Type is {given[:100]!r}; {wanted}")


def _refuse_body(request: Request) -> None:
    if request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers:
        raise InvalidFields(FieldViolation("body", f"is not read by {request.method} of this path; send none"))


async def _timely(answering: Coroutine[Any, Any, Response]) -> Response:
    """Respond after CALL_SECONDS at the latest, also if the database does not."""
    timer = asyncio.timeout(CALL_SECONDS)
    try:
        async with timer:
            return await answering
    except TimeoutError as error:
        if not timer.expired():
            raise
        raise DatabaseSilent from error
