"""Readers of OperationsService's requests, for both APIs. All raise InvalidFields with every bad field."""

import hashlib
from dataclasses import dataclass
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration

from taskplane.server.core.unit import MAX_UNIT_ID, DrainOrder, Unit
from taskplane.server.rpc.bounds import DEFAULT_PAGE, MAX_ACTOR, MAX_REASON, MAX_UNIT_TYPE
from taskplane.server.rpc.unit_messages import unit_statuses
from taskplane.server.rpc.validation import Checker
from taskplane.v1 import operations_service_pb2 as pb

DEFAULT_WINDOW = timedelta(hours=1)
# Longer than operators look back, and short enough for the database to read its history.
MAX_WINDOW = timedelta(days=31)


@dataclass(frozen=True, slots=True)
class UnitQuery:
    """Conditions on units, and a page of them. Empty conditions do not restrict."""

    statuses: frozenset[str]
    unit_type: str
    task_type: str
    page_size: int
    page_token: str

    @property
    def fingerprint(self) -> str:
        """Name the conditions: the same for each page."""
        text = f"{sorted(self.statuses)} {self.unit_type} {self.task_type}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def matches(self, unit: Unit) -> bool:
        """Return whether a unit meets the conditions."""
        return (
            (not self.statuses or unit.status in self.statuses)
            and (not self.unit_type or unit.unit_type == self.unit_type)
            and (not self.task_type or unit.accepts(self.task_type))
        )


def read_unit_query(request: pb.ListUnitsRequest) -> UnitQuery:
    """Read a list of units."""
    check = Checker()
    query = UnitQuery(
        statuses=frozenset(unit_statuses(check, request.statuses)),
        unit_type=check.text("unit_type", request.unit_type, at_most=MAX_UNIT_TYPE),
        task_type=check.task_type("task_type", request.task_type) if request.task_type else "",
        page_size=check.page_size("page_size", request.page_size, default=DEFAULT_PAGE),
        page_token=check.page_token("page_token", request.page_token),
    )
    check.done()
    return query


def read_unit_id(request: pb.GetUnitRequest | pb.DeleteUnitRequest) -> str:
    """Read the unit of a request that has nothing else."""
    check = Checker()
    unit_id = check.text("unit_id", request.unit_id, at_least=1, at_most=MAX_UNIT_ID)
    check.done()
    return unit_id


def read_drain(request: pb.DrainUnitRequest) -> tuple[str, DrainOrder]:
    """Read a drain: the unit and the order."""
    check = Checker()
    unit_id = check.text("unit_id", request.unit_id, at_least=1, at_most=MAX_UNIT_ID)
    timeout = check.duration(request, "timeout", "timeout")
    actor = check.text("actor", request.actor, at_most=MAX_ACTOR)
    reason = check.text("reason", request.reason, at_most=MAX_REASON)
    check.done()
    return unit_id, DrainOrder(timeout.total_seconds() if timeout else None, actor, reason)


def read_statistics(request: pb.GetStatisticsRequest) -> tuple[timedelta, str]:
    """Read a request for statistics: the window, and the task type (empty: all)."""
    check = Checker()
    window = _window(check, request)
    task_type = check.task_type("task_type", request.task_type) if request.task_type else ""
    check.done()
    return window, task_type


def _window(check: Checker, request: pb.GetStatisticsRequest) -> timedelta:
    if not request.HasField("window"):
        return DEFAULT_WINDOW
    window = check.duration(request, "window", "window")
    if request.window == Duration():
        check.refuse("window", "must be above 0")
    elif window and window > MAX_WINDOW:
        check.refuse("window", f"is {window.total_seconds():g} seconds; at most {MAX_WINDOW.days} days are allowed")
    return window or DEFAULT_WINDOW
