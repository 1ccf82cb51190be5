import asyncio
import threading

import httpx
import pytest
from gateway.rest import Rest
from gateway.running import RunningServer
from rpc.server import PATIENCE_SECONDS

from taskplane.server.store import reading
from taskplane.server.store.readers import _Reading


async def ids(rest: Rest, **query: object) -> list[int]:
    answer = await rest.get("/api/tasks", **query)
    assert answer.status == 200, answer.body
    return [task["id"] for task in answer.body["items"]]


async def test_pages_are_numbered(rest: Rest) -> None:
    made = [(await rest.create(taskName=f"task {number}"))["id"] for number in range(5)]
    assert await ids(rest, page=1, limit=2) == made[:2:-1]
    assert await ids(rest, page=3, limit=2) == made[:1]
    beyond = (await rest.get("/api/tasks", page=4, limit=2)).body
    assert beyond == {
        "items": [],
        "total": 5,
        "totalIsCapped": False,
        "page": 4,
        "limit": 2,
        "nextPageToken": None,
    }


async def test_deep_pages_are_had_by_token(rest: Rest) -> None:
    made = [(await rest.create())["id"] for _ in range(5)]
    found, page = [], (await rest.get("/api/tasks", limit=2, sort="createdAt")).body
    assert page["page"] == 1
    while True:
        found += [task["id"] for task in page["items"]]
        if not (token := page["nextPageToken"]):
            break
        page = (await rest.get("/api/tasks", limit=2, sort="createdAt", pageToken=token)).body
        assert (page["page"], page["total"]) == (None, 5)
    assert found == made


async def test_a_numbered_page_goes_on_by_token(rest: Rest) -> None:
    made = [(await rest.create())["id"] for _ in range(5)]
    token = (await rest.get("/api/tasks", page=2, limit=2)).body["nextPageToken"]
    assert await ids(rest, limit=2, pageToken=token) == made[:1]


async def test_a_page_too_deep_points_to_the_token(rest: Rest) -> None:
    assert (await rest.get("/api/tasks", page=10, limit=1000)).status == 200
    answer = await rest.get("/api/tasks", page=11, limit=1000)
    assert answer.bad_fields == {"page"}
    assert "pageToken" in answer.error["message"]


async def test_a_token_belongs_to_its_list(rest: Rest) -> None:
    for _ in range(2):
        await rest.create()
    token = (await rest.get("/api/tasks", limit=1)).body["nextPageToken"]
    assert (await rest.get("/api/tasks", limit=1, taskType="OTHER", pageToken=token)).bad_fields == {"pageToken"}


async def test_filters_restrict_together(rest: Rest) -> None:
    users = (await rest.create(taskName="convert Users"))["id"]
    movie = (await rest.create(taskName="transcode movie", taskType="VIDEO"))["id"]
    await rest.post(f"/api/tasks/{movie}/cancel")
    assert await ids(rest, q="USERS") == [users]
    assert await ids(rest, taskType="VIDEO") == [movie]
    assert await ids(rest, status="CANCELLED") == [movie]
    assert await ids(rest, status="CANCELLED", taskType="WORK") == []
    assert await ids(rest, unitId="nobody") == []


async def test_sort_is_by_creation(rest: Rest) -> None:
    made = [(await rest.create())["id"] for _ in range(3)]
    assert await ids(rest, sort="createdAt") == made
    assert await ids(rest, sort="-createdAt") == made[::-1] == await ids(rest)


async def test_a_page_of_large_tasks_ends_early_and_the_next_goes_on(rest: Rest) -> None:
    made = [(await rest.create(config={"text": "x" * 750_000}))["id"] for _ in range(6)]
    first = (await rest.get("/api/tasks")).body
    found = [task["id"] for task in first["items"]]
    assert len(found) == 5, "MAX_ROWS_BYTES holds five"
    assert found + await ids(rest, pageToken=first["nextPageToken"]) == made[::-1]


async def test_a_numbered_page_of_large_tasks_asks_for_a_smaller_one(rest: Rest) -> None:
    """A shorter page would omit tasks, since the next number is of the next whole page."""
    made = [(await rest.create(config={"text": "x" * 750_000}))["id"] for _ in range(6)]
    assert (await rest.get("/api/tasks", page=1)).bad_fields == {"limit"}
    assert await ids(rest, page=2, limit=3) == made[2::-1]


async def test_a_list_whose_reader_has_gone_is_stopped(
    rest: Rest, server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, stopped = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def search(*_: object, **__: object) -> reading.TaskRows:
        loop.call_soon_threadsafe(begun.set)
        assert stopped.wait(PATIENCE_SECONDS)
        return reading.TaskRows([], None, is_cut=False)

    monkeypatch.setattr(reading, "list_tasks", search)
    monkeypatch.setattr(_Reading, "stop", lambda _: stopped.set())
    async with httpx.AsyncClient(base_url=f"http://{server.http_address}") as client:
        calling = asyncio.ensure_future(client.get("/api/tasks"))
        await asyncio.wait_for(begun.wait(), PATIENCE_SECONDS)
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
    await asyncio.to_thread(stopped.wait, PATIENCE_SECONDS)
    assert stopped.is_set()


async def test_a_list_that_takes_too_long_says_what_to_do(rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskplane.server.store.database.SCAN_SECONDS", 0.05)
    ended = threading.Event()

    def search(*_: object, **__: object) -> reading.TaskRows:
        assert ended.wait(PATIENCE_SECONDS)
        return reading.TaskRows([], None, is_cut=False)

    monkeypatch.setattr(reading, "list_tasks", search)
    monkeypatch.setattr(_Reading, "stop", lambda _: ended.set())
    answer = await rest.get("/api/tasks", q="needle")
    assert (answer.status, answer.error["reason"]) == (504, "READ_TOO_LONG")
    assert "narrow the filter" in answer.error["message"]
