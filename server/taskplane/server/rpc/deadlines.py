"""How long a call may wait for its effect: up to the caller's deadline, and a default without one."""

from typing import Any

import grpc

DEFAULT_WAIT_SECONDS = 10.0
# The answer must still reach the caller before its own deadline.
MARGIN_SECONDS = 0.05


def wait_seconds(context: "grpc.aio.ServicerContext[Any, Any]") -> float:
    """Return how long a call may wait."""
    left: float | None = context.time_remaining()
    return DEFAULT_WAIT_SECONDS if left is None else max(MARGIN_SECONDS, left - MARGIN_SECONDS)
