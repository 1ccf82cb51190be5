import asyncio

import pytest
from gateway.rest import Rest
from gateway.running import RunningServer
from gateway.sse import watching
from rpc.raw_unit import RawUnit
from rpc.server import PATIENCE_SECONDS, Wire, eventually
from rpc.tasks import running

from taskplane.gateway import events
from taskplane.server.core.tuning import Tuning
from taskplane.v1 import execution_unit_control_pb2 as pb


async def test_a_watch_begins_with_how_things_are_and_goes_on(rest: Rest) -> None:
    task = await rest.create()
    async with watching(rest, f"/api/tasks/{task['id']}/events") as events:
        snapshot = await events.next()
        assert (snapshot.name, snapshot.data["id"], snapshot.data["status"]) == ("snapshot", task["id"], "PENDING")
        assert snapshot.last_id == ""  # nothing to come back with before the snapshot is complete
        await events.comment("snapshot complete")
        assert events.last_id == str(task["revision"])
        await rest.post(f"/api/tasks/{task['id']}/start")
        changed = await events.next()
        assert (changed.name, changed.data["waitingReason"]) == ("changed", "NO_UNIT_FOR_TYPE")
        await rest.post(f"/api/tasks/{task['id']}/cancel")
        moved = await events.next()
        assert moved.name == "transition"
        assert moved.data["transition"]["toStatus"] == moved.data["task"]["status"] == "CANCELLED"
        assert moved.last_id == str(moved.data["task"]["revision"])
        await rest.call("DELETE", f"/api/tasks/{task['id']}")
        deleted = await events.next()
        assert (deleted.name, deleted.data) == ("deleted", {"taskId": task["id"]})


async def test_progress_is_told(rest: Rest, wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    async with watching(rest, "/api/events") as events:
        await events.next("snapshot")
        await unit.report(start, progress=pb.ProgressReport(fraction=0.25, message="row 250"))
        progress = await events.next("progress")
        assert (progress.data["taskId"], progress.data["attempt"]) == (start.task_id, start.attempt)
        assert (progress.data["progress"]["fraction"], progress.data["progress"]["message"]) == (0.25, "row 250")


async def test_a_reader_comes_back_with_its_last_event_id(rest: Rest) -> None:
    task = await rest.create()
    path = f"/api/tasks/{task['id']}"
    async with watching(rest, f"{path}/events") as events:
        await events.next("snapshot")
        await events.comment("snapshot complete")
        last_id = events.last_id
    await rest.post(f"{path}/cancel")
    await rest.post(f"{path}/restart")
    async with watching(rest, f"{path}/events", last_id) as events:
        missed = [await events.next() for _ in range(2)]
    assert [each.data["transition"]["toStatus"] for each in missed] == ["CANCELLED", "PENDING"]
    async with watching(rest, f"{path}/events", afterRevision=missed[0].last_id) as events:
        assert (await events.next()).data == missed[1].data


async def test_a_reader_that_comes_back_is_told_of_a_deletion(rest: Rest) -> None:
    gone, there = await rest.create(), await rest.create()
    async with watching(rest, "/api/events") as events:
        await events.comment("snapshot complete")
        last_id = events.last_id
    await rest.post(f"/api/tasks/{gone['id']}/cancel")
    await rest.call("DELETE", f"/api/tasks/{gone['id']}")
    await rest.post(f"/api/tasks/{there['id']}/cancel")
    async with watching(rest, "/api/events", last_id) as events:
        deleted = await events.next()
        assert (deleted.name, deleted.data) == ("deleted", {"taskId": gone["id"]})
        assert (await events.next()).data["task"]["id"] == there["id"]
    async with watching(rest, f"/api/tasks/{gone['id']}/events", last_id) as events:
        assert await events.next() == deleted
    over = await rest.client.get(f"/api/tasks/{gone['id']}/events", headers={"last-event-id": deleted.last_id})
    assert over.status_code == 404, "so that a browser does not come back for ever"


async def test_the_id_of_a_reader_that_comes_back_counts_more_than_its_url(rest: Rest) -> None:
    task = await rest.create()
    cancelled = (await rest.post(f"/api/tasks/{task['id']}/cancel")).body
    await rest.post(f"/api/tasks/{task['id']}/restart")
    async with watching(rest, "/api/events", str(cancelled["revision"]), afterRevision=0) as events:
        assert (await events.next()).data["transition"]["toStatus"] == "PENDING"


async def test_all_tasks_or_those_of_a_type_are_watched(rest: Rest) -> None:
    await rest.create()
    video = await rest.create(taskType="VIDEO")
    async with watching(rest, "/api/events", taskType="VIDEO") as events:
        assert (await events.next()).data["id"] == video["id"]
        await rest.create()
        second = await rest.create(taskType="VIDEO")
        assert (await events.next()).data["task"]["id"] == second["id"]


@pytest.mark.parametrize(
    ("path", "last_id", "status"),
    [("/api/tasks/4711/events", "", 404), ("/api/events", "4711", 400), ("/api/events", "x", 400)],
)
async def test_what_cannot_be_watched_is_told_at_once(path: str, last_id: str, status: int, rest: Rest) -> None:
    response = await rest.client.get(path, headers={"last-event-id": last_id} if last_id else {})
    assert response.status_code == status
    assert response.json()["error"]["code"] == status


@pytest.mark.parametrize("tuning", [Tuning(keep_alive_seconds=0.05)])
async def test_a_quiet_stream_is_kept_alive(rest: Rest) -> None:
    async with watching(rest, "/api/events") as events:
        await events.comment("keepalive")


async def test_streams_end_when_the_server_stops(rest: Rest, server: RunningServer) -> None:
    async with watching(rest, "/api/events") as events, asyncio.timeout(PATIENCE_SECONDS):
        await events.comment("snapshot complete")
        stopping = asyncio.create_task(server.stop())
        assert await events.rest() == []
        assert any(comment.startswith("SERVER_STOPPING") for comment in events.comments)
        await stopping


async def test_a_reader_that_goes_away_is_not_followed_any_more(rest: Rest) -> None:
    async with watching(rest, "/api/events") as events:
        await events.comment("snapshot complete")
        assert (await rest.get("/api/statistics")).body["watchFollowers"] == 1
    await nobody_follows(rest)


async def test_a_reader_that_does_not_read_is_cut(
    rest: Rest, server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "WRITE_SECONDS", 0.2)
    host, _, port = server.http_address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    writer.write(b"GET /api/events HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        # Much more than the buffers of both ends take.
        for _ in range(40):
            await rest.create(config={"filler": "x" * 750_000})
    await nobody_follows(rest)
    writer.close()


async def nobody_follows(rest: Rest) -> None:
    """Wait until the server has let go of all watches."""
    await eventually(lambda: rest.get("/api/statistics"), lambda answer: answer.body["watchFollowers"] == 0)
