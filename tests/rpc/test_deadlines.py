"""Deadlines of callers: shared between the wait, the steps after the wait, and the way back of the response."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskplane.server.core.clock import monotonic
from taskplane.server.core.errors import DatabaseSilent
from taskplane.server.rpc import deadlines, guarding


@dataclass(frozen=True)
class Called:
    """The caller's deadline, as a call sees it."""

    seconds: float | None

    def time_remaining(self) -> float | None:
        return self.seconds


def called(seconds: float | None) -> "grpc.aio.ServicerContext[Any, Any]":
    return cast("grpc.aio.ServicerContext[Any, Any]", Called(seconds))


@given(st.floats(min_value=0.001, max_value=1e6))
def test_a_wait_ends_before_the_call_is_given_up_and_that_before_the_deadline(left: float) -> None:
    context = called(left)
    seconds, more_seconds = deadlines.call_seconds(context)
    assert more_seconds > 0
    assert 0 < deadlines.wait_seconds(context) < seconds < seconds + more_seconds < left


@pytest.mark.parametrize("left", [0.0, -1.0])
def test_without_time_there_is_no_wait(left: float) -> None:
    assert deadlines.wait_seconds(called(left)) == 0
    assert deadlines.call_seconds(called(left)) == (0, 0)


def test_without_a_deadline_a_wait_ends_before_the_call_is_given_up_too() -> None:
    context = called(None)
    assert 0 < deadlines.wait_seconds(context) < deadlines.call_seconds(context)[0]


def test_the_end_of_a_wait_is_a_moment() -> None:
    before = monotonic()
    assert before <= deadlines.wait_until(called(1.0)) - deadlines.wait_seconds(called(1.0)) <= monotonic()


async def waits(request: None, context: deadlines.Context) -> str:
    """Wait for an effect that never comes."""
    try:
        async with asyncio.timeout(deadlines.wait_seconds(context)):
            await asyncio.Event().wait()
    except TimeoutError:
        return "still pending"
    raise AssertionError("nobody sets the event")


async def hangs(request: None, context: deadlines.Context) -> str:
    """Call a silent database."""
    await asyncio.Event().wait()
    raise AssertionError("nobody sets the event")


async def answer_of(behaviour: Callable[..., Awaitable[str]]) -> str:
    """Return the response of a call whose loop is blocked until both its wait and its deadline are over."""
    call: asyncio.Future[str] = asyncio.ensure_future(guarding._timely(behaviour)(None, called(0.1)))
    await asyncio.sleep(0)  # its first step, which sets the timers
    time.sleep(0.2)  # noqa: ASYNC251  (that is the point)
    return await call


async def test_a_wait_says_that_it_is_over_also_when_the_loop_is_late_at_the_deadline() -> None:
    assert await answer_of(waits) == "still pending"


async def test_a_call_that_hangs_is_given_up_also_when_the_loop_is_late_at_the_deadline() -> None:
    with pytest.raises(DatabaseSilent):
        await answer_of(hangs)
