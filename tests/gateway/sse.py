"""A reader of server-sent events, by the letter of the HTML standard, section 9.2."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from gateway.rest import Rest
from rpc.server import PATIENCE_SECONDS


@dataclass(frozen=True)
class Event:
    """An event, and the id from which an interrupted reader resumes."""

    name: str
    data: Any
    last_id: str


class Events:
    """The events of a stream, and its comments."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines
        self.comments: list[str] = []
        self.last_id = ""

    async def next(self, *names: str) -> Event:
        """Return the next event, or the next one of these names."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                event = await self._event()
                assert event, "the stream has ended"
                if not names or event.name in names:
                    return event

    async def rest(self) -> list[Event]:
        """All events until the stream ends."""
        events = []
        async with asyncio.timeout(PATIENCE_SECONDS):
            while event := await self._event():
                events.append(event)
        return events

    async def comment(self, text: str) -> None:
        """Read on until the given comment. No event may come first."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while text not in self.comments:
                await self._block()

    async def _event(self) -> Event | None:
        while (block := await self._block()) is not None:
            if "data" in block:
                return Event(block.get("event", "message"), json.loads(block["data"]), self.last_id)
        return None

    async def _block(self) -> dict[str, str] | None:
        fields: dict[str, str] = {}
        async for line in self._lines:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if not line:
                return fields
            if not name:
                self.comments.append(value)
            elif name == "id":
                self.last_id = value
            else:
                fields[name] = value
        return None


@asynccontextmanager
async def watching(rest: Rest, path: str, last_id: str = "", **query: Any) -> AsyncIterator[Events]:
    """Open the events at a path, until the end of the context."""
    headers = {"last-event-id": last_id} if last_id else {}
    async with rest.client.stream("GET", path, headers=headers, params=query) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Events(response.aiter_lines())
