"""Protection from web pages of other sites, in the browser of a person who can reach this server.

There is no login, so a browser is a hole in the wall that protects a server on localhost or in a private network: any
page that a person opens can send requests to it. Two checks close it. `Origin` and `Sec-Fetch-Site`, which no page can
forge, tell that a page of another site asks; the algorithm is the one of Go's http.CrossOriginProtection. `Host` tells
of DNS rebinding: the name of the page's site resolves to this server, so that the page counts as one of the same site.

Programs other than browsers send no `Origin`, and are not concerned.
"""

import ipaddress
import logging
from collections.abc import Iterable
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from taskplane.gateway.errors import Refused, error_response
from taskplane.server.core.errors import Code
from taskplane.server.core.origin import without_default_port

log = logging.getLogger(__name__)

# Characters of a caller's text that a response or the log repeats.
_SHOWN = 100


@dataclass(frozen=True)
class Callers:
    """The host names by which the server may be called, and the origins of web pages that may call it.

    `hosts` None: every name. IP addresses and names without a dot, such as `localhost` or a container's, are never
    refused: rebinding needs a name in the public DNS.
    """

    hosts: frozenset[str] | None = None
    origins: frozenset[str] = frozenset()

    @classmethod
    def of(cls, address: str, *, hosts: Iterable[str] = (), origins: Iterable[str] = ()) -> "Callers":
        """Return the callers by settings. Without `hosts`, only a server on loopback restricts names."""
        named = frozenset(_normal(each) for each in hosts)
        bound = _host_of(address)
        if "*" in named or not (named or _is_loopback(bound)):
            return cls(None, frozenset(origins))
        return cls(named | {bound}, frozenset(origins))

    def refusal(self, method: str, headers: Headers) -> Refused | None:
        """Return the refusal of a request, or None."""
        host = headers.get("host", "")
        if host and not self._may_be_called(host):
            message = f"this server is not called {host[:_SHOWN]!r}; see TASKPLANE_ALLOWED_HOSTS"
            return _refused("HOST_NOT_ALLOWED", message)
        origin = headers.get("origin")
        if self._is_own_page(method, headers, host, origin):
            return None
        page = f"a web page of {origin[:_SHOWN]!r}" if origin else "a web page of another site"
        return _refused("ORIGIN_NOT_ALLOWED", f"{page} may not call this server; see TASKPLANE_ALLOWED_ORIGINS")

    def _may_be_called(self, host: str) -> bool:
        name = _host_of(host)
        is_private = "." not in name or _is_loopback(name) or _is_address(name)
        return is_private or self.hosts is None or name in self.hosts

    def _is_own_page(self, method: str, headers: Headers, host: str, origin: str | None) -> bool:
        if origin is not None and (origin in self.origins or "*" in self.origins):
            return True
        match headers.get("sec-fetch-site"):
            case "same-origin" | "none":
                return True
            case None:
                return origin is None or _is_same(origin, host)
            case _:
                # A link on another site may be followed: that site cannot read the page.
                return origin is None and method == "GET" and headers.get("sec-fetch-mode") == "navigate"


class CallersMiddleware:
    """Middleware that refuses requests by `Callers` before it reads their bodies, and forbids frames on other sites."""

    def __init__(self, app: ASGIApp, callers: Callers) -> None:
        self._app = app
        self._callers = callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if refused := self._callers.refusal(scope["method"], Headers(scope=scope)):
            log.warning("%s %s is refused: %s", scope["method"], scope["path"][:_SHOWN], refused.message)
            await error_response(refused)(scope, receive, send)
            return

        async def send_unframed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get("content-type", "").startswith("text/html"):
                    headers["content-security-policy"] = "frame-ancestors 'none'"
            await send(message)

        await self._app(scope, receive, send_unframed)


def _is_same(origin: str, host: str) -> bool:
    """Return whether a page comes from this server. A proxy may hide the scheme."""
    scheme, separator, place = origin.lower().partition("://")
    return bool(separator) and without_default_port(scheme, place) == without_default_port(scheme, host)


def _host_of(place: str) -> str:
    """Return the host of HOST[:PORT], without brackets."""
    if place.startswith("["):
        return _normal(place[1:].partition("]")[0])
    return _normal(place.rpartition(":")[0] if place.count(":") == 1 else place)


def _normal(host: str) -> str:
    return host.strip("[]").lower().removesuffix(".")


def _is_loopback(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost") or (_is_address(host) and _address(host).is_loopback)


def _is_address(host: str) -> bool:
    try:
        _address(host)
    except ValueError:
        return False
    return True


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(host)


def _refused(reason: str, message: str) -> Refused:
    refused = Refused(403, reason, message)
    refused.code = Code.PERMISSION_DENIED
    return refused
