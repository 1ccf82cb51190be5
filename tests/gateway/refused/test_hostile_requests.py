"""Nonsense of all kinds: each request is refused with a 4xx in the one shape, and the server is unaffected."""

import asyncio
import json
from typing import Any

import pytest
from gateway.rest import Rest
from gateway.running import RunningServer
from rpc.server import PATIENCE_SECONDS

from taskplane.gateway import bodies, lingering

GOOD = {"taskName": "n", "taskType": "T"}

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def raw(server: RunningServer, *parts: bytes) -> bytes:
    """Return the server's whole response to these bytes, until the connection closes."""
    host, _, port = server.http_address.rpartition(":")
    async with asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection(host, int(port))
        for part in parts:
            writer.write(part)
            await writer.drain()
        answer = await reader.read()
        writer.close()
        return answer


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"1",
        b'"text"',
        b"[]",
        b"{",
        b"\x00",
        b"\xff\xfe{\x00}\x00",
        b'{"taskName": "n", "taskType": "T", "config": NaN}',
        b'{"taskName": "n", "taskName": "n", "taskType": "T"}',
        b'{"taskName": "\\ud800", "taskType": "T"}',
        b'{"taskName": "n", "taskType": "T", "config": {"a": 1e400}}',
        b'{"taskName": "n", "taskType": "T", "config": ' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001,
        b"[" * 1_000_000,
    ],
)
async def test_bodies_that_are_none_are_refused(content: bytes, rest: Rest) -> None:
    assert (await rest.send(content)).bad_fields == {"body"}


@pytest.mark.parametrize(
    ("changes", "bad"),
    [
        ({"taskName": ""}, {"taskName"}),
        ({"taskName": " \t"}, {"taskName"}),
        ({"taskName": "x" * 256}, {"taskName"}),
        ({"taskName": "a\x00b"}, {"taskName"}),
        ({"taskName": None}, {"taskName"}),
        ({"taskName": 1, "taskType": True}, {"taskName", "taskType"}),
        ({"taskType": "no spaces"}, {"taskType"}),
        ({"taskType": "t\n"}, {"taskType"}),
        ({"priority": "1"}, {"priority"}),
        ({"priority": True}, {"priority"}),
        ({"priority": 1.5}, {"priority"}),
        ({"priority": -1}, {"priority"}),
        ({"priority": 10**30}, {"priority"}),
        ({"maxRetries": -(2**63)}, {"maxRetries"}),
        ({"config": []}, {"config"}),
        ({"config": "{}"}, {"config"}),
        ({"config": {"a": "x" * (1024 * 1024)}}, {"config"}),
        ({"start": "true"}, {"start"}),
        ({"labels": {"a": 1}}, {"labels.a"}),
        ({"labels": {str(number): "x" for number in range(33)}}, {"labels"}),
        ({"limits": {"deadline": "tomorrow"}}, {"limits.deadline"}),
        ({"limits": {"deadline": "2026-01-02T03:04:05"}}, {"limits.deadline"}),
        ({"limits": {"deadline": 1767323045}}, {"limits.deadline"}),
        ({"limits": {"deadline": "0001-01-01T00:00:00+01:00"}}, {"limits.deadline"}),
        ({"limits": {"runBudgetSeconds": -1}}, {"limits.runBudgetSeconds"}),
        ({"limits": {"runBudgetSeconds": 1e300}}, {"limits.runBudgetSeconds"}),
        ({"requestId": "x" * 65}, {"requestId"}),
        ({"requestId": "x "}, {"requestId"}),
        ({"requestId": "\tx"}, {"requestId"}),
        ({"actor": "x" * 256, "reason": "x" * 1001}, {"actor", "reason"}),
        ({"task_name": "n"}, {"task_name"}),
        ({"tasktype": "T", "prio": 1}, {"tasktype", "prio"}),
    ],
)
async def test_every_bad_field_is_named(changes: dict[str, Any], bad: set[str], rest: Rest) -> None:
    before = (await rest.get("/api/tasks")).body
    assert (await rest.post("/api/tasks", GOOD | changes)).bad_fields == bad
    assert (await rest.get("/api/tasks")).body == before


