"""The answers to idempotent calls, so that a repeat gets the first one, also after later verbs."""

import asyncio
import logging
from contextlib import suppress

from taskplane.server.core.errors import DatabaseUnavailable
from taskplane.server.store.store import Store
from taskplane.server.tasks.requests import Request

log = logging.getLogger(__name__)

FLUSH_SECONDS = 1.0
# A longer answer (a batch of large configs) is not kept: its repeat is told how the tasks are now.
MAX_ANSWER_BYTES = 4 * 1024 * 1024
# So much is not left to wait for the next flush.
MANY_BYTES = 8 * 1024 * 1024
# Nor is what comes when so much waits kept: the database is slower than the callers, and memory has an end.
MAX_WAITING_BYTES = 64 * 1024 * 1024


class Answers:
    """Keeps answers in memory until they are stored with their request ids, all of a second together.

    An answer that was not stored when the server died is given anew from the task as it is.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._new: dict[str, tuple[Request, bytes]] = {}
        self._waiting_bytes = 0
        self._are_many = asyncio.Event()

    def find(self, request: Request) -> bytes | None:
        """Return the answer to a request, if it is not stored yet."""
        known = self._new.get(request.request_id)
        return known[1] if known and known[0] == request else None

    def keep(self, request: Request, answer: bytes) -> None:
        """Keep an answer that goes out."""
        self._forget(request.request_id)
        if len(answer) > MAX_ANSWER_BYTES or self._waiting_bytes + len(answer) > MAX_WAITING_BYTES:
            return
        self._new[request.request_id] = (request, answer)
        self._waiting_bytes += len(answer)
        if self._waiting_bytes >= MANY_BYTES:
            self._are_many.set()

    async def flush(self) -> None:
        """Store what is new."""
        taken = dict(self._new)
        await self._store.save_answers({request_id: answer for request_id, (_, answer) in taken.items()})
        for request_id in taken:
            self._forget(request_id)

    async def run(self) -> None:
        """Flush once a second, or as soon as there is much, for ever. While the database is away, answers gather."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self._are_many.wait()
            self._are_many.clear()
            try:
                await self.flush()
            except DatabaseUnavailable as error:
                log.debug("answers are not stored: %s", error.message)

    def _forget(self, request_id: str) -> None:
        if known := self._new.pop(request_id, None):
            self._waiting_bytes -= len(known[1])
