"""Writes to readers: one that nobody reads is noticed, and what waits behind it is let go."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

# A reader that takes nothing for so long is cut; it can come back with the last revision that it has seen.
WRITE_SECONDS = 30.0


class StallGuard:
    """Notices a write that takes too long, within a context, and calls `on_stall` once.

    It cancels nothing: gRPC could not end a stream behind a write that was given up. One timer serves all writes, as
    thousands of readers may be told of the same event.
    """

    def __init__(self, write_seconds: float) -> None:
        self._write_seconds = write_seconds
        self._writing_since: float | None = None
        self.on_stall: list[Callable[[], None]] = []

    def __enter__(self) -> Self:
        """Begin to look."""
        self._look_later()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Look no longer."""
        self._timer.cancel()

    async def write(self, writing: Awaitable[None]) -> None:
        """Wait for a write."""
        self._writing_since = time.monotonic()
        await writing
        self._writing_since = None

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._write_seconds / 3, self._look)

    def _look(self) -> None:
        if self._writing_since is None or time.monotonic() - self._writing_since < self._write_seconds:
            self._look_later()
            return
        for act in self.on_stall:
            act()
