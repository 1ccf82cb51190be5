"""Requests to one unit: each with a deadline, a bounded number of tries and a bounded result."""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import aiohttp

# For one request and its result. Below Leases' ACCEPT_SECONDS, so that a late answer to a start is no news.
REQUEST_SECONDS = 4.0
MAX_RESPONSE_BYTES = 1024 * 1024
# What people are shown of an result.
MAX_TEXT = 500
# Requests under way at once to one unit; the others wait for a connection.
MAX_CONNECTIONS = 16

TRIES = 4
# The wait before a new try is a random part of a bound that doubles from here.
FIRST_BACKOFF_SECONDS = 0.2


class NoResponse(Exception):
    """The unit has not said what it makes of a request. `may_have_arrived`: nor whether it has it."""

    def __init__(self, message: str, *, may_have_arrived: bool) -> None:
        super().__init__(message)
        self.may_have_arrived = may_have_arrived


@dataclass(frozen=True, slots=True)
class UnitResponse:
    """Status and body of an answer; the body is cut off, and of no use, if it `is_too_big`."""

    status: int
    body: bytes
    is_too_big: bool = False

    @property
    def is_success(self) -> bool:
        """Whether the request was taken on."""
        return 200 <= self.status < 300 and not self.is_too_big  # noqa: PLR2004  (2xx)

    @property
    def is_unreadable(self) -> bool:
        """Whether the request was taken on, and what the answer says of it is lost."""
        return 200 <= self.status < 300 and self.is_too_big  # noqa: PLR2004  (2xx)

    def __str__(self) -> str:
        if self.is_too_big:
            return f"HTTP {self.status} with more than {MAX_RESPONSE_BYTES} bytes"
        if 300 <= self.status < 400:  # noqa: PLR2004  (3xx)
            return f"HTTP {self.status}: redirects are not followed"
        text = self.body[: 4 * MAX_TEXT].decode(errors="replace").replace("\x00", " ").strip()
        return f"HTTP {self.status}: {text[:MAX_TEXT]}" if text else f"HTTP {self.status}"


class UnitClient:
    """The requests of one link, made while its context is entered.

    Connections are not kept: units close idle ones when they like, and a request on one that is just being closed
    would have an unknown outcome.
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
            # A small answer could unpack to a great one.
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
        """POST, several times if there is no answer, or a 5xx. Raises NoResponse with what came last.

        `once`: a request that may have arrived is not repeated; one that was refused, or answered by 503, is.
        """
        for left in reversed(range(TRIES)):
            try:
                return await self._request("POST", path, body)
            except NoResponse as error:
                if not left or (once and error.may_have_arrived):
                    raise
            bound = FIRST_BACKOFF_SECONDS * 2 ** (TRIES - 1 - left)
            await asyncio.sleep(random.uniform(0, bound))  # noqa: S311  (spreads tries, hides nothing)
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
        # Anything between here and there may say the others, of a request that the unit is working on.
        raise NoResponse(str(result), may_have_arrived=result.status != HTTPStatus.SERVICE_UNAVAILABLE)
    return result
