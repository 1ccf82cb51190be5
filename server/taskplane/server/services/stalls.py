"""A guard for writes to readers: a stalled write is noticed, and the events behind it are dropped."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

# Above this time for one write, the reader is cut. The reader can resume with its last revision.
WRITE_SECONDS = 30.0


class StallGuard:
    """Notices a write that takes too long, within a context, and calls `on_stall` once.

    Cancels nothing: gRPC could not end a stream after an abandoned write. One timer serves all writes, because
    thousands of readers may receive the same event.
    """

    def __init__(self, write_seconds: float) -> None:
        self._write_seconds = write_seconds
        self._writing_since: float | None = None
        self.on_stall: list[Callable[[], None]] = []

    def __enter__(self) -> Self:
        """Start the timer."""
        self._look_later()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the timer."""
        self._timer.cancel()

    async def write(self, writing: Awaitable[None]) -> None:
        """Await a write."""
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
