"""The unit SDK over HTTP: the same executors, a real server, and its REST API in between."""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from http_units.calls import Calls, plain, struct
from rpc.server import PATIENCE_SECONDS, ServerUnderTest, eventually

from taskplane import units
from taskplane.unit import (
    SyncTaskContext,
    TaskCancelled,
    TaskContext,
    TaskDropped,
    TaskFailed,
    Unit,
    UnitRejected,
    backoff,
)
from taskplane.units.data_processing.rules import registry
from taskplane.v1 import execution_unit_pb2, task_pb2
from taskplane.v1 import operations_service_pb2 as operations_pb

OFFLINE = execution_unit_pb2.EXECUTION_UNIT_STATUS_OFFLINE

Serve = Callable[[Unit], asyncio.Task[None]]


@pytest.fixture
def settings() -> dict[str, Any]:
    return {"poll_seconds": 0.1, "heartbeat_seconds": 1, "no_http": False}


@pytest.fixture
async def serve(server: ServerUnderTest) -> AsyncIterator[Serve]:
    """Serve units over HTTP on free ports, each in a thread, and drain them in the end."""
    serving: list[tuple[Unit, asyncio.Task[None]]] = []

    def serve(unit: Unit) -> asyncio.Task[None]:
        address = f"http://{server.http_address}"
        task = asyncio.create_task(asyncio.to_thread(unit.serve_http, 0, server=address))
        serving.append((unit, task))
        return task

    yield serve
    async with asyncio.timeout(PATIENCE_SECONDS):
        for unit, task in serving:
            unit.stop()
            await task


def a_unit(name: str = "sdk", **about: Any) -> Unit:
    known: dict[str, Any] = {"name": name, "type": "WORK", "capacity": 2} | about
    return Unit(**known)


