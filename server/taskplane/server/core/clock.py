"""The server's clocks. Times are UTC and aware everywhere but in the database; durations are measured monotonic.

`utc_now` is the time for decisions and for what is stored. It starts as the wall clock and continues with the monotonic
one, so a wall clock that is set does not change how long anything lasts while the server lives. It follows the wall
clock by at most `MOST_STEERING`. On Linux the monotonic clock runs at NTP's rate, so only steps are left to follow: a
step of a second takes some minutes, one of an hour a week. A restart follows at once.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

# Seconds by which the clock is steered a second: no duration is wrong by more than this share.
MOST_STEERING = 0.005


class ServerClock:
    """A clock that never jumps and never goes back. `steer` it about once a second."""

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self.restart()

    def restart(self) -> None:
        """Take the wall clock's time."""
        self._began, self._began_monotonic, self._rate = self._wall(), self._monotonic(), 1.0

    def now(self) -> datetime:
        """Return the present time."""
        return datetime.fromtimestamp(self._seconds_at(self._monotonic()), UTC)

    def steer(self) -> float:
        """Follow the wall clock a little. Returns how many seconds that is ahead."""
        at = self._monotonic()
        seconds = self._seconds_at(at)
        ahead = self._wall() - seconds
        self._began, self._began_monotonic = seconds, at
        self._rate = 1.0 + max(-MOST_STEERING, min(MOST_STEERING, ahead))
        return ahead

    def _seconds_at(self, at: float) -> float:
        return self._began + (at - self._began_monotonic) * self._rate


SERVER_CLOCK = ServerClock()


def utc_now() -> datetime:
    """Return the present time, as the server decides by it and stores it."""
    return SERVER_CLOCK.now()


def wall_now() -> datetime:
    """Return what the wall clock says, for points in time that a user has named."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Return seconds on a clock that never jumps, to measure how long ago something was."""
    return time.monotonic()
