"""The delay of a failed task before its retry."""

from dataclasses import dataclass
from datetime import timedelta

from taskplane.protocol.backoff import full_jitter


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter: between 0 and `base_seconds * 2**retries`, at most `cap_seconds`."""

    base_seconds: float = 1.0
    cap_seconds: float = 300.0

    def backoff(self, retries: int) -> timedelta:
        """Return the wait before the next try, after `retries` earlier ones."""
        return timedelta(seconds=full_jitter(retries + 1, self.base_seconds, self.cap_seconds))
