"""Time limits of calls: of the wait for an effect, and of the whole call, up to the caller's deadline.

The wait ends first, so that a recorded verb responds with COMMAND_PENDING before the call is abandoned.
"""

from typing import Any

import grpc

from taskplane.server.core.clock import monotonic

Context = grpc.aio.ServicerContext[Any, Any]

# Seconds for a call without a deadline.
DEFAULT_WAIT_SECONDS = 10.0
DEFAULT_CALL_SECONDS = 30.0
# Time for the response to reach the caller before the deadline: seconds, but only a share of a short deadline.
_WAIT_MARGIN_SECONDS = 0.05
_WAIT_SHARE = 0.5
_CALL_MARGIN_SECONDS = 0.02
_CALL_SHARE = 0.75
# Further time for a wait that ends with the call because the event loop is late.
_LAST_SECONDS = 0.01
_LAST_SHARE = 0.125
# Share of a call's time for reading; the rest is for the response.
_READ_SHARE = 0.9


def wait_seconds(context: Context) -> float:
    """Return the seconds for which a call may still wait for its effect."""
    left: float | None = context.time_remaining()
    return DEFAULT_WAIT_SECONDS if left is None else max(left - _WAIT_MARGIN_SECONDS, left * _WAIT_SHARE, 0.0)


def wait_until(context: Context) -> float:
    """Return the end of a call's wait for its effect, by `core.clock.monotonic`."""
    return monotonic() + wait_seconds(context)


def read_seconds(context: Context) -> float:
    """Return the seconds for the database to read, short enough that the call itself reports the end."""
    return call_seconds(context)[0] * _READ_SHARE


def call_seconds(context: Context) -> tuple[float, float]:
    """Return the seconds that a call may still take, and further seconds for a wait that ends only then."""
    left: float | None = context.time_remaining()
    whole = DEFAULT_CALL_SECONDS if left is None else max(left - _CALL_MARGIN_SECONDS, left * _CALL_SHARE, 0.0)
    last = min(_LAST_SECONDS, whole * _LAST_SHARE)
    return whole - last, last
