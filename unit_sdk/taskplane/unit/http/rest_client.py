"""A client of the server's REST API, on the standard library."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# The timeout of one call.
_TIMEOUT_SECONDS = 10.0


class ServerUnreachable(Exception):
    """The server cannot be reached, or cannot serve the call now: the call must be repeated later."""


@dataclass(frozen=True)
class RestResponse:
    """A response of the server with a status below 500."""

    status: int
    document: Mapping[str, Any]

    @property
    def is_success(self) -> bool:
        """Whether the call has had its effect."""
        return 200 <= self.status < 300  # noqa: PLR2004 - 2xx

    @property
    def error(self) -> Mapping[str, Any]:
        """The error object of the body; empty if there is none."""
        error = self.document.get("error")
        return error if isinstance(error, Mapping) else {}


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class RestClient:
    """Calls below one base URL, such as http://127.0.0.1:3000, without proxies and redirects. Thread-safe."""

    def __init__(self, server: str) -> None:
        self._server = server.rstrip("/")
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects)

    def post(self, path: str, body: Mapping[str, Any]) -> RestResponse:
        """Post a JSON body once. Raises ServerUnreachable, also for 5xx and 429."""
        request = urllib.request.Request(  # noqa: S310 - the user of the unit names the server
            self._server + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with self._opener.open(request, timeout=_TIMEOUT_SECONDS) as response:
                return RestResponse(response.status, _document(response.read()))
        except urllib.error.HTTPError as error:
            with error:
                return _unless_unavailable(RestResponse(error.code, _document(error.read())))
        except OSError as error:
            raise ServerUnreachable(f"{self._server}: {error}") from error


def _unless_unavailable(response: RestResponse) -> RestResponse:
    if response.status >= 500 or response.status == 429:  # noqa: PLR2004 - 5xx, and too many requests
        raise ServerUnreachable(f"HTTP {response.status}: {response.error.get('message', '')}")
    return response


def _document(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, Mapping) else {}
