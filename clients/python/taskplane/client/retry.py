"""The repeat of failed calls: whether, and after how long."""

from dataclasses import dataclass

from taskplane.client.errors import TaskplaneError, UnavailableError
from taskplane.protocol.backoff import full_jitter

# For a call with all its repeats, unless the client or the call has another.
DEFAULT_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class RetryPolicy:
    """Exponential backoff with full jitter: a random wait between 0 and a bound that doubles with each failure.

    `attempts` includes the first call. With the defaults, a call survives a restart of the server for about a second,
    and a caller learns after the same time that a server is away.
    """

    attempts: int = 5
    first_bound_seconds: float = 0.2
    last_bound_seconds: float = 5.0

    def pause_seconds(self, failures: int, error: TaskplaneError) -> float:
        """Return the wait after `failures` in a row; the server's retry delay is its minimum."""
        return (error.retry_delay or 0) + full_jitter(failures, self.first_bound_seconds, self.last_bound_seconds)

    def allows(self, failures: int, error: TaskplaneError, *, idempotent: bool) -> bool:
        """Return whether another call is safe and may help, after `failures` in a row.

        After a lost connection the outcome of a call is unknown, so only an idempotent call is repeated. An error with
        a retry delay comes from the server: nothing was done.
        """
        is_safe = idempotent or error.retry_delay is not None
        return failures < self.attempts and isinstance(error, UnavailableError) and is_safe


DEFAULT_RETRY = RetryPolicy()
