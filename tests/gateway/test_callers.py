"""Web pages of other sites cannot use a server within reach of a user's browser."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from gateway.rest import Rest, answer_of, rest_of
from gateway.running import running_server
from pydantic import ValidationError
from starlette.datastructures import Headers

from taskplane.gateway.callers import Callers
from taskplane.server.config import ServerConfig

EVIL = "http://evil.example"
PATHS = [
    "/api/tasks",
    "/api/events",
    "/api/tasks/1/events",
    "/docs",
    "/openapi.json",
    "/metrics",
    "/healthz",
    "/nowhere",
]


async def created(rest: Rest) -> int:
    task_id: int = (await rest.post("/api/tasks", {"taskName": "a task", "taskType": "WORK"})).body["id"]
    return task_id


@pytest.mark.parametrize("origin", [EVIL, "null", "http://localhost:9999", "https://127.0.0.1", "evil"])
async def test_a_page_of_another_site_changes_nothing(rest: Rest, origin: str) -> None:
    task_id = await created(rest)
    for path in (f"/api/tasks/{task_id}/cancel", f"/api/tasks/{task_id}/start", "/api/execution-units/unit-1/drain"):
        answer = answer_of(await rest.client.post(path, headers={"Origin": origin}))
        assert (answer.status, answer.error["status"]) == (403, "PERMISSION_DENIED")
        assert answer.error["reason"] == "ORIGIN_NOT_ALLOWED"
    deleted = answer_of(await rest.client.delete(f"/api/tasks/{task_id}", headers={"Origin": origin}))
    assert deleted.status == 403
    assert (await rest.get(f"/api/tasks/{task_id}")).body["status"] == "PENDING"


@pytest.mark.parametrize("path", PATHS)
async def test_a_page_of_another_site_reads_nothing(rest: Rest, path: str) -> None:
    for headers in ({"Origin": EVIL}, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}):
        answer = answer_of(await rest.client.get(path, headers=headers))
        assert (answer.status, answer.error["reason"]) == (403, "ORIGIN_NOT_ALLOWED")


async def test_a_preflight_of_another_site_is_refused(rest: Rest) -> None:
    asked = {"Origin": EVIL, "Access-Control-Request-Method": "POST"}
    answer = await rest.client.options("/api/tasks", headers=asked)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", PATHS)
async def test_another_name_for_the_server_is_refused(rest: Rest, path: str) -> None:
    for host in (
        "evil.example",
        "evil.example:3000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example.",
    ):
        answer = answer_of(await rest.client.get(path, headers={"Host": host}))
        assert (answer.status, answer.error["reason"]) == (403, "HOST_NOT_ALLOWED")


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:3000",
        "127.0.0.1",
        "[::1]:3000",
        "[::1]",
        "app.localhost",
        "10.1.2.3",
        "task-manager:3000",
    ],
)
async def test_names_that_no_page_can_take_are_served(rest: Rest, host: str) -> None:
    assert (await rest.client.get("/healthz", headers={"Host": host})).status_code == 200


async def test_the_servers_own_pages_and_programs_are_served(rest: Rest) -> None:
    address = rest.client.base_url.netloc.decode()
    for headers in (
        {},
        {"Origin": f"http://{address}"},
        {"Origin": f"HTTP://{address}"},
        {"Origin": "https://localhost", "Host": "localhost"},
        {"Origin": "http://localhost", "Host": "localhost:80"},
        {"Origin": "https://tasks.example", "Sec-Fetch-Site": "same-origin"},  # behind a proxy
    ):
        task_id = await created(rest)
        assert (await rest.client.post(f"/api/tasks/{task_id}/cancel", headers=headers)).status_code == 200


async def test_a_link_from_elsewhere_may_be_followed_to_pages_that_none_may_frame(rest: Rest) -> None:
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    page = await rest.client.get("/docs", headers=followed)
    assert page.status_code == 200
    assert page.headers["content-security-policy"] == "frame-ancestors 'none'"
    posted = await rest.client.post("/api/tasks/1/cancel", headers=followed)
    assert posted.status_code == 403


@pytest.fixture
async def open_rest(tmp_path: Path) -> AsyncIterator[Rest]:
    """Run a server with configured hosts and origins."""
    server = running_server(
        tmp_path, allowed_hosts="Tasks.example", allowed_origins="https://ui.example:443/, http://other.example:8080"
    )
    await server.start()
    async with rest_of(server) as rest:
        yield rest
    await server.stop()


async def test_origins_that_are_allowed_are_told_so(open_rest: Rest) -> None:
    for origin in ("https://ui.example", "http://other.example:8080"):
        preflight = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
            "Sec-Fetch-Site": "cross-site",
        }
        answer = await open_rest.client.options("/api/tasks", headers=preflight)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, origin)
        listed = await open_rest.client.get("/api/tasks", headers={"Origin": origin})
        assert (listed.status_code, listed.headers["access-control-allow-origin"]) == (200, origin)
    assert (await open_rest.client.get("/api/tasks", headers={"Origin": "http://ui.example"})).status_code == 403


async def test_names_that_are_allowed_are_served(open_rest: Rest) -> None:
    assert (await open_rest.client.get("/healthz", headers={"Host": "tasks.example:3000"})).status_code == 200
    assert (await open_rest.client.get("/healthz", headers={"Host": "evil.example"})).status_code == 403


@pytest.mark.parametrize(
    ("address", "hosts", "is_served"),
    [
        ("0.0.0.0:3000", (), True),
        ("[::]:3000", (), True),
        ("tasks.internal:3000", (), True),
        ("0.0.0.0:3000", ("tasks.example",), False),
        ("0.0.0.0:3000", ("tasks.example", "anything.example"), True),
        ("127.0.0.1:3000", ("*",), True),
        ("127.0.0.1:3000", (), False),
        ("localhost:3000", (), False),
        ("[::1]:3000", (), False),
    ],
)
def test_names_are_free_where_the_server_listens_for_others(
    address: str, hosts: tuple[str, ...], *, is_served: bool
) -> None:
    callers = Callers.of(address, hosts=hosts)
    refused = callers.refusal("GET", Headers({"host": "anything.example:3000"}))
    assert (refused is None) is is_served


@pytest.mark.parametrize("origin", ["ui.example", "https://ui.example/path", "https://", "https://me@ui.example"])
def test_a_setting_that_is_no_origin_is_refused_at_the_start(origin: str) -> None:
    with pytest.raises(ValidationError, match="is not an origin"):
        ServerConfig(allowed_origins=origin)  # type: ignore[arg-type]  # as the environment gives it
