"""Bodies of unfinished requests: their total is bounded, and released at their end."""

import asyncio
from contextlib import ExitStack

import pytest
from gateway.rest import Rest
from gateway.running import RunningServer
from rpc.server import PATIENCE_SECONDS

from taskplane.gateway import application
from taskplane.gateway.body_budget import BodyBudget, TooManyBodies

HALF = 300_000


def test_what_one_request_holds_no_other_gets() -> None:
    budget = BodyBudget(100)
    with ExitStack() as stack:
        take = stack.enter_context(budget.share())
        take(60)
        with budget.share() as other, pytest.raises(TooManyBodies):
            other(41)
        take(40)
    with budget.share() as take:
        take(100)


@pytest.fixture(autouse=True)
def _small_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "BodyBudget", lambda: BodyBudget(2 * HALF))


async def test_bodies_that_come_slowly_do_not_pile_up(rest: Rest, server: RunningServer) -> None:
    host, _, port = server.http_address.rpartition(":")
    head = f"POST /api/tasks HTTP/1.1\r\nHost: {server.http_address}\r\nContent-Type: application/json\r\n"
    answers: list[int] = []
    writers = []

    async def send_half() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        writers.append(writer)
        writer.write(f"{head}Content-Length: {2 * HALF}\r\n\r\n".encode() + b" " * HALF)
        status = await reader.readline()
        answers.append(int(status.split()[1]))

    sending = [asyncio.create_task(send_half()) for _ in range(5)]
    async with asyncio.timeout(PATIENCE_SECONDS):
        # Two halves fit. Some of the others are refused at once; a few bytes of each may have been taken before.
        while len(answers) < 3:  # noqa: ASYNC110  (answers on sockets set no event)
            await asyncio.sleep(0.01)
        assert set(answers) == {429}
        for writer in writers:
            writer.close()
        await asyncio.gather(*sending, return_exceptions=True)
        # Given back: a large body is served again.
        config = {"text": "x" * HALF}
        while (await rest.post("/api/tasks", {"taskName": "n", "taskType": "T", "config": config})).status != 201:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
