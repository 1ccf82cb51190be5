"""Admission of requests: probes pass at once, other requests begin a few at a time."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from taskplane.gateway.callers import Callers
from taskplane.gateway.errors import error_response
from taskplane.server.core.errors import TooManyConnections
from taskplane.server.core.loop_budget import LoopBudget

# Requests that begin in a round of the event loop; each runs for about a millisecond before its first wait.
AT_ONCE = 4
# Load balancers and supervisors take a late response for a dead server.
_PROBES = frozenset({"/healthz", "/readyz"})
_HEALTHY = b'{"status":"ok"}'


class Admission:
    """Admits requests to an application."""

    def __init__(self, app: ASGIApp, callers: Callers) -> None:
        self._app = app
        self._callers = callers
        self._loop_budget = LoopBudget(AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to /healthz at once; pass other requests on in turn."""
        if scope["type"] == "http" and scope["path"] in _PROBES:
            if _asks_health(scope) and self._callers.refusal("GET", Headers(scope=scope)) is None:
                await _say_healthy(send)
                return
        elif scope["type"] == "http" and scope["state"]["is_too_many"]():
            await error_response(TooManyConnections(), {"connection": "close"})(scope, receive, send)
            return
        else:
            await self._loop_budget.acquire()
        await self._app(scope, receive, send)


def _asks_health(scope: Scope) -> bool:
    """Return whether a request is a plain /healthz; the application checks any other."""
    names = {name for name, _ in scope["headers"]}
    is_plain = scope["method"] == "GET" and not scope["query_string"]
    return is_plain and scope["path"] == "/healthz" and names.isdisjoint({b"content-length", b"transfer-encoding"})


async def _say_healthy(send: Send) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(_HEALTHY)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _HEALTHY, "more_body": False})
