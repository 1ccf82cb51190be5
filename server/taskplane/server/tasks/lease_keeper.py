"""The renewal of the server's lease on the tasks: a write that always happens, so it shows whether any can."""

import asyncio
from collections.abc import Awaitable, Callable

from taskplane.server.core.errors import DatabaseUnavailable
from taskplane.server.store.database import Database

RENEW_SECONDS = 1.0
# A renewal that takes longer means that nothing can be written, until it is done.
ANSWER_SECONDS = 5.0
# An answer that came while the event loop stood still is found within that time.
LATE_SECONDS = 0.5


class LeaseKeeper:
    """Renews the lease. After each try `show` hears why the database cannot be read or written, or "" if it can."""

    def __init__(self, database: Database, show: Callable[[str], Awaitable[None]]) -> None:
        self._database = database
        self._show = show

    async def run(self) -> None:
        """Renew once a second, for ever. A server that was taken over learns of it here at the latest."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            await self.renew()

    async def renew(self) -> None:
        """Renew once."""
        renewal = asyncio.ensure_future(self._database.renew_lease())
        try:
            await asyncio.wait([renewal], timeout=ANSWER_SECONDS)
            await asyncio.wait([renewal], timeout=LATE_SECONDS)
            if not renewal.done():
                self._database.lease_is_overdue(f"no answer within {ANSWER_SECONDS:g} s")
                await self._show(self._database.outage)
            await renewal
        except DatabaseUnavailable:
            pass  # the outage is noted and logged, by its cause, where it was noticed
        finally:
            renewal.cancel()
        await self._show(self._database.outage)
