"""Server-sent events: a watch as a stream of text that ends when the watch, the server or the reader does."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from taskplane.gateway.task_answers import ProgressAnswer, TaskAnswer, TransitionAnswer
from taskplane.server.core.errors import TaskplaneError
from taskplane.server.services.watching import Changed, Deleted, KeepAlive, Snapshot, SnapshotComplete, WatchEvent
from taskplane.server.tasks.watch import Progressed

# A reader that takes nothing for so long is cut; it can come back with Last-Event-ID.
WRITE_SECONDS = 15.0


class EventStream(Response):
    """Sends events until the watch ends, with an error as a comment, or the reader goes away. Closes the watch."""

    media_type = "text/event-stream"

    def __init__(self, first: WatchEvent, later: AsyncGenerator[WatchEvent]) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._first = first
        self._later = later

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write until there is nothing more to write, or nobody to read it."""
        writing = asyncio.ensure_future(self._write(send))
        leaving = asyncio.ensure_future(_until_gone(receive))
        try:
            await asyncio.wait((writing, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended_by_itself = writing.done()
            writing.cancel()
            leaving.cancel()
            await asyncio.gather(writing, leaving, return_exceptions=True)
            await self._later.aclose()
        if ended_by_itself:
            writing.result()

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            await _send_text(send, event_text(self._first))
            async for event in self._later:
                await _send_text(send, event_text(event))
        except TaskplaneError as error:
            await _send_text(send, f": {error.reason}: {error.message}\n\n")
        except TimeoutError:
            return  # nothing is read any more, so nothing more can be said
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def event_text(event: WatchEvent) -> str:  # noqa: PLR0911  (one a kind)
    """Return an event as it goes over the wire. Its id is the revision to go on from after it."""
    match event.event:
        case Snapshot(view):
            # Without an id: until the snapshot is complete there is nothing to go on from.
            return _text("snapshot", None, TaskAnswer.of(view).model_dump(mode="json", by_alias=True))
        case SnapshotComplete():
            return f": snapshot complete\nid: {event.revision}\n\n"
        case Deleted(task_id):
            return _text("deleted", event.revision, {"taskId": task_id})
        case Changed(change, view):
            task = TaskAnswer.of(view).model_dump(mode="json", by_alias=True)
            if change.transition is None:
                return _text("changed", event.revision, task)
            transition = TransitionAnswer.of(change.transition).model_dump(mode="json", by_alias=True)
            return _text("transition", event.revision, {"transition": transition, "task": task})
        case Progressed(task_id=task_id, attempt=attempt, progress=progress):
            told = ProgressAnswer.of(progress).model_dump(mode="json", by_alias=True)
            return _text("progress", event.revision, {"taskId": task_id, "attempt": attempt, "progress": told})
        case KeepAlive():
            return ": keepalive\n\n"


def _text(name: str, revision: int | None, data: Any) -> str:
    position = "" if revision is None else f"id: {revision}\n"
    return f"event: {name}\n{position}data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"


async def _send_text(send: Send, text: str) -> None:
    async with asyncio.timeout(WRITE_SECONDS):
        await send({"type": "http.response.body", "body": text.encode(), "more_body": True})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
