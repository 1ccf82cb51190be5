"""Exponential backoff with full jitter."""

import random

# Beyond every longest bound in use; more doublings would overflow.
_MAX_DOUBLINGS = 30


def full_jitter(failures: int, first_seconds: float, longest_seconds: float) -> float:
    """Return a random wait in seconds, from 0 to a bound that doubles with each of `failures` (from 1) in a row.

    The bound is `first_seconds` after the first failure and `longest_seconds` at most.
    """
    bound = min(longest_seconds, first_seconds * 2 ** min(failures - 1, _MAX_DOUBLINGS))
    return random.uniform(0, bound)  # noqa: S311  spreads callers, guards no secret
