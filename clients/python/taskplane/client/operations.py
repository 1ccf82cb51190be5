"""Units and figures, for operators."""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TypedDict, Unpack

from taskplane.client.calls import Calls, all_pages
from taskplane.client.convert import to_duration
from taskplane.v1.execution_unit_pb2 import ExecutionUnit, ExecutionUnitStatus
from taskplane.v1.operations_service_pb2 import (
    DeleteUnitRequest,
    DrainUnitRequest,
    GetStatisticsRequest,
    GetStatisticsResponse,
    GetUnitRequest,
    ListUnitsRequest,
    ListUnitsResponse,
)


class UnitFilterOptions(TypedDict, total=False):
    """Which units: see ListUnitsRequest in operations_service.proto."""

    statuses: Iterable[ExecutionUnitStatus.ValueType]
    unit_type: str
    task_type: str


class OperationsCalls(Calls):
    """The part of Client for operators."""

    def list_units(
        self,
        *,
        page_size: int = 0,
        timeout: float | None = None,
        **restrictions: Unpack[UnitFilterOptions],
    ) -> Iterator[ExecutionUnit]:
        """Every unit that the restrictions choose, by id; `timeout` is for each page."""

        def fetch(token: str) -> ListUnitsResponse:
            return self.list_units_page(page_size=page_size, page_token=token, timeout=timeout, **restrictions)

        for page in all_pages(fetch):
            yield from page.units

    def list_units_page(
        self,
        *,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
        **restrictions: Unpack[UnitFilterOptions],
    ) -> ListUnitsResponse:
        """One page. `page_token` is the `next_page_token` of the page before, of the same restrictions."""
        request = ListUnitsRequest(page_size=page_size, page_token=page_token, **restrictions)
        return self._call(self._operations.ListUnits, request, timeout)

    def get_unit(self, unit_id: str, *, timeout: float | None = None) -> ExecutionUnit:
        """The unit as it is."""
        return self._call(self._operations.GetUnit, GetUnitRequest(unit_id=unit_id), timeout).unit

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
        """Empties a unit: its tasks are paused and go on elsewhere, then it leaves, `within` that time if given."""
        request = DrainUnitRequest(
            unit_id=unit_id,
            timeout=to_duration(within),
            actor=actor,
            reason=reason,
            no_wait=not wait,
        )
        return self._call(self._operations.DrainUnit, request, timeout).unit

    def delete_unit(self, unit_id: str, *, timeout: float | None = None) -> None:
        """Forgets an OFFLINE unit. Not repeated when the connection breaks: a second try would be NOT_FOUND."""
        request = DeleteUnitRequest(unit_id=unit_id)
        self._call(self._operations.DeleteUnit, request, timeout, idempotent=False)

    def get_statistics(
        self,
        *,
        window: timedelta | None = None,
        task_type: str = "",
        timeout: float | None = None,
    ) -> GetStatisticsResponse:
        """Counts of tasks and units now, and rates over the `window` up to now (an hour if not given)."""
        request = GetStatisticsRequest(window=to_duration(window), task_type=task_type)
        return self._call(self._operations.GetStatistics, request, timeout)
