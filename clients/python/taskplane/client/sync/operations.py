# Generated from ../aio/operations.py by `make sync-client`. Do not edit.
"""Units and statistics, for operators."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Unpack

from taskplane.client.convert import to_duration
from taskplane.client.messages import UnitFilterOptions, units_request
from taskplane.client.sync.calls import Calls, all_pages
from taskplane.v1.execution_unit_pb2 import ExecutionUnit
from taskplane.v1.operations_service_pb2 import (
    DeleteUnitRequest,
    DrainUnitRequest,
    GetStatisticsRequest,
    GetStatisticsResponse,
    GetUnitRequest,
    ListUnitsResponse,
)


class OperationsCalls(Calls):
    """Calls for operators."""

    def list_units(
        self,
        *,
        page_size: int = 0,
        timeout: float | None = None,
        **restrictions: Unpack[UnitFilterOptions],
    ) -> Iterator[ExecutionUnit]:
        """Iterate over the units that match the restrictions, by id; `timeout` is for each page."""

        def fetch(token: str) -> ListUnitsResponse:
            return self.list_units_page(page_size=page_size, page_token=token, timeout=timeout, **restrictions)

        for page in all_pages(fetch):
            for unit in page.units:
                yield unit

    def list_units_page(
        self,
        *,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
        **restrictions: Unpack[UnitFilterOptions],
    ) -> ListUnitsResponse:
        """Return one page. `page_token` is the `next_page_token` of the page before, with the same restrictions."""
        request = units_request(restrictions, page_size, page_token)
        return self._call(self._operations.ListUnits, request, timeout)

    def get_unit(self, unit_id: str, *, timeout: float | None = None) -> ExecutionUnit:
        """Return the unit. NotFoundError: there is no such unit."""
        response = self._call(self._operations.GetUnit, GetUnitRequest(unit_id=unit_id), timeout)
        return response.unit

    def drain_unit(  # noqa: PLR0913  the fields of the request
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
        response = self._call(self._operations.DrainUnit, request, timeout)
        return response.unit

    def delete_unit(self, unit_id: str, *, timeout: float | None = None) -> None:
        """Delete the record of an OFFLINE unit. Not repeated after a broken connection: a repeat would be NOT_FOUND."""
        request = DeleteUnitRequest(unit_id=unit_id)
        self._call(self._operations.DeleteUnit, request, timeout, idempotent=False)

    def get_statistics(
        self,
        *,
        window: timedelta | None = None,
        task_type: str = "",
        timeout: float | None = None,
    ) -> GetStatisticsResponse:
        """Return counts of tasks and units now, and rates over the `window` up to now (default: an hour)."""
        request = GetStatisticsRequest(window=to_duration(window), task_type=task_type)
        return self._call(self._operations.GetStatistics, request, timeout)
