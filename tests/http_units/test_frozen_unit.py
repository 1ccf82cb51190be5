"""A unit over HTTP, frozen for longer than its lease: its attempts continue only if the server says so."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from http_units.calls import Calls
from rpc.server import PATIENCE_SECONDS, ServerUnderTest

from taskplane.unit import SyncTaskContext, TaskDropped, Unit, lease
from taskplane.unit.http import connection

# Far longer than the lease.
FROZEN_SECONDS = 600.0


@pytest.fixture
def settings() -> dict[str, Any]:
    return {"heartbeat_seconds": 1, "no_http": False}


class Clock:
    """The unit's clock, which a test advances like a freeze of the process would. The server has its own clock."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._now = lease.now

    def __call__(self) -> float:
        return self._now() + self._ahead

    def freeze(self) -> None:
        self._ahead += FROZEN_SECONDS


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(lease, "now", clock)
    monkeypatch.setattr(connection, "now", clock)
    return clock


class Worker:
    """An executor with one safe point, silent until its end."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self.may_go_on = threading.Event()
        self.has_ended = threading.Event()
        self.was_dropped = False

    def run(self, task: SyncTaskContext, config: dict[str, Any]) -> None:
        self.has_begun.set()
        try:
            assert self.may_go_on.wait(PATIENCE_SECONDS)
            task.safe_point()
        except TaskDropped:
            self.was_dropped = True
            raise
        finally:
            self.has_ended.set()


@pytest.fixture
async def worker(clock: Clock, server: ServerUnderTest) -> AsyncIterator[Worker]:
    """Return the executor of a unit that is served."""
    worker = Worker()
    unit = Unit(name="sdk", type="WORK", capacity=1)
    unit.task("WORK")(worker.run)
    serving = asyncio.create_task(asyncio.to_thread(unit.serve_http, 0, server=f"http://{server.http_address}"))
    yield worker
    unit.stop()
    await asyncio.wait_for(serving, PATIENCE_SECONDS)


async def begun(calls: Calls, worker: Worker) -> int:
    task_id = await calls.start()
    assert await asyncio.to_thread(worker.has_begun.wait, PATIENCE_SECONDS)
    return task_id


async def take_away(server: ServerUnderTest, task_id: int) -> None:
    """End a task without notice to its unit."""
    async with aiohttp.ClientSession() as http:
        url = f"http://{server.http_address}/api/tasks/{task_id}/status"
        async with http.post(url, json={"status": "SUCCESS"}) as answer:
            assert answer.status == 200


async def test_an_attempt_that_was_taken_away_meanwhile_passes_no_safe_point(
    server: ServerUnderTest, calls: Calls, worker: Worker, clock: Clock
) -> None:
    task_id = await begun(calls, worker)
    await take_away(server, task_id)
    clock.freeze()
    worker.may_go_on.set()
    assert await asyncio.to_thread(worker.has_ended.wait, PATIENCE_SECONDS)
    assert worker.was_dropped


async def test_an_attempt_that_the_unit_still_has_goes_on(calls: Calls, worker: Worker, clock: Clock) -> None:
    task_id = await begun(calls, worker)
    await calls.until(task_id, "RUNNING")
    clock.freeze()
    worker.may_go_on.set()
    task = await calls.until(task_id, "SUCCESS")
    assert task.attempt == 1
