"""The server's clocks. Times are UTC and aware everywhere but in the database; durations are measured monotonic."""

import time
from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the present time."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Return seconds on a clock that never jumps, to measure how long ago something was."""
    return time.monotonic()
