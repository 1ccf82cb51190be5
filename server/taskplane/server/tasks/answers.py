"""The answers to idempotent calls, so that a repeat gets the first one, also after later verbs."""

import asyncio
import logging

from taskplane.server.core.errors import DatabaseUnavailable
from taskplane.server.store.store import Store
from taskplane.server.tasks.group_commit import Request

log = logging.getLogger(__name__)

FLUSH_SECONDS = 1.0
# A longer answer (a large config) is not kept: its repeat is told how the task is now.
MAX_ANSWER_BYTES = 64 * 1024


class Answers:
    """Keeps answers in memory until they are stored with their request ids, all of a second together.

    An answer that was not stored when the server died is given anew from the task as it is.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._new: dict[str, tuple[Request, bytes]] = {}

    def find(self, request: Request) -> bytes | None:
        """Return the answer to a request, if it is not stored yet."""
        known = self._new.get(request.request_id)
        return known[1] if known and known[0] == request else None

    def keep(self, request: Request, answer: bytes) -> None:
        """Keep an answer that goes out."""
        if len(answer) <= MAX_ANSWER_BYTES:
            self._new[request.request_id] = (request, answer)

    async def flush(self) -> None:
        """Store what is new."""
        taken = dict(self._new)
        await self._store.save_answers({request_id: answer for request_id, (_, answer) in taken.items()})
        for request_id in taken:
            del self._new[request_id]

    async def run(self) -> None:
        """Flush once a second, for ever. While the database is away, answers gather."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await self.flush()
            except DatabaseUnavailable as error:
                log.warning("answers are not stored: %s", error.message)
