"""The time that a caller gives is shared out: to the wait, to what follows it, and to the way back of the answer."""

from dataclasses import dataclass
from typing import Any, cast

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskplane.server.core.clock import monotonic
from taskplane.server.rpc import deadlines


@dataclass(frozen=True)
class Called:
    """What a call knows of its caller's deadline."""

    seconds: float | None

    def time_remaining(self) -> float | None:
        return self.seconds


def called(seconds: float | None) -> "grpc.aio.ServicerContext[Any, Any]":
    return cast("grpc.aio.ServicerContext[Any, Any]", Called(seconds))


@given(st.floats(min_value=0.001, max_value=1e6))
def test_a_wait_ends_before_the_call_is_given_up_and_that_before_the_deadline(left: float) -> None:
    context = called(left)
    assert 0 < deadlines.wait_seconds(context) < deadlines.call_seconds(context) < left


@pytest.mark.parametrize("left", [0.0, -1.0])
def test_without_time_there_is_no_wait(left: float) -> None:
    assert deadlines.wait_seconds(called(left)) == deadlines.call_seconds(called(left)) == 0


def test_without_a_deadline_a_wait_ends_before_the_call_is_given_up_too() -> None:
    context = called(None)
    assert 0 < deadlines.wait_seconds(context) < deadlines.call_seconds(context)


def test_the_end_of_a_wait_is_a_moment() -> None:
    before = monotonic()
    assert before <= deadlines.wait_until(called(1.0)) - deadlines.wait_seconds(called(1.0)) <= monotonic()
