"""Requests to one unit: each with a deadline, a bounded number of tries and a bounded response."""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import aiohttp

from taskplane.protocol.backoff import full_jitter

# Deadline of one request. Below `Tuning.accept_seconds`, so that a start gets its response before it is taken away.
REQUEST_SECONDS = 4.0
# A larger response is cut off and unreadable.
MAX_RESPONSE_BYTES = 1024 * 1024
# Characters of a response in error messages.
MAX_TEXT = 500
# Concurrent requests to one unit; the others wait for a connection.
MAX_CONNECTIONS = 16

# Tries of a request that may be repeated.
TRIES = 4
# Upper bound of the random wait before the second try; doubles with every try.
FIRST_BACKOFF_SECONDS = 0.2


class NoResponse(Exception):
    """A request without a usable response. `may_have_arrived`: the unit may be executing the request."""

    def __init__(self, message: str, *, may_have_arrived: bool) -> None:
        super().__init__(message)
        self.may_have_arrived = may_have_arrived


@dataclass(frozen=True, slots=True)
class UnitResponse:
    """Status and body of a response; the body is empty if the response `is_too_big`."""

    status: int
    body: bytes
    is_too_big: bool = False

    @property
    def is_success(self) -> bool:
        """Return True if the unit has accepted the request and the body can be read."""
        return 200 <= self.status < 300 and not self.is_too_big  # noqa: PLR2004  (2xx)

    @property
    def is_unreadable(self) -> bool:
        """Return True if the unit has accepted the request and the body is too large to read."""
        return 200 <= self.status < 300 and self.is_too_big  # noqa: PLR2004  (2xx)

    def __str__(self) -> str:
        if self.is_too_big:
            return f"HTTP {self.status} with more than {MAX_RESPONSE_BYTES} bytes"
        if 300 <= self.status < 400:  # noqa: PLR2004  (3xx)
            return f"HTTP {self.status}: redirects are not followed"
        text = self.body[: 4 * MAX_TEXT].decode(errors="replace").replace("\x00", " ").strip()
        return f"HTTP {self.status}: {text[:MAX_TEXT]}" if text else f"HTTP {self.status}"


class UnitClient:
    """The HTTP client of one link; an asynchronous context manager.

    Connections are not reused: a unit may close an idle connection at any moment, and a request on a closing connection
    has an unknown outcome.
    """

    def __init__(self, endpoint: str, request_seconds: float | None = None) -> None:
        self.endpoint = endpoint.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=request_seconds or REQUEST_SECONDS)
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
            # A small response could unpack to a large one.
            auto_decompress=False,
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "taskplane"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http:
            await self._http.close()

    async def get(self, path: str) -> UnitResponse:
        """GET, once. Raises NoResponse."""
        return await self._request("GET", path, None)

    async def post(self, path: str, body: Mapping[str, Any], *, once: bool = False) -> UnitResponse:
        """POST, with retries after no response or a 5xx. Raises the last NoResponse.

        `once`: no retry if the request may have arrived; a refused connection and a 503 prove that it has not.
        """
        for failures in range(1, TRIES + 1):
            try:
                return await self._request("POST", path, body)
            except NoResponse as error:
                if failures == TRIES or (once and error.may_have_arrived):
                    raise
            await asyncio.sleep(full_jitter(failures, FIRST_BACKOFF_SECONDS, math.inf))
        raise AssertionError("the last try returns or raises")

    async def _request(self, method: str, path: str, body: Mapping[str, Any] | None) -> UnitResponse:
        if self._http is None:
            raise RuntimeError("the client's context is not entered")
        try:
            async with self._http.request(
                method, f"{self.endpoint}/{path}", json=body, allow_redirects=False
            ) as response:
                return await _read(response)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NoResponse(f"cannot be reached: {error}", may_have_arrived=False) from error
        except TimeoutError as error:
            raise NoResponse(f"has not answered within {self._timeout.total:g} s", may_have_arrived=True) from error
        except aiohttp.ClientError as error:
            text = str(error) or type(error).__name__
            raise NoResponse(f"broke off: {text}", may_have_arrived=True) from error


async def _read(response: aiohttp.ClientResponse) -> UnitResponse:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_RESPONSE_BYTES:
            result = UnitResponse(response.status, b"", is_too_big=True)
            break
    else:
        result = UnitResponse(response.status, bytes(body))
    if result.status >= 500:  # noqa: PLR2004  (5xx)
        # Any proxy may send another 5xx while the unit executes the request.
        raise NoResponse(str(result), may_have_arrived=result.status != HTTPStatus.SERVICE_UNAVAILABLE)
    return result
