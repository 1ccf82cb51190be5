"""A client that follows all tasks by server-sent events, as a browser's EventSource does."""

import http.client
import json
from collections.abc import Iterator
from http import HTTPStatus

from robustness.journal import Journal
from robustness.records import DELETED, Watched
from robustness.watcher import Watcher

EVENTS = "events"
# After this many seconds without an event the stream is opened again, with Last-Event-ID.
_SILENT_SECONDS = 2.0
_RETRY_SECONDS = 0.3
_BROKEN = (OSError, http.client.HTTPException)


class EventsWatcher(Watcher):
    """Follows GET /api/events over every break."""

    def __init__(self, server: str, journal: Journal) -> None:
        super().__init__(EVENTS, server, journal)
        self._server = server
        # Whether the snapshot is complete, so there is an event to resume from.
        self._has_position = False

    def _watch(self) -> None:
        while not self._over.is_set():
            connection = http.client.HTTPConnection(self._server, timeout=_SILENT_SECONDS)
            try:
                for event in _events(self._lines(connection)):
                    self._hear(event)
            except _BROKEN:
                self._over.wait(_RETRY_SECONDS)
            finally:
                connection.close()

    def _lines(self, connection: http.client.HTTPConnection) -> Iterator[str]:
        headers = {"Last-Event-ID": str(self.revision)} if self._has_position else {}
        connection.request("GET", "/api/events", headers=headers)
        response = connection.getresponse()
        if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise http.client.HTTPException(f"HTTP {response.status}")
        if response.status != HTTPStatus.OK:
            answer = response.read().decode()
            if "REVISION_TOO_OLD" in answer:
                self._note_refusal(answer)
            raise AssertionError(f"HTTP {response.status}: {answer}")
        # A broken line is not whole.
        while (line := response.readline()).endswith(b"\n") and not self._over.is_set():
            yield line.decode().rstrip("\n")

    def _hear(self, event: dict[str, str]) -> None:
        if "id" not in event:
            return  # of the snapshot, or a keepalive
        self.revision = max(self.revision, int(event["id"]))
        if not self._has_position:
            # An id comes with the end of the snapshot, and never before.
            self._has_position, self.since = True, self.revision
            self._is_following.set()
        data = json.loads(event.get("data", "{}"))
        if event.get("event") == "transition":
            step = data["transition"]
            self._write(step["revision"], step["taskId"], step["toStatus"], step["attempt"])
        elif event.get("event") == "deleted":
            self._write(self.revision, data["taskId"], DELETED, 0)

    def _write(self, revision: int, task: int, status: str, attempt: int) -> None:
        self._journal.write(Watched(revision, task, status, attempt, self.name))


def _events(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    """Events, each as its fields; one that is broken off before its blank line did not come."""
    event: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            event[name] = value
        else:
            yield event
            event = {}
