import asyncio
import socket
from pathlib import Path

import pytest
from gateway.rest import Rest, rest_of
from gateway.running import RunningServer, running_server
from gateway.sse import watching
from prometheus_client.parser import text_string_to_metric_families
from rpc.raw_unit import RawUnit
from rpc.server import Wire
from rpc.tasks import running

from taskplane.server.app import CannotStart
from taskplane.server.core.errors import DatabaseUnavailable
from taskplane.server.store.store import Store


async def test_a_live_server_says_so(rest: Rest) -> None:
    assert (await rest.get("/healthz")).body == {"status": "ok"}
    assert (await rest.get("/readyz")).body == {"status": "ok"}


async def test_without_its_database_a_server_is_alive_but_not_ready(
    rest: Rest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr(Store, "list_tasks", away)
    monkeypatch.setattr(Store, "latest_revision", away)
    assert (await rest.get("/healthz")).status == 200
    for path in ("/readyz", "/api/tasks"):
        answer = await rest.get(path)
        assert (answer.status, answer.error["reason"]) == (503, "DATABASE_UNAVAILABLE")
        assert answer.headers["retry-after"] == "1"


async def test_what_nobody_expected_is_500_without_its_text(rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise KeyError("secret")

    monkeypatch.setattr(Store, "list_tasks", broken)
    answer = await rest.get("/api/tasks")
    assert (answer.status, answer.error["reason"]) == (500, "INTERNAL")
    assert "secret" not in str(answer.body)


async def test_a_call_that_hangs_is_answered_in_the_end(rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Store, "list_tasks", hangs)
    monkeypatch.setattr("taskplane.gateway.bodies.CALL_SECONDS", 0.05)
    assert (await rest.get("/api/tasks")).status == 503


async def test_figures_are_those_of_this_moment(rest: Rest, wire: Wire, unit: RawUnit) -> None:
    await running(wire, unit)
    async with watching(rest, "/api/events") as events:
        await events.next("snapshot")
        figures = (await rest.get("/api/statistics")).body
        assert figures.pop("takenAt").endswith("Z")
        assert figures == {"units": 1, "unitsConnected": 1, "slots": 1, "slotsUsed": 1, "watchFollowers": 1}
        response = await rest.client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    metrics = {
        sample.name: sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }
    for name in ("units_connected", "slots", "slots_used", "watch_followers"):
        assert metrics[f"taskplane_{name}"] == 1
    assert metrics["process_start_time_seconds"] > 0


async def test_the_pages_for_people_need_no_other_host(rest: Rest) -> None:
    page = await rest.client.get("/docs")
    assert page.status_code == 200
    assert "://" not in page.text
    for script in ("swagger-ui-bundle.js", "swagger-ui.css"):
        assert f"/static-offline-docs/{script}" in page.text
        assert (await rest.client.get(f"/static-offline-docs/{script}")).status_code == 200


async def test_http_may_be_left_out(tmp_path: Path) -> None:
    server = running_server(tmp_path, no_http=True)
    await server.start()
    assert server.http_address == ""
    await server.stop()


async def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = running_server(tmp_path, http=f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(CannotStart, match=r"cannot listen on 127.0.0.1:.* for HTTP"):
            await server.start()


async def test_two_servers_run_side_by_side(server: RunningServer, rest: Rest, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    second = running_server(tmp_path / "second")
    await second.start()
    async with rest_of(second) as other:
        assert (await other.create())["id"] == (await rest.create())["id"] == 1
    await second.stop()
    assert (await rest.get("/healthz")).status == 200
