"""Safe points of task types, and the timeout for the first one."""

import time

# Seconds that a pause or a drain waits for the first safe point of a task type without any so far. Half of PauseTask's
# default timeout: the caller still waits when the pause takes effect.
SAFE_POINT_TIMEOUT_SECONDS = 5.0


class SafePoints:
    """Whether executors of one task type have safe points. Shared by all attempts of the type. Thread-safe.

    An executor shows a safe point by `safe_point`, or by a checkpoint in `report`. From then on, pauses and drains stop
    the type only there: a stop at a plain report would lose the work since the last checkpoint.
    """

    def __init__(self, *, can_checkpoint: bool | None) -> None:
        """`can_checkpoint` is the declaration of the type, None without one."""
        self.are_known = can_checkpoint is True
        # A task that always begins from the start can stop anywhere.
        self.are_everywhere = can_checkpoint is False

    def mark_known(self) -> None:
        """Record that an executor has shown a safe point."""
        self.are_known = True


class SafePointTimeout:
    """The time that a pause or a drain has waited for a safe point of one attempt. Not thread-safe."""

    def __init__(self) -> None:
        self._seconds = SAFE_POINT_TIMEOUT_SECONDS
        self._started_at: float | None = None
        self._has_warned = False

    def start(self, seconds: float) -> None:
        """Start the clock unless it runs; the shorter one of two timeouts counts."""
        if self._started_at is None:
            self._seconds = SAFE_POINT_TIMEOUT_SECONDS
            self._started_at = time.monotonic()
        self._seconds = min(seconds, self._seconds)

    def restart(self) -> None:
        """Start a running clock again: the executor could not work until now."""
        if self._started_at is not None:
            self._started_at = time.monotonic()

    def stop(self) -> None:
        """Stop the clock."""
        self._started_at = None
        self._has_warned = False

    @property
    def has_expired(self) -> bool:
        """Whether the clock runs and the timeout is over."""
        return self._started_at is not None and time.monotonic() - self._started_at >= self._seconds

    def is_first_warning(self) -> bool:
        """Return True at the first call since `stop`."""
        has_warned, self._has_warned = self._has_warned, True
        return not has_warned
