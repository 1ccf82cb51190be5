"""The order of an HTTP unit's messages."""

import threading
from collections.abc import Mapping
from typing import Any

import pytest

from taskplane.unit.attempt_registry import AttemptRegistry
from taskplane.unit.command_handler import CommandHandler
from taskplane.unit.http.connection import HttpAddresses, HttpConnection
from taskplane.unit.http.rest_client import RestClient, RestResponse
from taskplane.unit.lease import Lease
from taskplane.unit.report_queue import ReportQueue
from taskplane.unit.runner import Runner
from taskplane.v1.execution_unit_control_pb2 import Hello, ReleasedReport, Report


def test_a_drain_is_announced_before_attempts_are_released(monkeypatch: pytest.MonkeyPatch) -> None:
    posted: list[tuple[str, Any]] = []
    is_released = threading.Event()

    def post(_self: RestClient, path: str, body: Mapping[str, Any]) -> RestResponse:
        posted.append((path.rsplit("/", 1)[-1], body.get("capacity", body.get("status"))))
        if body.get("released"):
            is_released.set()
        return RestResponse(200, {"id": "unit-1", "endpoint": endpoint})

    monkeypatch.setattr(RestClient, "post", post)
    lease, queue = Lease(), ReportQueue()
    runner: Any = Runner.__new__(Runner)
    registry = AttemptRegistry(1, queue, runner, lease)
    endpoint = "http://unit:1"
    connection = HttpConnection(
        HttpAddresses("http://server:1", "127.0.0.1", 0, endpoint),
        Hello(unit_id="unit-1", capacity=1),
        registry,
        CommandHandler({}, registry, runner, queue, lease),
        queue,
        runner=runner,
        lease=lease,
        on_drain=lambda _: None,
        on_failure=lambda _: None,
    )
    connection.announce_drain()
    queue.put(Report(task_id=1, attempt=1, released=ReleasedReport()))
    connection.start()
    assert is_released.wait(20)
    connection.close()

    assert posted == [("execution-units", 1), ("heartbeat", 0), ("status", "PAUSED")]