async def test_of_very_many_bad_fields_the_first_are_named(rest: Rest) -> None:
    answer = await rest.post("/api/tasks", GOOD | {f"x{number}": 1 for number in range(80)})
    violations = answer.error["details"]["fieldViolations"]
    assert len(violations) == 20
    assert violations[-1] == {"field": "body", "description": "and 61 more bad fields"}


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin-1",
        "application/json; charset=utf-16",
        "application/vnd.api+json",
        "multipart/form-data; boundary=x",
        ";;;",
    ],
)
async def test_what_is_not_declared_as_json_is_refused(content_type: str, rest: Rest) -> None:
    answer = await rest.send(json.dumps(GOOD).encode(), content_type=content_type)
    assert (answer.status, answer.error["reason"]) == (415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; Charset=UTF-8"])
async def test_json_in_utf8_is_taken_however_it_is_declared(content_type: str, rest: Rest) -> None:
    assert (await rest.send(json.dumps(GOOD).encode(), content_type=content_type)).status == 201


async def test_a_body_that_declares_to_be_too_large_is_not_read(server: RunningServer) -> None:
    head = b"POST /api/tasks HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 100000000\r\n"
    answer = await raw(server, head + b"Connection: close\r\n\r\n", b"x")
    assert answer.startswith(b"HTTP/1.1 413 ")  # and no "100 Continue" first


async def test_a_body_that_turns_out_too_large_is_cut_while_it_is_read(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lingering, "LINGER_SECONDS", 0.2)
    chunk = b"%x\r\n%s\r\n" % (65536, b"x" * 65536)
    head = b"POST /api/tasks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    # The last chunk is never sent: a reader of the whole body would wait forever.
    answer = await raw(server, head, *[chunk] * (bodies.MAX_BODY_BYTES // 65536 + 1))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"BODY_TOO_LARGE" in answer


async def test_a_slow_body_is_given_up(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "READ_SECONDS", 0.1)
    monkeypatch.setattr(lingering, "LINGER_SECONDS", 0.1)
    answer = await raw(server, b"POST /api/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"BODY_TIMEOUT" in answer


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_fault(server: RunningServer, rest: Rest) -> None:
    host, _, port = server.http_address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /api/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
    await writer.drain()
    writer.transport.abort()
    assert (await rest.get("/healthz")).status == 200


@pytest.mark.parametrize("content", [b"", b"hello\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00"])
async def test_what_is_not_http_is_turned_away(content: bytes, server: RunningServer) -> None:
    host, _, port = server.http_address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(content)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    ("path", "bad"),
    [
        ("/api/tasks/abc", {"taskId"}),
        ("/api/tasks/0", {"taskId"}),
        ("/api/tasks/-1", {"taskId"}),
        ("/api/tasks/1.0", {"taskId"}),
        ("/api/tasks/+1", {"taskId"}),
        ("/api/tasks/%201", {"taskId"}),
        ("/api/tasks/%D9%A1", {"taskId"}),  # a digit outside ASCII
        ("/api/tasks/9007199254740992", {"taskId"}),
        ("/api/tasks/" + "9" * 1000, {"taskId"}),
        ("/api/tasks/%FF%00%0a", {"taskId"}),
        ("/api/tasks?status=running", {"status"}),
        ("/api/tasks?status=", {"status"}),
        ("/api/tasks?status=RUNNING&status=FAILED", {"status"}),
        ("/api/tasks?q=", {"q"}),
        ("/api/tasks?q=%00", {"q"}),
        ("/api/tasks?page=0", {"page"}),
        ("/api/tasks?page=-1&limit=0", {"page", "limit"}),
        ("/api/tasks?page=1e3&limit=abc", {"page", "limit"}),
        ("/api/tasks?page=99999999999999999999999&limit=1001", {"page", "limit"}),
        ("/api/tasks?page=&limit=", {"page", "limit"}),
        ("/api/tasks?sort=priority", {"sort"}),
        ("/api/tasks?nonsense=1&%FF=2", {"nonsense", "\ufffd"}),
        ("/api/tasks?pageToken=nonsense", {"pageToken"}),
        ("/api/tasks?pageToken=WyJhIiwxXQ", {"pageToken"}),
        ("/api/tasks?limit=0&pageToken=nonsense", {"limit", "pageToken"}),
        ("/api/tasks/1/history?limit=0&pageToken=nonsense", {"limit", "pageToken"}),
        ("/api/tasks?page=1&pageToken=WyJhIiwxXQ", {"page"}),
        ("/api/tasks/1?verbose=1", {"verbose"}),
        ("/api/events?afterRevision=x", {"afterRevision"}),
        ("/healthz?x", {"x"}),
    ],
)
async def test_bad_paths_and_queries_are_named(path: str, bad: set[str], rest: Rest) -> None:
    assert (await rest.get(path)).bad_fields == bad


@pytest.mark.parametrize(
    "path", ["/", "/api", "/api/", "/api/tasks/", "/api/tasks/1/", "/api/tasks/1/explode", "/%00", "/api//tasks"]
)
async def test_what_is_not_served_is_not_found(path: str, rest: Rest) -> None:
    answer = await rest.get(path)
    assert (answer.status, answer.error["reason"]) == (404, "NO_SUCH_PATH")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/tasks", "GET, POST"),
        ("PUT", "/api/tasks/1", "DELETE, GET, PATCH"),
        ("OPTIONS", "/api/tasks/1", "DELETE, GET, PATCH"),
        ("GET", "/api/tasks/1/start", "POST"),
        ("BREW", "/api/tasks", "GET, POST"),
    ],
)
async def test_other_methods_are_told_which_are_served(method: str, path: str, allowed: str, rest: Rest) -> None:
    answer = await rest.call(method, path)
    assert (answer.status, answer.error["reason"]) == (405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == allowed


async def test_head_is_answered_without_a_body(rest: Rest) -> None:
    response = await rest.client.head("/api/tasks")
    assert (response.status_code, response.content) == (405, b"")


@pytest.mark.parametrize(("method", "path"), [("DELETE", "/api/tasks/1"), ("GET", "/api/tasks")])
async def test_a_body_where_none_is_read_is_not_passed_over(method: str, path: str, rest: Rest) -> None:
    assert (await rest.call(method, path, {"reason": "x"})).bad_fields == {"body"}
