"""Portions of received data: no client blocks the loop with a large request, and short requests pass first."""

import asyncio
import time

import pytest

from taskplane.gateway import portions
from taskplane.gateway.portions import PORTION_BYTES, SHORT_BYTES, Portions

LONG = bytes(20 * PORTION_BYTES)


class Scripted:
    """A slow reader that records the portions it parses."""

    def __init__(self, *, seconds: float = 0.0, in_body: bool = True) -> None:
        self.unparsed = b""
        self.parsed: list[bytes] = []
        self.is_held = False
        self.has_gone_on = asyncio.Event()
        self.closed = False
        self._seconds = seconds
        self._in_body = in_body

    def parse(self, data: bytes) -> None:
        self.parsed.append(data)
        until = time.perf_counter() + self._seconds
        while time.perf_counter() < until:
            pass

    def awaits_header(self) -> bool:
        return not self._in_body

    def is_over(self) -> bool:
        return self.closed

    def hold(self) -> None:
        self.is_held = True

    def go_on(self) -> None:
        self.is_held = False
        self.has_gone_on.set()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """Return a reader with time for one portion per round."""
    monkeypatch.setattr(portions, "ROUND_SECONDS", 0.001)
    return Scripted(seconds=0.001)


async def test_what_takes_no_time_is_parsed_at_once_and_in_order() -> None:
    reader = Scripted()
    sent = bytes(range(256)) * 40
    Portions().take(reader, sent)
    assert b"".join(reader.parsed) == sent
    assert not reader.is_held


async def test_what_takes_long_is_parsed_over_many_rounds_and_nothing_is_received_meanwhile(slow: Scripted) -> None:
    shared = Portions()
    shared.take(slow, LONG)
    assert len(slow.parsed) == 1
    assert slow.is_held
    shared.take(slow, b"the rest")
    loop_budget = 0
    while not slow.has_gone_on.is_set():
        await asyncio.sleep(0)
        loop_budget += 1
    assert b"".join(slow.parsed) == LONG + b"the rest"
    assert loop_budget > 10


async def test_connections_take_turns_and_a_short_request_goes_ahead_of_all(slow: Scripted) -> None:
    shared = Portions()
    shared.take(slow, LONG)
    other, probe = Scripted(), Scripted(in_body=False)
    shared.take(other, LONG)
    assert other.parsed == []
    shared.take(probe, bytes(SHORT_BYTES))
    assert probe.parsed == [bytes(SHORT_BYTES)]
    await other.has_gone_on.wait()
    assert not slow.has_gone_on.is_set()
    await slow.has_gone_on.wait()


async def test_what_a_closed_connection_has_sent_is_dropped(slow: Scripted) -> None:
    shared = Portions()
    shared.take(slow, LONG)
    slow.closed = True
    await slow.has_gone_on.wait()
    assert len(slow.parsed) == 1
    assert slow.unparsed == b""
