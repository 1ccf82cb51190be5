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
        self._begun = 0
        self._is_due = False

    async def turn(self, work: int = 1) -> None:
        """Wait until this amount of work may begin."""
        if self._waiting or self._begun >= self._at_once:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append((work, turn))
            await turn
            return
        self._begun += work
        self._go_on_later()

    def _go_on_later(self) -> None:
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        self._is_due = False
        self._begun = 0
        while self._waiting and self._begun < self._at_once:
            work, turn = self._waiting.popleft()
            if not turn.cancelled():
                turn.set_result(None)
                self._begun += work
        if self._begun:
            self._go_on_later()
