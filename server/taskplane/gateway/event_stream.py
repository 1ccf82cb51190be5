"""Server-sent events: a watch as a stream of text, until the watch ends, the server stops or the reader leaves."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from taskplane.gateway.responses import in_json
from taskplane.gateway.task_responses import task_json
from taskplane.server.core.errors import TaskplaneError
from taskplane.server.rpc.messages import progress_message, transition_message
from taskplane.server.services.stalls import StallGuard
from taskplane.server.services.view import TaskView
from taskplane.server.services.watch_events import (
    Changed,
    Deleted,
    KeepAlive,
    Snapshot,
    SnapshotComplete,
    WatchEvent,
    rendered,
)
from taskplane.server.tasks.watch import Progressed


class EventStream(Response):
    """A response of events, until the watch ends (an error is a comment) or the reader leaves. Closes the watch."""

    media_type = "text/event-stream"

    def __init__(self, first: WatchEvent, later: AsyncGenerator[WatchEvent], guard: StallGuard) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._first = first
        self._later = later
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write events until the watch ends or the reader leaves."""
        # Bytes for a reader that does not read stay in memory until the connection is aborted.
        self._guard.on_stall.append(scope["state"]["abort"])
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
            with self._guard as guard:
                await guard.write(_send(send, await rendered(self._first, event_bytes)))
                async for event in self._later:
                    await guard.write(_send(send, await rendered(event, event_bytes)))
        except TaskplaneError as error:
            await _send(send, f": {error.reason}: {error.message}\n\n".encode())
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def event_bytes(event: WatchEvent) -> bytes:
    """Return an event as sent. Its id is the revision from which a reader can continue."""
    match event.event:
        case Snapshot(views, made):
            return made.once(_snapshot, views)
        case SnapshotComplete():
            return f": snapshot complete\nid: {event.revision}\n\n".encode()
        case Deleted(task_id):
            return _event("deleted", event.revision, {"taskId": task_id})
        case Changed(rendered=made):
            return made.once(_changed, event.revision, event.event)
        case Progressed(task_id=task_id, attempt=attempt, progress=progress):
            told = in_json(progress_message(progress))
            return _event("progress", event.revision, {"taskId": task_id, "attempt": attempt, "progress": told})
        case KeepAlive():
            return b": keepalive\n\n"


def _snapshot(views: Sequence[TaskView]) -> bytes:
    # Without ids: a reader cannot continue before the snapshot is complete.
    return b"".join(_event("snapshot", None, task_json(view)) for view in views)


def _changed(revision: int, changed: Changed) -> bytes:
    task = task_json(changed.view)
    if changed.change.transition is None:
        return _event("changed", revision, task)
    transition = in_json(transition_message(changed.change.transition))
    return _event("transition", revision, {"transition": transition, "task": task})


def _event(name: str, revision: int | None, data: Any) -> bytes:
    position = "" if revision is None else f"id: {revision}\n"
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"event: {name}\n{position}data: {text}\n\n".encode()


async def _send(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
