import pytest

from taskplane.protocol.backoff import full_jitter


@pytest.mark.parametrize(("failures", "bound"), [(1, 0.5), (2, 1.0), (4, 4.0), (7, 30.0), (100_000, 30.0)])
def test_waits_fill_the_range_below_a_bound_that_doubles(failures: int, bound: float) -> None:
    waits = [full_jitter(failures, 0.5, 30.0) for _ in range(300)]
    assert max(waits) <= bound
    assert min(waits) < bound / 10 < 9 * bound / 10 < max(waits)