async def ask(url: str, body: Any = None) -> tuple[int, Any]:
    """Call a unit as curl does."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with aiohttp.ClientSession() as http:
        call = (
            http.get(url) if body is None else http.post(url, data=data, headers={"Content-Type": "application/json"})
        )
        async with call as response:
            return response.status, await response.json()


class Steps:
    """An executor that continues at the command of its test."""

    def __init__(self) -> None:
        self.go = threading.Semaphore(0)
        self.at = threading.Semaphore(0)
        self.cancelled = threading.Event()
        self.dropped = threading.Event()
        self.began_at: list[int] = []

    def run(self, task: SyncTaskContext, config: dict[str, Any]) -> dict[str, Any]:
        first = task.checkpoint["step"] if task.checkpoint else 0
        self.began_at.append(first)
        try:
            for step in range(first, config["steps"]):
                self.at.release()
                assert self.go.acquire(timeout=PATIENCE_SECONDS)
                task.safe_point({"step": step})
                task.report(progress=step / config["steps"], message=f"step {step}")
        except TaskCancelled:
            self.cancelled.set()
            raise
        except TaskDropped:
            self.dropped.set()
            raise
        return {"steps": config["steps"], "attempt": task.attempt}

    async def reached(self) -> None:
        # Not waited for on the event loop, where the server lives.
        assert await asyncio.to_thread(self.at.acquire, timeout=PATIENCE_SECONDS)


@pytest.fixture
def steps() -> Steps:
    return Steps()


async def test_a_coroutine_runs_and_reports(calls: Calls, serve: Serve) -> None:
    unit = a_unit(labels={"zone": "a"})

    @unit.task("WORK")
    async def work(task: TaskContext, config: dict[str, Any]) -> dict[str, Any]:
        await task.report(progress=0.5, message="half", checkpoint={"row": 5})
        return {"name": task.task_name, "x": config["x"], "retries": task.max_retries}

    serve(unit)
    task = await calls.until(await calls.start(config=struct({"x": 1}), unit_labels={"zone": "a"}), "SUCCESS")
    assert plain(task.result) == {"name": "by http", "x": 1, "retries": 3}
    assert plain((await calls.wire.get(task.id)).checkpoint.data) == {"row": 5}


async def test_a_failure_keeps_its_words_and_is_not_retried(calls: Calls, serve: Serve) -> None:
    unit = a_unit()

    @unit.task("WORK")
    async def work(task: TaskContext, config: dict[str, Any]) -> None:
        raise TaskFailed("inputPath: no such file", retryable=False)

    serve(unit)
    task = await calls.until(await calls.start(), "FAILED")
    assert (task.error_message, task.retry_count) == ("inputPath: no such file", 0)


async def test_pause_and_resume_go_on_in_memory(calls: Calls, serve: Serve, steps: Steps) -> None:
    unit = a_unit()
    unit.task("WORK")(steps.run)
    serve(unit)
    task_id = await calls.start(config=struct({"steps": 3}))
    await steps.reached()
    await calls.pause(task_id, no_wait=True)
    await calls.until_accepted(task_id)
    steps.go.release()
    task = await calls.until(task_id, "PAUSED")
    assert plain(task.checkpoint.data) == {"step": 0}
    await calls.resume(task_id)
    steps.go.release(10)
    task = await calls.until(task_id, "SUCCESS")
    assert plain(task.result) == {"steps": 3, "attempt": 2}
    assert steps.began_at == [0], "it was begun again instead of going on"


async def test_a_pause_passes_over_a_report_and_takes_hold_where_there_is_a_checkpoint(
    calls: Calls, serve: Serve
) -> None:
    unit = a_unit()
    began, go = threading.Event(), threading.Event()

    @unit.task("WORK")
    def work(task: SyncTaskContext, config: dict[str, Any]) -> None:
        began.set()
        assert go.wait(PATIENCE_SECONDS)
        task.report(0.25, "row 25")
        task.safe_point(lambda: {"row": 25})

    serve(unit)
    task_id = await calls.start()
    await calls.until(task_id, "RUNNING")
    await calls.pause(task_id, no_wait=True)
    await calls.until_accepted(task_id)
    go.set()
    task = await calls.until(task_id, "PAUSED")
    assert (task.progress.message, plain(task.checkpoint.data)) == ("row 25", {"row": 25})


async def test_a_cancel_cleans_up(calls: Calls, serve: Serve, steps: Steps) -> None:
    unit = a_unit()
    unit.task("WORK")(steps.run)
    serve(unit)
    task_id = await calls.start(config=struct({"steps": 3}))
    await steps.reached()
    await calls.cancel(task_id, no_wait=True)
    await calls.until_accepted(task_id)
    steps.go.release()
    await calls.until(task_id, "CANCELLED")
    assert steps.cancelled.is_set()


async def test_a_class_is_asked_for_its_status(calls: Calls, serve: Serve) -> None:
    unit = a_unit()
    done = threading.Event()

    @unit.task("WORK", can_pause=False)
    class Work:
        def start(self, task: SyncTaskContext, config: dict[str, Any]) -> None:
            assert done.wait(PATIENCE_SECONDS)

        def cancel(self) -> None:
            done.set()

        def get_status(self) -> dict[str, Any]:
            return {"progress": 0.75, "message": "three quarters"}

    serve(unit)
    task_id = await calls.start()
    await eventually(lambda: calls.wire.get(task_id), lambda task: task.progress.message == "three quarters")
    done.set()
    await calls.until(task_id, "SUCCESS")


async def test_a_unit_that_leaves_gives_its_tasks_back(calls: Calls, serve: Serve, steps: Steps) -> None:
    first = a_unit("first", capacity=1)
    first.task("WORK")(steps.run)
    leaving = serve(first)
    task_id = await calls.start(config=struct({"steps": 2}))
    await steps.reached()
    first.stop()
    units_seen = operations_pb.ListUnitsRequest()
    await eventually(lambda: calls.wire.operations.ListUnits(units_seen), lambda answer: answer.units[0].capacity == 0)
    steps.go.release()
    await asyncio.wait_for(leaving, PATIENCE_SECONDS)
    second = a_unit("second")
    second.task("WORK")(steps.run)
    serve(second)
    steps.go.release(10)
    task = await calls.until(task_id, "SUCCESS")
    assert steps.began_at == [0, 0]
    assert (task.retry_count, task.attempt) == (0, 2)
    assert any("moved from a leaving unit" in reason for reason in await calls.reasons(task_id))


@pytest.mark.parametrize("unit_id", ["a b", "a?b", "a#b", "50%25", "späť", "..a", "a&b=c;d"])
async def test_an_id_that_means_something_in_a_url_is_that_of_the_unit_all_the_same(
    calls: Calls, serve: Serve, unit_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="taskplane.unit")
    unit = a_unit(id=unit_id)
    unit.task("WORK")(lambda task, config: None)
    serve(unit)
    listed = operations_pb.ListUnitsRequest()
    seen = await eventually(lambda: calls.wire.operations.ListUnits(listed), lambda answer: bool(answer.units))
    times = [seen.units[0].last_heartbeat.ToNanoseconds()]
    while len(times) < 3:
        unit_then = await eventually(
            lambda: calls.unit(unit_id), lambda found: found.last_heartbeat.ToNanoseconds() > times[-1]
        )
        times.append(unit_then.last_heartbeat.ToNanoseconds())
    # A heartbeat under another name would have made the unit register again.
    assert caplog.text.count("http: registered as") == 1


async def test_a_unit_outlives_a_restart_of_the_server(
    server: ServerUnderTest, calls: Calls, serve: Serve, steps: Steps
) -> None:
    unit = a_unit()
    unit.task("WORK")(steps.run)
    serve(unit)
    task_id = await calls.start(config=struct({"steps": 2}))
    await steps.reached()
    await server.stop()
    steps.go.release(10)
    await server.start()
    task = await calls.until(task_id, "SUCCESS")
    assert (task.attempt, steps.began_at) == (1, [0])


async def test_an_operator_drains_it_away(calls: Calls, serve: Serve, steps: Steps) -> None:
    unit = a_unit(id="to-drain")
    unit.task("WORK")(steps.run)
    leaving = serve(unit)
    await eventually(
        lambda: calls.wire.operations.ListUnits(operations_pb.ListUnitsRequest()), lambda answer: bool(answer.units)
    )
    drained = await calls.wire.operations.DrainUnit(operations_pb.DrainUnitRequest(unit_id="to-drain"))
    assert drained.unit.status == OFFLINE
    await asyncio.wait_for(leaving, PATIENCE_SECONDS)


async def test_what_is_over_for_the_server_is_dropped_at_its_next_word(
    server: ServerUnderTest, calls: Calls, serve: Serve, steps: Steps
) -> None:
    unit = a_unit()
    unit.task("WORK")(steps.run)
    serve(unit)
    task_id = await calls.start(config=struct({"steps": 3}))
    await steps.reached()
    status, _ = await ask(f"http://{server.http_address}/api/tasks/{task_id}/status", {"status": "SUCCESS"})
    assert status == 200
    steps.go.release()
    endpoint = (await calls.wire.operations.ListUnits(operations_pb.ListUnitsRequest())).units[0].endpoint
    await eventually(lambda: ask(f"{endpoint}/status/{task_id}"), lambda answer: answer[0] == 404)
    steps.go.release()
    assert await asyncio.to_thread(steps.dropped.wait, PATIENCE_SECONDS)
    assert await calls.wire.statuses(task_id) == ["PENDING", "RUNNING", "SUCCESS"]


async def test_its_routes_work_without_a_server_in_between(calls: Calls, serve: Serve, steps: Steps) -> None:
    unit = a_unit()
    unit.task("WORK")(steps.run)
    serve(unit)
    task_id = await calls.start(config=struct({"steps": 3}))
    await steps.reached()
    endpoint = (await calls.wire.operations.ListUnits(operations_pb.ListUnitsRequest())).units[0].endpoint
    assert await ask(f"{endpoint}/status/{task_id}") == (200, {"status": "RUNNING", "attempt": 1})
    assert await ask(f"{endpoint}/pause/{task_id}", {}) == (202, {})
    steps.go.release()
    await calls.until(task_id, "PAUSED")
    paused = {"status": "PAUSED", "attempt": 1, "checkpoint": {"step": 0}}
    assert await ask(f"{endpoint}/status/{task_id}") == (200, paused)
    assert await ask(f"{endpoint}/cancel/{task_id}", {}) == (202, {})
    await calls.until(task_id, "CANCELLED")
    assert await eventually(lambda: ask(f"{endpoint}/status/{task_id}"), lambda answer: answer[0] == 404)


@pytest.mark.parametrize("header", ["Origin", "Sec-Fetch-Site"])
async def test_no_web_page_steers_it(calls: Calls, serve: Serve, steps: Steps, header: str) -> None:
    unit = a_unit()
    unit.task("WORK")(steps.run)
    serve(unit)
    task_id = await calls.start(config=struct({"steps": 1}))
    await steps.reached()
    listed = await calls.wire.operations.ListUnits(operations_pb.ListUnitsRequest())
    endpoint = listed.units[0].endpoint
    async with aiohttp.ClientSession(headers={header: "same-origin"}) as page:
        for answer in (page.post(f"{endpoint}/cancel/{task_id}"), page.get(f"{endpoint}/status/{task_id}")):
            async with answer as refused:
                assert refused.status == 403
    steps.go.release()
    await calls.until(task_id, "SUCCESS")


async def test_its_routes_refuse_nonsense(calls: Calls, serve: Serve, steps: Steps) -> None:
    unit = a_unit(capacity=1)
    unit.task("WORK")(steps.run)
    serve(unit)
    task_id = await calls.start(config=struct({"steps": 1}))
    await steps.reached()
    endpoint = (await calls.wire.operations.ListUnits(operations_pb.ListUnitsRequest())).units[0].endpoint
    start = {"taskId": 9, "taskType": "WORK", "attempt": 1}
    for path, body, expected in [
        ("/nowhere", {}, 404),
        ("/status/1/2", None, 404),
        ("/status/999", None, 404),
        ("/pause/999", {}, 404),
        ("/execute", {}, 400),
        ("/execute", b"{", 400),
        ("/execute", b"[]", 400),
        ("/execute", start | {"taskType": 7}, 400),
        ("/execute", start | {"config": []}, 400),
        ("/execute", start | {"attempt": "1"}, 400),
        ("/execute", start | {"taskType": "OTHER"}, 409),
        ("/execute", start, 409),
        ("/execute", {"taskId": task_id, "taskType": "WORK", "attempt": 1}, 202),
    ]:
        assert (await ask(endpoint + path, body))[0] == expected, (path, body)
    assert steps.began_at == [0], "the same attempt was begun twice"
    steps.go.release()
    await calls.until(task_id, "SUCCESS")


async def test_a_unit_that_the_server_refuses_says_why(server: ServerUnderTest) -> None:
    unit = a_unit(name="")
    unit.task("WORK")(lambda task, config: None)
    with pytest.raises(UnitRejected, match="unitName"):
        await asyncio.to_thread(unit.serve_http, 0, server=f"http://{server.http_address}")


def test_a_taken_port_is_an_error() -> None:
    unit = a_unit()
    unit.task("WORK")(lambda task, config: None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            unit.serve_http(taken.getsockname()[1])


class Gate:
    """A rule that stops the work in the middle of a batch, until a test releases it."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()

    def check(self, value: str) -> str | None:
        if value == "closed":
            self.reached.set()
            assert self.opened.wait(PATIENCE_SECONDS)
        return None


