"""Responses on their way to the database: each is kept, in bounded memory."""

import asyncio
from collections.abc import Mapping

import pytest
from support.builders import PATIENCE_SECONDS
from support.writer import CountingStore

from taskplane.server.core.errors import DatabaseUnavailable
from taskplane.server.idempotency import responses as module
from taskplane.server.idempotency.keys import IdempotencyKey
from taskplane.server.idempotency.responses import (
    FLUSH_BYTES,
    MAX_RESPONSE_BYTES,
    MAX_UNSTORED_BYTES,
    StoredResponses,
)
from taskplane.server.store.database import Database

LONGEST = bytes(MAX_RESPONSE_BYTES)
MOST = MAX_UNSTORED_BYTES // MAX_RESPONSE_BYTES


def key(number: int) -> IdempotencyKey:
    return IdempotencyKey(f"request-{number}", "CreateTask", "a" * 64)


class WatchedStore(CountingStore):
    """A store that signals when responses are saved, and can be unavailable."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.saved = asyncio.Event()
        self.is_away = False

    async def save_responses(self, responses: Mapping[str, bytes]) -> None:
        if self.is_away:
            raise DatabaseUnavailable
        await super().save_responses(responses)
        self.saved.set()


@pytest.fixture
async def watched(store: CountingStore) -> WatchedStore:
    return WatchedStore(store._database)


@pytest.fixture
async def responses(watched: WatchedStore) -> StoredResponses:
    return StoredResponses(watched)


async def test_a_response_that_is_too_long_is_not_kept(responses: StoredResponses) -> None:
    responses.keep(key(1), LONGEST)
    responses.keep(key(2), LONGEST + b"x")
    assert (responses.find(key(1)), responses.find(key(2))) == (LONGEST, None)


async def test_memory_is_bounded_while_the_database_is_away(responses: StoredResponses, watched: WatchedStore) -> None:
    watched.is_away = True
    for number in range(MOST + 3):
        responses.keep(key(number), LONGEST)
    with pytest.raises(DatabaseUnavailable):
        await responses.flush()
    kept = [number for number in range(MOST + 3) if responses.find(key(number))]
    assert kept == list(range(MOST))


async def test_stored_responses_free_their_memory(responses: StoredResponses) -> None:
    for number in range(2 * MOST):
        responses.keep(key(number % MOST), LONGEST)
    await responses.flush()
    for number in range(MOST):
        responses.keep(key(number), LONGEST)
    assert all(responses.find(key(number)) for number in range(MOST))


async def test_many_bytes_are_stored_before_the_second_is_over(
    responses: StoredResponses, watched: WatchedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FLUSH_SECONDS", 3600.0)
    running = asyncio.create_task(responses.run())
    for number in range(FLUSH_BYTES // MAX_RESPONSE_BYTES):
        responses.keep(key(number), LONGEST)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await watched.saved.wait()
    running.cancel()
    await asyncio.wait({running})
