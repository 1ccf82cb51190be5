"""Backoff: exponential, with full jitter, within its bounds for any count."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from taskplane.server.core.retry import RetryPolicy

seconds = st.floats(0, 10_000)


@given(st.integers(0, 100_000), seconds, seconds)
def test_a_wait_is_never_negative_nor_above_its_bounds(retries: int, base: float, cap: float) -> None:
    wait = RetryPolicy(base, cap).backoff(retries)
    bound = min(cap, base * 2.0 ** min(retries, 60))
    # timedelta rounds to microseconds.
    assert timedelta(0) <= wait <= timedelta(seconds=bound, microseconds=1)


def test_the_jitter_is_full() -> None:
    waits = [RetryPolicy(base_seconds=1, cap_seconds=8).backoff(10).total_seconds() for _ in range(1000)]
    assert min(waits) < 1
    assert max(waits) > 7
    assert len(set(waits)) > 900


def test_the_first_wait_is_short() -> None:
    assert all(RetryPolicy(base_seconds=1).backoff(0) <= timedelta(seconds=1) for _ in range(100))
