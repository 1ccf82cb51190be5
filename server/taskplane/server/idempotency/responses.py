"""The stored responses to calls with idempotency keys: a repeat gets the first response, also after later verbs."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from taskplane.server.core.errors import DatabaseUnavailable
from taskplane.server.idempotency.keys import IdempotencyKey, ResponseStored
from taskplane.server.store.store import Store

log = logging.getLogger(__name__)

R = TypeVar("R")

FLUSH_SECONDS = 1.0
# A longer response (of a bulk create with large configs) is not stored: its repeat shows the tasks as they are then.
MAX_RESPONSE_BYTES = 4 * 1024 * 1024
# Above this size, unstored responses are flushed at once.
FLUSH_BYTES = 8 * 1024 * 1024
# Above this size, new responses are not stored: the database is slower than the callers, and memory is bounded.
MAX_UNSTORED_BYTES = 64 * 1024 * 1024


class StoredResponses:
    """Responses on their way to the database: kept in memory, and stored once a second for all calls together.

    If the server dies before, a repeat gets a response made from the tasks as they are then.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._unstored: dict[str, tuple[IdempotencyKey, bytes]] = {}
        self._unstored_bytes = 0
        self._is_flush_due = asyncio.Event()

    async def call(
        self,
        key: IdempotencyKey | None,
        call: Callable[[IdempotencyKey | None], Awaitable[R]],
        serialize: Callable[[R], bytes],
        deserialize: Callable[[bytes], R],
    ) -> R:
        """Make a call and keep its response; a repeat returns the first response instead."""
        if key is None:
            return await call(None)
        if (first := self.find(key)) is not None:
            return deserialize(first)
        try:
            response = await call(key)
        except ResponseStored as stored:
            return deserialize(stored.response)
        self.keep(key, serialize(response))
        return response

    def find(self, key: IdempotencyKey) -> bytes | None:
        """Return the response to a call, if it is not stored yet."""
        unstored = self._unstored.get(key.request_id)
        return unstored[1] if unstored and unstored[0] == key else None

    def keep(self, key: IdempotencyKey, response: bytes) -> None:
        """Keep the response to a call until the next flush."""
        self._drop(key.request_id)
        if len(response) > MAX_RESPONSE_BYTES or self._unstored_bytes + len(response) > MAX_UNSTORED_BYTES:
            return
        self._unstored[key.request_id] = (key, response)
        self._unstored_bytes += len(response)
        if self._unstored_bytes >= FLUSH_BYTES:
            self._is_flush_due.set()

    async def flush(self) -> None:
        """Store the responses kept so far."""
        flushed = dict(self._unstored)
        await self._store.save_responses({request_id: response for request_id, (_, response) in flushed.items()})
        for request_id in flushed:
            self._drop(request_id)

    async def run(self) -> None:
        """Flush once a second, or earlier above FLUSH_BYTES, forever. While the database is away, responses gather."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self._is_flush_due.wait()
            self._is_flush_due.clear()
            try:
                await self.flush()
            except DatabaseUnavailable as error:
                log.debug("responses are not stored: %s", error.message)

    def _drop(self, request_id: str) -> None:
        if unstored := self._unstored.pop(request_id, None):
            self._unstored_bytes -= len(unstored[1])
