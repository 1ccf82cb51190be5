"""A bounded amount of work in each round of the event loop, whoever brings it."""

import asyncio
from collections import deque


class LoopBudget:
    """Gives turns: so much work begins in one round of the loop, and the rest waits for the next ones, in its order.

    What else is ready in the loop comes in between: a probe, a commit. Without load no turn is waited for.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._begun = 0
        self._is_due = False

    async def turn(self, work: int = 1) -> None:
        """Wait for a turn to do so much."""
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
