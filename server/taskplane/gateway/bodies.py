"""Bodies of requests: read within bounds of size and time, and parsed strictly."""

import asyncio
import email.message
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from taskplane.gateway.errors import Refused
from taskplane.gateway.strict_json import NotStrictJson, parse
from taskplane.server.core.errors import DatabaseSilent, FieldViolation, InvalidFields

# A config of 1 MiB, in whatever way it is spaced and escaped, and room for the rest.
MAX_BODY_BYTES = 3 * 512 * 1024
READ_SECONDS = 10.0
# A call is given up after this; waits for effects end before.
CALL_SECONDS = 90.0


class StrictRoute(APIRoute):
    """A route whose body is JSON, read and parsed here instead of by FastAPI; and which always answers in time."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler."""
        handle = super().get_route_handler()
        takes_body = self.body_field is not None

        async def strict(request: Request) -> Response:
            if takes_body:
                request = await _with_json(request)
            else:
                _refuse_body(request)
            return await _timely(handle(request))

        return strict


class _JsonRequest(Request):
    """A request whose body has been read and parsed."""

    def __init__(self, request: Request, raw: bytes, value: Any) -> None:
        super().__init__(request.scope, request.receive)
        self._body = raw
        self._value = value

    async def json(self) -> Any:
        return self._value


async def _with_json(request: Request) -> Request:
    raw = await _read(request)
    if not raw:
        return _JsonRequest(request, raw, None)
    _check_content_type(request.headers.get("content-type", ""))
    try:
        return _JsonRequest(request, raw, parse(raw))
    except NotStrictJson as error:
        raise InvalidFields(FieldViolation("body", str(error))) from error


async def _read(request: Request) -> bytes:
    declared = request.headers.get("content-length", "")
    if len(declared) > 10 or int(declared or 0) > MAX_BODY_BYTES:  # noqa: PLR2004  (digits; h11 lets nothing else by)
        raise _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(READ_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise _too_large()
    except TimeoutError as error:
        message = f"the body did not arrive within {READ_SECONDS:g} s"
        raise Refused(408, "BODY_TIMEOUT", message) from error
    request.scope["taskplane.body_is_read"] = True
    return bytes(body)


def _too_large() -> Refused:
    return Refused(413, "BODY_TOO_LARGE", f"a body has at most {MAX_BODY_BYTES} bytes")


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
    """Answer in the end also when what the call needs hangs: a database that says nothing."""
    timer = asyncio.timeout(CALL_SECONDS)
    try:
        async with timer:
            return await answering
    except TimeoutError as error:
        if not timer.expired():
            raise
        raise DatabaseSilent from error
