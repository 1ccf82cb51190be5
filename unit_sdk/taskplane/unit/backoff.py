"""Waiting times between two attempts to reach the server."""

import random

from taskplane.protocol.backoff import full_jitter
from taskplane.unit.lease import Lease

# Upper bounds of the first and of any later wait, in seconds.
_FIRST_BOUND_SECONDS = 0.5
_LONGEST_BOUND_SECONDS = 30.0
# Seconds to wait while another process has the unit's id: that process reconnects first if its connection breaks.
_TAKEN_BOUNDS_SECONDS = (1.0, 5.0)


class Backoff:
    """Random waits below a bound that doubles, up to 30 s or half a lease, whichever is shorter.

    A server that was away gives the unit's tasks to others one lease after its return; the unit must be back sooner.
    """

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._failures = 0

    def reset(self) -> None:
        """Start with short waits again, as the server was reached."""
        self._failures = 0

    def next_seconds(self) -> float:
        """Return the next wait."""
        self._failures += 1
        return full_jitter(self._failures, _FIRST_BOUND_SECONDS, self._longest())

    def seconds_while_taken(self) -> float:
        """Return the wait while another process has the unit's id."""
        return random.uniform(*_TAKEN_BOUNDS_SECONDS)  # noqa: S311 - spreads tries, hides nothing

    def _longest(self) -> float:
        duration = self._lease.duration
        return _LONGEST_BOUND_SECONDS if duration is None else min(_LONGEST_BOUND_SECONDS, duration / 2)
