"""The fair scheduler: watchers run a few at a time, so that a thousand watchers delay neither commits nor verbs.

After a number of messages the watchers rest, longer while verbs are pending, and shorter the longer a watcher has
waited.
"""

import asyncio
import time
from collections import deque
from typing import Protocol

# Messages that watchers may write between two rests; a message takes about 50 µs.
MESSAGES_AT_ONCE = 20
# A longer message counts as several.
MESSAGE_BYTES = 4 * 1024
# The rest of the watchers, in which callers and commits run.
REST_SECONDS = 0.001
# The rest while verbs are pending.
REST_WITH_VERBS_SECONDS = 0.010
# The rest shrinks with the longest wait of a watcher, and is zero from this wait on.
MAX_REST_WAIT_SECONDS = 2.0


class Waiter(Protocol):
    """A watcher that waits for its turn."""

    def take_turn(self) -> int:
        """Use the turn. Returns the number of messages that the watcher may write."""


class FairScheduler:
    """The waiting watchers, the longest wait first, and the time of the next turns."""

    def __init__(self) -> None:
        # Each with the start of its wait, by the monotonic clock.
        self._waiting: deque[tuple[float, Waiter]] = deque()
        self._is_due = False
        # The number of verbs that wait for their effect.
        self.pending_verbs = 0

    def enqueue(self, waiter: Waiter) -> None:
        """Give a waiter a turn, after the earlier ones."""
        self._waiting.append((time.monotonic(), waiter))
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._begin)

    async def wait_for_turn(self, messages: int) -> None:
        """Wait for a turn for this number of messages."""
        turn = _SingleTurn(messages)
        self.enqueue(turn)
        await turn.has_come

    def _begin(self) -> None:
        # Few waiters are not worth a rest.
        if len(self._waiting) > MESSAGES_AT_ONCE:
            self._rest()
        else:
            self._run_some()

    def _run_some(self) -> None:
        messages = 0
        while self._waiting and messages < MESSAGES_AT_ONCE:
            messages += self._waiting.popleft()[1].take_turn()
        self._is_due = bool(self._waiting)
        if self._is_due:
            self._rest()

    def _rest(self) -> None:
        # Also with a rest of zero, other ready callbacks of the loop run first.
        asyncio.get_running_loop().call_later(self._rest_seconds(), self._run_some)

    def _rest_seconds(self) -> float:
        longest = REST_WITH_VERBS_SECONDS if self.pending_verbs else REST_SECONDS
        waited = time.monotonic() - self._waiting[0][0]
        return longest * max(0.0, 1.0 - waited / MAX_REST_WAIT_SECONDS)


class _SingleTurn:
    def __init__(self, messages: int) -> None:
        self._messages = messages
        self.has_come = asyncio.get_running_loop().create_future()

    def take_turn(self) -> int:
        if self.has_come.cancelled():
            return 0
        self.has_come.set_result(None)
        return self._messages
