"""How long a call may wait for its effect, and how long it may take at all: up to the caller's deadline.

The wait ends first. A verb that is recorded then says so by itself, before it is given up as if nothing had been done.
"""

from typing import Any

import grpc

from taskplane.server.core.clock import monotonic

Context = grpc.aio.ServicerContext[Any, Any]

# Without a deadline.
DEFAULT_WAIT_SECONDS = 10.0
DEFAULT_CALL_SECONDS = 30.0
# The answer must still reach the caller before its own deadline, and leave most of one that is short.
_WAIT_MARGIN_SECONDS = 0.05
_WAIT_SHARE = 0.5
_CALL_MARGIN_SECONDS = 0.02
_CALL_SHARE = 0.75
# What is kept back of a call's time: for a wait that ends only when the call does, as the event loop was late.
_LAST_SECONDS = 0.01
_LAST_SHARE = 0.125
# What is left of a call's time for its answer.
_READ_SHARE = 0.9


def wait_seconds(context: Context) -> float:
    """Return how long a call may wait for its effect from now on."""
    left: float | None = context.time_remaining()
    return DEFAULT_WAIT_SECONDS if left is None else max(left - _WAIT_MARGIN_SECONDS, left * _WAIT_SHARE, 0.0)


def wait_until(context: Context) -> float:
    """Return until when, by `core.clock.monotonic`, a call may wait for its effect."""
    return monotonic() + wait_seconds(context)


def read_seconds(context: Context) -> float:
    """Return how long the database may look for what a call wants to see, so that the call itself says if that ends."""
    return call_seconds(context)[0] * _READ_SHARE


def call_seconds(context: Context) -> tuple[float, float]:
    """Return how long a call may take from now on, and how much longer if a wait has ended only by then."""
    left: float | None = context.time_remaining()
    whole = DEFAULT_CALL_SECONDS if left is None else max(left - _CALL_MARGIN_SECONDS, left * _CALL_SHARE, 0.0)
    last = min(_LAST_SECONDS, whole * _LAST_SHARE)
    return whole - last, last
