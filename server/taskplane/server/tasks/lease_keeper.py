"""The renewal of the server's lease: a regular write, which shows whether the database accepts writes."""

import asyncio
from collections.abc import Awaitable, Callable

from taskplane.server.core.errors import DatabaseUnavailable
from taskplane.server.store.database import Database

RENEW_SECONDS = 1.0
# After a longer renewal the database counts as unavailable, until the renewal ends.
RESPONSE_SECONDS = 5.0
# A response that arrived while the event loop was blocked is found within this time.
LATE_SECONDS = 0.5


class LeaseKeeper:
    """Renews the lease. After each renewal `show` gets the reason of an outage, or "" without one."""

    def __init__(self, database: Database, show: Callable[[str], Awaitable[None]]) -> None:
        self._database = database
        self._show = show

    async def run(self) -> None:
        """Renew once a second, forever. A replaced server learns of its replacement here at the latest."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            await self.renew()

    async def renew(self) -> None:
        """Renew once."""
        renewal = asyncio.ensure_future(self._database.renew_lease())
        try:
            await asyncio.wait([renewal], timeout=RESPONSE_SECONDS)
            await asyncio.wait([renewal], timeout=LATE_SECONDS)
            if not renewal.done():
                self._database.lease_is_overdue(f"no answer within {RESPONSE_SECONDS:g} s")
                await self._show(self._database.outage)
            await renewal
        except DatabaseUnavailable:
            pass  # the writer has noted and logged the outage
        finally:
            renewal.cancel()
        await self._show(self._database.outage)
