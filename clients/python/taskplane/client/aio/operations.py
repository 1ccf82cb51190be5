"""Units and statistics, for operators."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Unpack

from taskplane.client.aio.calls import AsyncCalls, all_pages
from taskplane.client.convert import to_duration
from taskplane.client.messages import UnitFilterOptions, units_request
from taskplane.v1.execution_unit_pb2 import ExecutionUnit
from taskplane.v1.operations_service_pb2 import (
    DeleteUnitRequest,
    DrainUnitRequest,
    GetStatisticsRequest,
    GetStatisticsResponse,
    GetUnitRequest,
    ListUnitsResponse,
)


class AsyncOperationsCalls(AsyncCalls):
    """Calls for operators."""

    async def list_units(
        self,
        *,
        page_size: int = 0,
        timeout: float | None = None,
        **restrictions: Unpack[UnitFilterOptions],
    ) -> AsyncIterator[ExecutionUnit]:
        """Iterate over the units that match the restrictions, by id; `timeout` is for each page."""

        async def fetch(token: str) -> ListUnitsResponse:
            return await self.list_units_page(page_size=page_size, page_token=token, timeout=timeout, **restrictions)

        async for page in all_pages(fetch):
            for unit in page.units:
                yield unit

    async def list_units_page(
        self,
        *,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
        **restrictions: Unpack[UnitFilterOptions],
    ) -> ListUnitsResponse:
        """Return one page. `page_token` is the `next_page_token` of the page before, with the same restrictions."""
        request = units_request(restrictions, page_size, page_token)
        return await self._call(self._operations.ListUnits, request, timeout)

    async def get_unit(self, unit_id: str, *, timeout: float | None = None) -> ExecutionUnit:
        """Return the unit. NotFoundError: there is no such unit."""
        response = await self._call(self._operations.GetUnit, GetUnitRequest(unit_id=unit_id), timeout)
        return response.unit

    async def drain_unit(  # noqa: PLR0913  the fields of the request
        self,
        unit_id: str,
        *,
        within: timedelta | None = None,
        wait: bool = True,
        actor: str = "",
        reason: str = "",
        timeout: float | None = None,
    ) -> ExecutionUnit:
        """Drain a unit: its tasks are paused and resume elsewhere, then the unit leaves.

        `within` bounds the drain; tasks that the unit still runs then are taken from it.
        """
        request = DrainUnitRequest(
            unit_id=unit_id,
            timeout=to_duration(within),
            actor=actor,
            reason=reason,
            no_wait=not wait,
        )
        response = await self._call(self._operations.DrainUnit, request, timeout)
        return response.unit

    async def delete_unit(self, unit_id: str, *, timeout: float | None = None) -> None:
        """Delete the record of an OFFLINE unit. Not repeated after a broken connection: a repeat would be NOT_FOUND."""
        request = DeleteUnitRequest(unit_id=unit_id)
        await self._call(self._operations.DeleteUnit, request, timeout, idempotent=False)

    async def get_statistics(
        self,
        *,
        window: timedelta | None = None,
        task_type: str = "",
        timeout: float | None = None,
    ) -> GetStatisticsResponse:
        """Return counts of tasks and units now, and rates over the `window` up to now (default: an hour)."""
        request = GetStatisticsRequest(window=to_duration(window), task_type=task_type)
        return await self._call(self._operations.GetStatistics, request, timeout)
