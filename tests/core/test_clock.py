"""The server's clock: starts as the wall clock, and never jumps."""

from dataclasses import dataclass

import pytest

from taskplane.server.core.clock import MOST_STEERING, ServerClock

EPOCH = 1_700_000_000.0


@dataclass
class Time:
    """Both clocks of a machine."""

    wall: float = EPOCH
    monotonic: float = 10.0

    def passes(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def clock(time: Time) -> ServerClock:
    return ServerClock(lambda: time.wall, lambda: time.monotonic)


def test_it_shows_the_wall_clocks_time(time: Time, clock: ServerClock) -> None:
    time.passes(90.5)
    assert clock.now().timestamp() == EPOCH + 90.5
    assert clock.steer() == 0


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_wall_clock_that_is_set_changes_no_duration_by_more_than_the_steering(
    time: Time, clock: ServerClock, jump: float
) -> None:
    time.passes(1)
    time.wall += jump
    before = clock.now()
    for _ in range(100):
        assert clock.steer() == pytest.approx(jump, abs=1)
        time.passes(1)
    assert (clock.now() - before).total_seconds() == pytest.approx(100, rel=MOST_STEERING + 1e-6)


@pytest.mark.parametrize("step", [0.4, -0.4])
def test_it_follows_a_small_step_completely_and_never_goes_back(time: Time, clock: ServerClock, step: float) -> None:
    time.wall += step
    last = clock.now()
    for _ in range(round(abs(step) / MOST_STEERING) + 2):
        clock.steer()
        assert clock.now() >= last
        last = clock.now()
        time.passes(1)
    assert clock.steer() == pytest.approx(0, abs=1e-4)


def test_a_restart_takes_the_wall_clocks_time(time: Time, clock: ServerClock) -> None:
    time.wall += 3600
    clock.restart()
    assert clock.now().timestamp() == EPOCH + 3600
