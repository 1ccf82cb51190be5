"""Turns: watchers go on a few at a time, so that a thousand of one task hold up neither commits nor verbs.

After some messages they rest, longer while verbs are under way, and the less the longer somebody has waited.
"""

import asyncio
import time
from collections import deque
from typing import Protocol

# How many messages watchers may write before everything else has its time again; a message takes some 50 µs.
MESSAGES_AT_ONCE = 20
# A longer message counts as several.
MESSAGE_BYTES = 4 * 1024
# How long they rest then, so that callers and commits come first.
REST_SECONDS = 0.001
# The same while verbs are under way.
REST_BEHIND_VERBS_SECONDS = 0.010
# The longer somebody has waited the shorter is the rest, and after this there is none until that is made good.
PATIENT_FOR_SECONDS = 2.0


class Waiter(Protocol):
    """Somebody who waits for a turn."""

    def take_turn(self) -> int:
        """Go on with what there is. Returns how many messages that may be."""


class FairScheduler:
    """Who waits for a turn, the longest waiting first, and when the next ones have it."""

    def __init__(self) -> None:
        # Each with since when, by the monotonic clock.
        self._waiting: deque[tuple[float, Waiter]] = deque()
        self._is_due = False
        # How many verbs wait for their effect.
        self.verbs_under_way = 0

    def wait(self, patient: Waiter) -> None:
        """Give somebody a turn, after those who wait already."""
        self._waiting.append((time.monotonic(), patient))
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._begin)

    async def turn(self, messages: int) -> None:
        """Wait for a turn in which to write so many messages."""
        once = _Once(messages)
        self.wait(once)
        await once.comes

    def _begin(self) -> None:
        # A few are not worth the delay.
        if len(self._waiting) > MESSAGES_AT_ONCE:
            self._rest()
        else:
            self._let_some_go_on()

    def _let_some_go_on(self) -> None:
        messages = 0
        while self._waiting and messages < MESSAGES_AT_ONCE:
            messages += self._waiting.popleft()[1].take_turn()
        self._is_due = bool(self._waiting)
        if self._is_due:
            self._rest()

    def _rest(self) -> None:
        # Even if it is over at once, what else is ready in the loop comes in between.
        asyncio.get_running_loop().call_later(self._rest_seconds(), self._let_some_go_on)

    def _rest_seconds(self) -> float:
        longest = REST_BEHIND_VERBS_SECONDS if self.verbs_under_way else REST_SECONDS
        waited = time.monotonic() - self._waiting[0][0]
        return longest * max(0.0, 1.0 - waited / PATIENT_FOR_SECONDS)


class _Once:
    """A wait for one turn."""

    def __init__(self, messages: int) -> None:
        self._messages = messages
        self.comes = asyncio.get_running_loop().create_future()

    def take_turn(self) -> int:
        if self.comes.cancelled():
            return 0
        self.comes.set_result(None)
        return self._messages
