"""What clients send, handed to the parser of HTTP in portions: a bounded time of it in each round of the event loop.

A body in chunks of one byte costs the parser a second for what the system hands over at once.
"""

import asyncio
import time
from collections import deque
from typing import Protocol

# How long all connections together are parsed in a round, and how many bytes are parsed between two looks at the clock.
ROUND_SECONDS = 0.004
PORTION_BYTES = 512
# A header of so many bytes is parsed as soon as it is there: that of a probe.
SHORT_BYTES = 1024


class Reader(Protocol):
    """A connection that is read from."""

    # What was received and is not parsed yet.
    unparsed: bytes

    def parse(self, data: bytes) -> None:
        """Parse what is next."""

    def awaits_header(self) -> bool:
        """Whether a request is to begin with what is next."""

    def is_over(self) -> bool:
        """Whether nothing more is to be parsed."""

    def hold(self) -> None:
        """Receive nothing more until `go_on`."""

    def go_on(self) -> None:
        """Receive again: all is parsed."""


class Portions:
    """Whose turn it is to be parsed."""

    def __init__(self) -> None:
        self._waiting: deque[Reader] = deque()
        self._spent = 0.0
        self._is_due = False

    def take(self, reader: Reader, data: bytes) -> None:
        """Parse what was received, what there is no time for in later rounds."""
        if reader.unparsed:
            # It waits already; something had been received before it was held.
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
        """Parse for as long as there is time in this round. Returns the rest."""
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
