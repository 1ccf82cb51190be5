"""Bodies and queries with one huge part: each is refused quickly, in few words, and delays no other caller."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.responsiveness import ServerProcess, monitored, server_process

from taskplane.gateway.schema import DOCUMENT_BODY_BYTES

# On a quiet machine the longest wait is below 250 ms.
PATIENCE_SECONDS = 3.0
MIB = 1024 * 1024
MAX_ANSWER_BYTES = 8192

TASKS, UNITS, STATUS = "/api/tasks", "/api/execution-units", "/api/tasks/1/status"
PATHS = [TASKS, UNITS, STATUS, "/api/tasks/1/start", "/api/tasks/1/resume", f"{UNITS}/u/heartbeat", f"{UNITS}/u/drain"]


def filled(begin: str, element: str, end: str, size: int) -> bytes:
    """Return JSON of about the given size: an element repeated, with its number in the place of #."""
    count = (size - len(begin) - len(end)) // (len(element) + element.count("#") * 5 + 1)
    return (begin + ",".join(element.replace("#", f"{number:06}") for number in range(count)) + end).encode()


HUGE = {
    "unknown fields": ("{", '"x#": 1', "}"),
    "lists": ('{"config": [', "[]", "]}"),
    "objects": ('{"config": {"a": [', "{}", "]}}"),
    "numbers": ('{"config": {"a": [', "1", "]}}"),
    "results": ('{"status": "SUCCESS", "result": {"a": [', "1.5", "]}}"),
    "keys": ('{"config": {', '"#":0', "}}"),
    "keys twice": ('{"config": {', '"a":0', "}}"),
    "labels": ('{"labels": {', '"#": "x"', "}}"),
    "bad labels": ('{"labels": {', '" #": 1', "}}"),
    "limits": ('{"limits": {', '"#": 1', "}}"),
    "task types": ('{"taskTypes": [', '{"taskType": " "}', "]}"),
    "fields of a task type": ('{"taskTypes": [{', '"#": 1', "}]}"),
    "named task types": ('{"config": {"taskTypes": [', '" "', "]}}"),
    "escapes": ('{"taskName": "', "\\u0001", '"}'),
    "a name": ('{"taskName": "', "x", '"}'),
    "a reason": ('{"reason": "', "ü", '"}'),
    "waits": ('{"wait": [', "1", "]}"),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder: Path = tmp_path_factory.mktemp("huge")
    with server_process(f"sqlite:///{folder / 'taskplane.db'}") as server:
        yield server


@pytest.mark.alone
@pytest.mark.parametrize("path", PATHS)
def test_a_huge_body_is_refused_and_holds_up_nobody(path: str, server: ServerProcess) -> None:
    headers = {"content-type": "application/json"}
    with monitored(server) as probes, httpx.Client(base_url=f"http://{server.http}", timeout=60) as client:
        for size in (60_000, DOCUMENT_BODY_BYTES - 100):
            for name, parts in HUGE.items():
                response = client.post(path, content=filled(*parts, size), headers=headers)
                assert response.status_code in {400, 404, 413}, name
                assert len(response.content) < MAX_ANSWER_BYTES, name
    print(probes)  # noqa: T201  (shown when a test fails, or with -s)
    assert probes.longest < PATIENCE_SECONDS
    assert probes.grown_bytes < 150 * MIB


@pytest.mark.parametrize("path", [TASKS, UNITS, "/api/events", "/api/tasks/1/history", "/healthz"])
def test_a_huge_query_is_refused_in_few_words(path: str, server: ServerProcess) -> None:
    for query in ("&".join(f"x{number}=1" for number in range(5000)), "limit=" + "9" * 40_000, "q=" + "%00" * 10_000):
        response = httpx.get(f"http://{server.http}{path}?{query}", timeout=60)
        assert response.status_code == 400
        assert len(response.content) < MAX_ANSWER_BYTES
