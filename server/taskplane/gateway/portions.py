"""Parsing of received bytes in portions, for a bounded time in each round of the event loop.

A body in chunks of one byte costs the parser a second for what the system hands over at once.
"""

import asyncio
import time
from collections import deque
from typing import Protocol

# Seconds of parsing in a round, for all connections together; and bytes parsed between two readings of the clock.
ROUND_SECONDS = 0.004
PORTION_BYTES = 512
# Bytes of a header that is parsed at once: a probe's.
SHORT_BYTES = 1024


class Reader(Protocol):
    """A connection with received bytes."""

    # Received bytes that are not parsed yet.
    unparsed: bytes

    def parse(self, data: bytes) -> None:
        """Parse the next bytes."""

    def awaits_header(self) -> bool:
        """Return whether the next bytes begin a request."""

    def is_over(self) -> bool:
        """Return whether no further bytes will be parsed."""

    def hold(self) -> None:
        """Stop receiving until `go_on`."""

    def go_on(self) -> None:
        """Receive again: all bytes are parsed."""


class Portions:
    """The connections that wait for parsing, in turn."""

    def __init__(self) -> None:
        self._waiting: deque[Reader] = deque()
        self._spent = 0.0
        self._is_due = False

    def take(self, reader: Reader, data: bytes) -> None:
        """Parse received bytes: now while the round has time, the rest in later rounds."""
        if reader.unparsed:
            # The reader waits already; these bytes arrived before the reader was held.
            reader.unparsed += data
            reader.hold()
            return
        if len(data) <= SHORT_BYTES and reader.awaits_header():
            self._parse(reader, data)
        else:
            reader.unparsed = self._parsed(reader, data)
        if reader.unparsed:
            reader.hold()
            self._waiting.append(reader)
        self._go_on_later()

    def _parsed(self, reader: Reader, data: bytes) -> bytes:
        """Parse while this round has time, and return the rest."""
        at = 0
        while at < len(data) and self._spent < ROUND_SECONDS and not reader.is_over():
            self._parse(reader, data[at : at + PORTION_BYTES])
            at += PORTION_BYTES
        return b"" if reader.is_over() else data[at:]

    def _parse(self, reader: Reader, data: bytes) -> None:
        began = time.perf_counter()
        reader.parse(data)
        self._spent += time.perf_counter() - began

    def _go_on_later(self) -> None:
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        self._is_due = False
        self._spent = 0.0
        while self._waiting and self._spent < ROUND_SECONDS:
            reader = self._waiting.popleft()
            reader.unparsed = self._parsed(reader, reader.unparsed)
            if reader.unparsed:
                self._waiting.append(reader)
            else:
                reader.go_on()
        if self._spent:
            self._go_on_later()
