"""Units and figures, for operators; see `taskplane.client.operations`."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Unpack

from taskplane.client.aio.calls import AsyncCalls, all_pages
from taskplane.client.convert import to_duration
from taskplane.client.operations import UnitFilterOptions
from taskplane.v1.execution_unit_pb2 import ExecutionUnit
from taskplane.v1.operations_service_pb2 import (
    DeleteUnitRequest,
    DrainUnitRequest,
    GetStatisticsRequest,
    GetStatisticsResponse,
    GetUnitRequest,
    ListUnitsRequest,
    ListUnitsResponse,
)


class AsyncOperationsCalls(AsyncCalls):
    """The part of AsyncClient for operators."""

    async def list_units(
        self,
        *,
        page_size: int = 0,
        timeout: float | None = None,
        **restrictions: Unpack[UnitFilterOptions],
    ) -> AsyncIterator[ExecutionUnit]:
        """Every unit that the restrictions choose, by id; `timeout` is for each page."""

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
        """One page. `page_token` is the `next_page_token` of the page before, of the same restrictions."""
        request = ListUnitsRequest(page_size=page_size, page_token=page_token, **restrictions)
        return await self._call(self._operations.ListUnits, request, timeout)

    async def get_unit(self, unit_id: str, *, timeout: float | None = None) -> ExecutionUnit:
        """The unit as it is."""
        return (await self._call(self._operations.GetUnit, GetUnitRequest(unit_id=unit_id), timeout)).unit

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
        """Empties a unit: its tasks are paused and go on elsewhere, then it leaves, `within` that time if given."""
        request = DrainUnitRequest(
            unit_id=unit_id,
            timeout=to_duration(within),
            actor=actor,
            reason=reason,
            no_wait=not wait,
        )
        return (await self._call(self._operations.DrainUnit, request, timeout)).unit

    async def delete_unit(self, unit_id: str, *, timeout: float | None = None) -> None:
        """Forgets an OFFLINE unit. Not repeated when the connection breaks: a second try would be NOT_FOUND."""
        request = DeleteUnitRequest(unit_id=unit_id)
        await self._call(self._operations.DeleteUnit, request, timeout, idempotent=False)

    async def get_statistics(
        self,
        *,
        window: timedelta | None = None,
        task_type: str = "",
        timeout: float | None = None,
    ) -> GetStatisticsResponse:
        """Counts of tasks and units now, and rates over the `window` up to now (an hour if not given)."""
        request = GetStatisticsRequest(window=to_duration(window), task_type=task_type)
        return await self._call(self._operations.GetStatistics, request, timeout)
