"""When a call that failed is made again, and after how long."""

from dataclasses import dataclass

from taskplane.client.errors import TaskplaneError, UnavailableError
from taskplane.protocol.backoff import full_jitter


@dataclass(frozen=True)
class RetryPolicy:
    """Exponential backoff with full jitter: a random time between 0 and a bound that doubles each time.

    `attempts` counts the first call too. The defaults give a server that restarts about a second, and tell a caller
    whose server is away no later than that.
    """

    attempts: int = 5
    first_bound_seconds: float = 0.2
    last_bound_seconds: float = 5.0

    def pause_seconds(self, failures: int, error: TaskplaneError) -> float:
        """How long to wait after so many failures in a row; not less than the server asks for."""
        return (error.retry_delay or 0) + full_jitter(failures, self.first_bound_seconds, self.last_bound_seconds)

    def allows(self, failures: int, error: TaskplaneError, *, idempotent: bool) -> bool:
        """Whether to call again, after so many failures in a row, is safe and may help.

        Without a connection nobody knows whether the call has been carried out, so that only an idempotent one is
        repeated. An answer with a retry delay is the server's own: nothing was done.
        """
        is_safe = idempotent or error.retry_delay is not None
        return failures < self.attempts and isinstance(error, UnavailableError) and is_safe
