"""The HTTP connections: how many there may be, and for how long one may keep the server waiting."""

import asyncio
import logging
import time
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from taskplane.gateway.portions import Portions

log = logging.getLogger("taskplane.http")

# From the first moment of a connection, or the first byte of a further request, to the end of the header.
HEADER_SECONDS = 10.0
# A connection that is to be closed waits so long for its client to take what was written.
CLOSING_SECONDS = 10.0
# Beyond the most, so many are let in to be told so, and to ask how the server is.
SPARE = 32
_SWEEP_SECONDS = 1.0
_LOG_SECONDS = 60.0
_TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Connections:
    """All connections of one server. `start` within the event loop, then `stop`."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.portions = Portions()
        self._all: set[Connection] = set()
        # Those without a request, the longest waiting first.
        self._idle: dict[Connection, None] = {}
        self._turned_away = 0
        self._log_after = 0.0

    def start(self) -> None:
        """Begin to look after what is there."""
        self._timer = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)

    def stop(self) -> None:
        """End that."""
        self._timer.cancel()

    def add(self, connection: "Connection") -> None:
        """Take a new connection in. If there are too many, one that has no request must go, or else the new one."""
        self._all.add(connection)
        if len(self._all) > self.most:
            self._turned_away += 1
            self._say_so()
            if self._idle:
                oldest = next(iter(self._idle))
                # At once, as more may come before its end is noticed.
                self.remove(oldest)
                # Without a request, but perhaps not yet with all of the last answer: that is still sent.
                oldest.transport.close()
            elif len(self._all) > self.most + SPARE:
                connection.abort()
            else:
                connection.is_too_many = True
        self.rests(connection)

    def remove(self, connection: "Connection") -> None:
        """Forget a connection that is gone."""
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
    """One connection. Its requests find in their state how to abort it, and whether it is one too many."""

    def __init__(self, connections: Connections, **given: Any) -> None:
        super().__init__(**given)
        self._connections = connections
        self.is_too_many = False
        # Since when a header is waited for; None while none is begun, or one is there.
        self._header_since: float | None = time.monotonic()
        self._has_begun = False
        self._closing_since: float | None = None
        self.unparsed = b""

    def connection_made(self, transport: Any) -> None:
        """Take it in."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "abort": transport.abort, "is_too_many": lambda: self.is_too_many}
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._connections.remove(self)
        super().connection_lost(exc)
        # Its request's state names the connection: a circle that the garbage collector, which comes rarely, would find.
        self.app_state = {}
        self.cycle = self.scope = None  # type: ignore[assignment]  # as before the first request

    def data_received(self, data: bytes) -> None:
        """Parse it, as far as there is time, and the rest later."""
        self._connections.portions.take(self, data)

    def parse(self, data: bytes) -> None:
        """Parse the next portion, and note whether a header is there."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._header_since = None
            if self.cycle and not self.cycle.response_complete:
                self._connections.works(self)
        elif self._header_since is None:
            self._header_since = time.monotonic()
        self._has_begun = True

    def awaits_header(self) -> bool:
        """Whether no request is under way."""
        return self.conn.their_state is h11.IDLE

    def is_over(self) -> bool:
        """Whether the connection is closed, or about to be."""
        return bool(self.transport.is_closing())

    def hold(self) -> None:
        """Receive nothing until what was received is parsed."""
        if not self.is_over():
            self.transport.pause_reading()

    def go_on(self) -> None:
        """Receive again, unless uvicorn does not want it."""
        if not self.is_over() and not self.flow.read_paused:
            self.transport.resume_reading()

    def on_response_complete(self) -> None:
        """Note that no request is there, unless another one has come already."""
        super().on_response_complete()
        if self.cycle and self.cycle.response_complete:
            self._connections.rests(self)

    def abort(self) -> None:
        """Close it without waiting for anything."""
        self.transport.abort()

    def end_if_late(self, now: float) -> None:
        """Close it if its header has not come in time, or its client does not take what was written."""
        if self.transport.is_closing():
            self._closing_since = self._closing_since or now
            if now - self._closing_since > CLOSING_SECONDS:
                self.abort()
        elif self._header_since is not None and now - self._header_since > HEADER_SECONDS:
            if self._has_begun:
                self.transport.write(_TIMED_OUT)
            self.transport.close()
