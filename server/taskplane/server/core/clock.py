"""The server's clock. Times are UTC and aware everywhere but in the database."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the present time."""
    return datetime.now(UTC)
