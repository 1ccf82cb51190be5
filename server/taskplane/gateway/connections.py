"""HTTP connections: limits of their number and of the time until a header is complete."""

import asyncio
import logging
import time
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from taskplane.gateway.portions import Portions

log = logging.getLogger("taskplane.http")

# Seconds from the start of a connection, or the first byte of a further request, to the end of the header.
HEADER_SECONDS = 10.0
# Seconds in which a client must read the last response before its connection is aborted.
CLOSING_SECONDS = 10.0
# Connections above the maximum that are accepted, for a refusal with a reason and for probes.
SPARE = 32
_SWEEP_SECONDS = 1.0
_LOG_SECONDS = 60.0
_TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Connections:
    """All connections of a server. Call `start` in the event loop, then `stop`."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.portions = Portions()
        self._all: set[Connection] = set()
        # Connections without a request, longest idle first.
        self._idle: dict[Connection, None] = {}
        self._turned_away = 0
        self._log_after = 0.0

    def start(self) -> None:
        """Begin to close late connections, every second."""
        self._timer = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)

    def stop(self) -> None:
        """Stop closing late connections."""
        self._timer.cancel()

    def add(self, connection: "Connection") -> None:
        """Add a new connection. Above the maximum, close an idle connection, or else refuse the new one."""
        self._all.add(connection)
        if len(self._all) > self.most:
            self._turned_away += 1
            self._say_so()
            if self._idle:
                oldest = next(iter(self._idle))
                # Removed at once, since further connections may arrive before this one is closed.
                self.remove(oldest)
                # The rest of the last response is still sent.
                oldest.transport.close()
            elif len(self._all) > self.most + SPARE:
                connection.abort()
            else:
                connection.is_too_many = True
        self.rests(connection)

    def remove(self, connection: "Connection") -> None:
        """Remove a closed connection."""
        self._all.discard(connection)
        self._idle.pop(connection, None)

    def rests(self, connection: "Connection") -> None:
        """Note that a connection has no request."""
        if connection in self._all:
            self._idle[connection] = None

    def works(self, connection: "Connection") -> None:
        """Note that a connection has a request."""
        self._idle.pop(connection, None)

    def _sweep(self) -> None:
        now = time.monotonic()
        for connection in list(self._all):
            connection.end_if_late(now)
        self.start()

    def _say_so(self) -> None:
        now = time.monotonic()
        if now >= self._log_after:
            self._log_after = now + _LOG_SECONDS
            log.warning(
                "%d HTTP connections are open, the most that are served (TASKPLANE_MAX_HTTP_CONNECTIONS, and the limit "
                "of open files): %d were closed or refused since this was said last",
                self.most,
                self._turned_away,
            )
            self._turned_away = 0


class Connection(H11Protocol):
    """A connection. The state of its requests has a way to abort it, and says whether it exceeds the maximum."""

    def __init__(self, connections: Connections, **given: Any) -> None:
        super().__init__(**given)
        self._connections = connections
        self.is_too_many = False
        # When the wait for a header began; None before the first byte of a header, and after the last.
        self._header_since: float | None = time.monotonic()
        self._has_begun = False
        self._closing_since: float | None = None
        self.unparsed = b""

    def connection_made(self, transport: Any) -> None:
        """Add the connection."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "abort": transport.abort, "is_too_many": lambda: self.is_too_many}
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection."""
        self._connections.remove(self)
        super().connection_lost(exc)
        # The request's state refers to the connection: a cycle, which would stay until the rare garbage collection.
        self.app_state = {}
        self.cycle = self.scope = None  # type: ignore[assignment]  # as before the first request

    def data_received(self, data: bytes) -> None:
        """Parse bytes while the round has time, and the rest later."""
        self._connections.portions.take(self, data)

    def parse(self, data: bytes) -> None:
        """Parse the next portion, and note whether a header is complete."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._header_since = None
            if self.cycle and not self.cycle.response_complete:
                self._connections.works(self)
        elif self._header_since is None:
            self._header_since = time.monotonic()
        self._has_begun = True

    def awaits_header(self) -> bool:
        """Return whether no request is in progress."""
        return self.conn.their_state is h11.IDLE

    def is_over(self) -> bool:
        """Return whether the connection is closed or closing."""
        return bool(self.transport.is_closing())

    def hold(self) -> None:
        """Stop receiving until all received bytes are parsed."""
        if not self.is_over():
            self.transport.pause_reading()

    def go_on(self) -> None:
        """Receive again, unless uvicorn has paused reading."""
        if not self.is_over() and not self.flow.read_paused:
            self.transport.resume_reading()

    def on_response_complete(self) -> None:
        """Note that the connection has no request, unless the next one has arrived."""
        super().on_response_complete()
        if self.cycle and self.cycle.response_complete:
            self._connections.rests(self)

    def abort(self) -> None:
        """Close the connection at once."""
        self.transport.abort()

    def end_if_late(self, now: float) -> None:
        """Close the connection if its header, or the client's reading of the response, is late."""
        if self.transport.is_closing():
            self._closing_since = self._closing_since or now
            if now - self._closing_since > CLOSING_SECONDS:
                self.abort()
        elif self._header_since is not None and now - self._header_since > HEADER_SECONDS:
            if self._has_begun:
                self.transport.write(_TIMED_OUT)
            self.transport.close()
