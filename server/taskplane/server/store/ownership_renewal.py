"""The renewal of the server's lease: a regular write, which shows whether the database accepts writes."""

import asyncio
from collections.abc import Awaitable, Callable

from taskplane.server.core.errors import DatabaseUnavailable
from taskplane.server.core.tuning import DEFAULT_TUNING, Tuning
from taskplane.server.store.database import Database


class OwnershipRenewal:
    """Renews the lease. After each renewal `show` gets the reason of an outage, or "" without one."""

    def __init__(
        self, database: Database, show: Callable[[str], Awaitable[None]], tuning: Tuning = DEFAULT_TUNING
    ) -> None:
        self._database = database
        self._show = show
        self._tuning = tuning

    async def run(self) -> None:
        """Renew regularly, forever. A replaced server learns of its replacement here at the latest."""
        while True:
            await asyncio.sleep(self._tuning.renew_seconds)
            await self.renew()

    async def renew(self) -> None:
        """Renew once."""
        renewal = asyncio.ensure_future(self._database.renew_lease())
        try:
            await asyncio.wait([renewal], timeout=self._tuning.renewal_response_seconds)
            await asyncio.wait([renewal], timeout=self._tuning.late_response_seconds)
            if not renewal.done():
                self._database.lease_is_overdue(f"no answer within {self._tuning.renewal_response_seconds:g} s")
                await self._show(self._database.outage)
            await renewal
        except DatabaseUnavailable:
            pass  # the writer has noted and logged the outage
        finally:
            renewal.cancel()
        await self._show(self._database.outage)
