"""Where an attempt may be stopped by a pause or a drain."""

import time

# Seconds that a pause or a drain waits for the first safe point of a task type that has shown none. Half of what
# PauseTask waits by default, so that its caller is still there.
PATIENCE_SECONDS = 5.0


class SafePoints:
    """Whether executors of one task type name their safe points. Shared by all attempts of the type. Thread-safe.

    An executor names them by `safe_point`, or by a checkpoint in `report`. From then on, pauses and drains take hold
    there only: at a bare report the work since the last checkpoint would be lost if the task moves.
    """

    def __init__(self, *, can_checkpoint: bool | None) -> None:
        """`can_checkpoint` is what the type declares; None: nothing."""
        self.are_named = can_checkpoint is True
        # A task that always begins from the start loses nothing by where it stops.
        self.are_everywhere = can_checkpoint is False

    def name(self) -> None:
        """Note that an executor has shown a safe point."""
        self.are_named = True


class Patience:
    """How long a pause or a drain has waited for a safe point. Not thread-safe."""

    def __init__(self) -> None:
        self._seconds = PATIENCE_SECONDS
        self._began_at: float | None = None
        self._has_warned = False

    def begin(self, seconds: float) -> None:
        """Count from now, unless something waits already; of two bounds the shorter one holds."""
        if self._began_at is None:
            self._seconds = PATIENCE_SECONDS
            self._began_at = time.monotonic()
        self._seconds = min(seconds, self._seconds)

    def begin_again(self) -> None:
        """Count from now, if something waits: the executor could not work until now."""
        if self._began_at is not None:
            self._began_at = time.monotonic()

    def end(self) -> None:
        """Nothing waits any longer."""
        self._began_at = None
        self._has_warned = False

    @property
    def is_over(self) -> bool:
        """Whether it has waited long enough."""
        return self._began_at is not None and time.monotonic() - self._began_at >= self._seconds

    def may_warn(self) -> bool:
        """Return True the first time, since `begin`."""
        has_warned, self._has_warned = self._has_warned, True
        return not has_warned
