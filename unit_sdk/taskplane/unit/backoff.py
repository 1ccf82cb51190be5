"""How long a unit waits before it tries again to reach the server."""

import random

from taskplane.protocol.backoff import full_jitter
from taskplane.unit.lease import Lease

_FIRST_BOUND_SECONDS = 0.5
_LONGEST_BOUND_SECONDS = 30.0
# While another process has the unit's id; long enough for that one to be back first if its connection breaks.
_TAKEN_BOUNDS_SECONDS = (1.0, 5.0)


class Backoff:
    """Each wait is a random part of a bound that doubles, up to 30 s or half a lease, whichever is shorter.

    A server that was away gives the unit's tasks to others one lease after it is back, so the unit must be back sooner.
    """

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._failures = 0

    def start_over(self) -> None:
        """The server was reached."""
        self._failures = 0

    def next_seconds(self) -> float:
        """Returns how long to wait this time."""
        self._failures += 1
        return full_jitter(self._failures, _FIRST_BOUND_SECONDS, self._longest())

    def seconds_while_taken(self) -> float:
        """Returns how long to wait this time, as another process has the unit's id."""
        return random.uniform(*_TAKEN_BOUNDS_SECONDS)  # noqa: S311 - spreads tries, hides nothing

    def _longest(self) -> float:
        duration = self._lease.duration
        return _LONGEST_BOUND_SECONDS if duration is None else min(_LONGEST_BOUND_SECONDS, duration / 2)
