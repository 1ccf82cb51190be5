"""Calls to the server's REST API, on the standard library."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_TIMEOUT_SECONDS = 10.0


class Unreachable(Exception):
    """The server cannot be reached, or cannot serve the call now: what was to be said is said again later."""


@dataclass(frozen=True)
class Answer:
    """What the server has answered, which is no 5xx."""

    status: int
    document: Mapping[str, Any]

    @property
    def is_success(self) -> bool:
        """Whether the call has had its effect."""
        return 200 <= self.status < 300  # noqa: PLR2004 - 2xx

    @property
    def error(self) -> Mapping[str, Any]:
        """The error, as the server's answers have it; empty if there is none."""
        error = self.document.get("error")
        return error if isinstance(error, Mapping) else {}


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class Rest:
    """Calls below one base URL, such as http://127.0.0.1:3000. Thread-safe. Proxies are not asked."""

    def __init__(self, server: str) -> None:
        self._server = server.rstrip("/")
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects)

    def post(self, path: str, body: Mapping[str, Any]) -> Answer:
        """Calls once. Raises Unreachable."""
        request = urllib.request.Request(  # noqa: S310 - the user of the unit names the server
            self._server + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with self._opener.open(request, timeout=_TIMEOUT_SECONDS) as response:
                return Answer(response.status, _document(response.read()))
        except urllib.error.HTTPError as error:
            with error:
                return _unless_unavailable(Answer(error.code, _document(error.read())))
        except OSError as error:
            raise Unreachable(f"{self._server}: {error}") from error


def _unless_unavailable(answer: Answer) -> Answer:
    if answer.status >= 500 or answer.status == 429:  # noqa: PLR2004 - 5xx, and too many requests
        raise Unreachable(f"HTTP {answer.status}: {answer.error.get('message', '')}")
    return answer


def _document(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, Mapping) else {}
