"""A unit in Node, written from the requirements' section 8, driven by a real server through its REST API."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from rpc.server import PATIENCE_SECONDS, ServerUnderTest, eventually

NODE = shutil.which("node")
EXAMPLE = Path(__file__).parents[2] / "examples" / "http_unit.mjs"

pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed")


@pytest.fixture
def settings() -> dict[str, Any]:
    return {"poll_seconds": 0.2, "heartbeat_seconds": 0.5, "lease_seconds": 2, "no_http": False}


class NodeUnit:
    """The process of the example, which can be killed and started again on its port."""

    def __init__(self, server: str) -> None:
        self._environment = os.environ | {"TASK_MANAGER_URL": server}
        self._process: asyncio.subprocess.Process | None = None
        self.port = 0

    async def live(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            str(NODE), str(EXAMPLE), str(self.port), stdout=asyncio.subprocess.PIPE, env=self._environment
        )
        assert self._process.stdout
        line = await asyncio.wait_for(self._process.stdout.readline(), PATIENCE_SECONDS)
        self.port = int(line.split()[-1])

    async def die(self) -> None:
        if self._process:
            self._process.kill()
            await self._process.communicate()
            self._process = None


class Rest:
    """Make a request like curl."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def post(self, path: str, body: Any = None) -> Any:
        async with self._http.post(path, json=body or {}) as response:
            assert response.status < 300, await response.text()
            return await response.json()

    async def task(self, task_id: int) -> Any:
        async with self._http.get(f"/api/tasks/{task_id}") as response:
            return await response.json()

    async def count_to(self, number: int) -> int:
        task = {"taskName": "count", "taskType": "NODE_COUNT", "config": {"to": number}, "start": True}
        task_id: int = (await self.post("/api/tasks", task))["id"]
        return task_id

    async def until(self, task_id: int, status: str) -> Any:
        return await eventually(lambda: self.task(task_id), lambda task: task["status"] == status)


@pytest.fixture
async def rest(server: ServerUnderTest) -> AsyncIterator[Rest]:
    async with aiohttp.ClientSession(f"http://{server.http_address}") as http:
        yield Rest(http)


@pytest.fixture
async def node(server: ServerUnderTest, rest: Rest) -> AsyncIterator[NodeUnit]:
    """Return a running, registered unit."""
    node = NodeUnit(f"http://{server.http_address}")
    await node.live()
    about = {
        "unitType": "NODE_COUNTER",
        "unitName": "node-1",
        "capacity": 2,
        "endpoint": f"http://127.0.0.1:{node.port}",
    }
    await rest.post("/api/execution-units", about)
    yield node
    await node.die()


async def test_it_counts(rest: Rest, node: NodeUnit) -> None:
    task = await rest.until(await rest.count_to(5), "SUCCESS")
    assert task["result"] == {"counted": 5}
    assert task["errorMessage"] is None


async def test_it_is_paused_and_goes_on_from_where_it_was(rest: Rest, node: NodeUnit) -> None:
    task_id = await rest.count_to(1_000_000)
    await rest.until(task_id, "RUNNING")
    paused = await rest.post(f"/api/tasks/{task_id}/pause")
    assert paused["status"] == "PAUSED"
    reached = paused["checkpoint"]["data"]["n"]
    resumed = await rest.post(f"/api/tasks/{task_id}/resume")
    assert resumed["status"] == "RUNNING"
    await eventually(lambda: rest.task(task_id), lambda task: task["progress"]["fraction"] > reached / 1_000_000)
    cancelled = await rest.post(f"/api/tasks/{task_id}/cancel")
    assert cancelled["status"] == "CANCELLED"


async def test_it_is_killed_and_its_task_begins_again_from_the_last_checkpoint(rest: Rest, node: NodeUnit) -> None:
    task_id = await rest.count_to(1_000_000)
    before = await eventually(lambda: rest.task(task_id), lambda task: task["checkpoint"] is not None)
    await node.die()
    await node.live()
    after = await eventually(lambda: rest.task(task_id), lambda task: task["attempt"] > 1 and task["progress"])
    assert after["retryCount"] == 1
    assert after["progress"]["fraction"] >= before["checkpoint"]["data"]["n"] / 1_000_000
    await rest.post(f"/api/tasks/{task_id}/cancel")
