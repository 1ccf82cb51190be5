"""The server's clocks. Times are aware and UTC outside the database; durations are measured monotonically.

`utc_now` is the clock for decisions and stored times. It starts as the wall clock and continues with the monotonic
clock, so a step of the wall clock changes no duration while the server lives. `utc_now` follows the wall clock by at
most `MOST_STEERING`. On Linux the monotonic clock runs at NTP's rate, so only steps are followed: a step of a second in
some minutes, a step of an hour in a week. A restart follows at once.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

# Seconds of steering for each second: the relative error of any duration is at most this.
MOST_STEERING = 0.005


class ServerClock:
    """A clock that never jumps and never runs backwards. `steer` it about once a second."""

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self.restart()

    def restart(self) -> None:
        """Set the clock to the wall clock."""
        self._began, self._began_monotonic, self._rate = self._wall(), self._monotonic(), 1.0

    def now(self) -> datetime:
        """Return the present time."""
        return datetime.fromtimestamp(self._seconds_at(self._monotonic()), UTC)

    def steer(self) -> float:
        """Follow the wall clock a little. Returns the seconds by which the wall clock is ahead."""
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
    """Return the present time for decisions and stored times."""
    return SERVER_CLOCK.now()


def wall_now() -> datetime:
    """Return the wall clock's time, for points in time named by users."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Return seconds on a clock that never jumps, for durations."""
    return time.monotonic()
