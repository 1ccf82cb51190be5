"""A bound for the work in each round of the event loop."""

import asyncio
from collections import deque


class LoopBudget:
    """Limits the work that begins in one round of the event loop; the rest waits in order for later rounds.

    Other ready callbacks, such as probes and commits, run between rounds. Without load, nothing waits.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._used = 0
        self._is_scheduled = False

    async def acquire(self, work: int = 1) -> None:
        """Wait until this amount of work may begin."""
        if self._waiting or self._used >= self._at_once:
            acquired = asyncio.get_running_loop().create_future()
            self._waiting.append((work, acquired))
            await acquired
            return
        self._used += work
        self._resume_later()

    def _resume_later(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._resume)

    def _resume(self) -> None:
        self._is_scheduled = False
        self._used = 0
        while self._waiting and self._used < self._at_once:
            work, acquired = self._waiting.popleft()
            if not acquired.cancelled():
                acquired.set_result(None)
                self._used += work
        if self._used:
            self._resume_later()
