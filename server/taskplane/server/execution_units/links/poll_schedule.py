"""When a unit is asked about each attempt that it holds. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

# An attempt: task and number.
Key = tuple[int, int]

# After a command that was accepted, its effect is looked for after so long, then after twice as long, …
FIRST_POLL_SECONDS = 0.25


@dataclass(slots=True)
class _Next:
    at: float
    # How long after that the next one is.
    wait: float


class PollSchedule:
    """Asks about an attempt when nothing was heard of it for an interval, and sooner while an effect is awaited.

    Times are seconds of any one clock.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._next: dict[Key, _Next] = {}

    def keep(self, held: Iterable[Key], now: float) -> None:
        """Note that the unit holds these attempts and no others."""
        new = _Next(now + self._interval, self._interval)
        self._next = {key: self._next.get(key) or _Next(new.at, new.wait) for key in held}

    def note_callback(self, key: Key, now: float) -> None:
        """Note that the unit has spoken about an attempt by itself."""
        if key in self._next:
            self._next[key] = _Next(now + self._interval, self._interval)

    def poll_soon(self, key: Key, now: float, wait: float = FIRST_POLL_SECONDS) -> None:
        """Ask about an attempt so soon, and again after twice as long."""
        self._next[key] = _Next(now + wait, min(2 * wait, self._interval))

    def take_due(self, now: float) -> list[Key]:
        """Return the attempts to ask about now, those first that have waited longest."""
        due = sorted((key for key, each in self._next.items() if each.at <= now), key=lambda key: self._next[key].at)
        for key in due:
            wait = self._next[key].wait
            self._next[key] = _Next(now + wait, min(2 * wait, self._interval))
        return due

    def seconds_left(self, now: float) -> float:
        """Return how long until something is due; at the most an interval."""
        return max(0.0, min((each.at - now for each in self._next.values()), default=self._interval))
