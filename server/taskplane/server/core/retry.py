"""The delay of a failed task before its retry."""

import random
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter: between 0 and `base_seconds * 2**retries`, at most `cap_seconds`."""

    base_seconds: float = 1.0
    cap_seconds: float = 300.0

    def backoff(self, retries: int) -> timedelta:
        """Return the wait before the next try, after `retries` earlier ones."""
        # The exponent is bounded so that a large retry count does not overflow a float.
        bound = min(self.cap_seconds, self.base_seconds * 2.0 ** min(retries, 60))
        return timedelta(seconds=random.uniform(0, bound))  # noqa: S311  (spreads load, keeps no secret)
