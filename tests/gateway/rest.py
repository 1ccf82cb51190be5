"""A thin client of the REST API: JSON in, JSON out, with the status."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from gateway.running import RunningServer
from rpc.server import PATIENCE_SECONDS


@dataclass(frozen=True)
class Answer:
    """A response."""

    status: int
    body: Any
    headers: httpx.Headers

    @property
    def error(self) -> Any:
        """Return the error; the test fails if it lacks the documented shape."""
        assert set(self.body) == {"error"}
        error = self.body["error"]
        assert set(error) == {"code", "status", "reason", "message", "details"}
        assert set(error["details"]) == {"metadata", "fieldViolations"}
        assert error["code"] == self.status
        return error

    @property
    def bad_fields(self) -> set[str]:
        """Return the fields of a 400."""
        assert (self.status, self.error["reason"]) == (400, "INVALID_FIELDS"), self.body
        return {each["field"] for each in self.error["details"]["fieldViolations"]}


class Rest:
    """Calls of one server."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def call(self, method: str, path: str, body: Any = None, **parameters: Any) -> Answer:
        """Call with a JSON body, or none."""
        return answer_of(await self.client.request(method, path, json=body, params=parameters or None))

    async def send(self, content: bytes, path: str = "/api/tasks", content_type: str = "application/json") -> Answer:
        """Post these bytes unchanged."""
        headers = {"content-type": content_type}
        return answer_of(await self.client.post(path, content=content, headers=headers))

    async def get(self, path: str, **parameters: Any) -> Answer:
        return await self.call("GET", path, **parameters)

    async def post(self, path: str, body: Any = None) -> Answer:
        return await self.call("POST", path, body)

    async def create(self, **changes: Any) -> Any:
        """Create a task of type WORK."""
        answer = await self.post("/api/tasks", {"taskName": "task under test", "taskType": "WORK"} | changes)
        assert answer.status == 201, answer.body
        return answer.body


@asynccontextmanager
async def rest_of(server: RunningServer) -> AsyncIterator[Rest]:
    """Open a client of a server until the end of the context."""
    async with httpx.AsyncClient(base_url=f"http://{server.http_address}", timeout=PATIENCE_SECONDS) as client:
        yield Rest(client)


def answer_of(response: httpx.Response) -> Answer:
    is_json = response.headers.get("content-type", "") == "application/json" and response.content
    return Answer(response.status_code, json.loads(response.content) if is_json else response.text, response.headers)
