"""A reader stuck in a dead stream does not prevent a reconnect."""

import threading
from typing import Any

import pytest

from taskplane.unit.lease import Lease
from taskplane.unit.report_queue import ReportQueue
from taskplane.unit.stream import session
from taskplane.unit.stream.session import StreamSession
from taskplane.v1.execution_unit_control_pb2 import Hello


class StuckCall:
    """A dead call with a blocked reader."""

    def __init__(self) -> None:
        self.may_end = threading.Event()

    def __iter__(self) -> "StuckCall":
        return self

    def __next__(self) -> Any:
        self.may_end.wait()
        raise StopIteration

    def cancel(self) -> None:
        """Do nothing: the call is over."""


def test_a_stream_that_does_not_end_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("HELLO_SECONDS", "_ABORT_SECONDS"):
        monkeypatch.setattr(session, name, 0.05)
    stuck: Any = StuckCall()
    connection = StreamSession("127.0.0.1:1", Hello(), ReportQueue(), Lease(), lambda _: None)
    connection._call.cancel()
    connection._call = stuck
    connection.run()
    assert "left behind" in caplog.text
    stuck.may_end.set()
