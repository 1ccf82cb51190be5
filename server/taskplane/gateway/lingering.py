"""Responses to requests that were not read to their end: lingering close."""

import asyncio

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

# Seconds for which the rest of a body is read, so that the client can read the response.
LINGER_SECONDS = 5.0


class LingeringResponse(Response):
    """A response that reaches a client that still sends its body.

    Closing a connection with unread bytes resets the connection, and the client may never see the response. The rest
    of the body is therefore read and discarded for LINGER_SECONDS; then the connection is closed.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response, and close the connection if the request was not read to its end."""
        headers = self.raw_headers
        is_unread = _has_body(scope) and not scope.get("taskplane.body_is_read", False)
        if is_unread:
            headers = [*headers, (b"connection", b"close")]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        if is_unread:
            await send({"type": "http.response.body", "body": self.body, "more_body": True})
            if not _asks_first(scope):
                await _discard(receive)
        await send({"type": "http.response.body", "body": b"" if is_unread else self.body, "more_body": False})


def _has_body(scope: Scope) -> bool:
    names = {name for name, value in scope["headers"] if value != b"0"}
    return not names.isdisjoint({b"content-length", b"transfer-encoding"})


def _asks_first(scope: Scope) -> bool:
    """Return whether the client waits for `100 Continue`, which was not sent, before its body."""
    return any(name == b"expect" for name, _ in scope["headers"])


async def _discard(receive: Receive) -> None:
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            while (await receive()).get("more_body", False):
                pass
    except TimeoutError:
        return