async def test_data_processing_gives_the_same_output_over_http(
    calls: Calls, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    monkeypatch.setitem(registry._makers, "gate", lambda _options: gate.check)
    source, target = tmp_path / "users.csv", tmp_path / "users.json"
    lines = [f"{number},{'closed' if number == 50 else 'open'}\n" for number in range(1, 101)]
    source.write_text("id,gate\n" + "".join(lines))
    spec = units.built_in_unit("data-processing")
    unit = Unit(name="data-processor-1", type=spec.unit_type)
    spec.register(unit)
    serve(unit)
    config = {
        "inputPath": str(source),
        "outputPath": str(target),
        "batchSize": 10,
        "validationRules": ["gate"],
        "checkpointInterval": 30,
    }
    task_id = await calls.start(task_type="DATA_PROCESSING", config=struct(config))
    assert await asyncio.to_thread(gate.reached.wait, PATIENCE_SECONDS)
    await calls.pause(task_id, no_wait=True)
    await calls.until_accepted(task_id)
    gate.opened.set()
    task = await calls.until(task_id, "PAUSED")
    assert plain(task.checkpoint.data)["row"] == 50
    assert not target.exists()
    await calls.resume(task_id)
    task = await calls.until(task_id, "SUCCESS")
    assert [int(row["id"]) for row in json.loads(target.read_text())] == list(range(1, 101))
    assert plain(task.result)["written"] == 100
    assert task.status == task_pb2.TASK_STATUS_SUCCESS


async def test_a_second_process_waits_for_the_id_and_the_first_works_on(
    serve: Serve, calls: Calls, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backoff, "_TAKEN_BOUNDS_SECONDS", (0.0, 0.1))
    first, steps = a_unit(id="shared"), Steps()
    first.task("WORK")(steps.run)
    serving = serve(first)
    await eventually(lambda: _unit_ids(calls), lambda found: found == ["shared"])
    holder = await calls.unit("shared")
    task_id = await calls.start(config=struct({"steps": 2}))
    await calls.until(task_id, "RUNNING")

    second = a_unit(id="shared")
    second.task("WORK")(steps.run)
    waiting = serve(second)
    await eventually(_text_of(caplog), lambda text: text.count("another process has this unit's id") > 1)
    assert (await calls.unit("shared")).endpoint == holder.endpoint
    for _ in range(2):
        steps.go.release()
    assert (await calls.until(task_id, "SUCCESS")).attempt == 1

    first.stop()
    await serving
    await eventually(lambda: calls.unit("shared"), lambda unit: unit.endpoint != holder.endpoint)
    assert not waiting.done()


async def _unit_ids(calls: Calls) -> list[str]:
    return [each.id for each in (await calls.wire.operations.ListUnits(operations_pb.ListUnitsRequest())).units]


def _text_of(caplog: pytest.LogCaptureFixture) -> Callable[[], Any]:
    async def text() -> str:
        return caplog.text

    return text
