"""Request messages, built from keyword arguments."""

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TypedDict, Unpack

from taskplane.client.convert import to_struct, to_timestamp
from taskplane.client.enums import AnyTaskStatus, AnyUnitStatus, task_status_number, unit_status_number
from taskplane.v1.operations_service_pb2 import ListUnitsRequest
from taskplane.v1.task_pb2 import TaskLimits
from taskplane.v1.task_service_pb2 import (
    TASK_ORDER_NEWEST_FIRST,
    TASK_ORDER_OLDEST_FIRST,
    ListTasksRequest,
    RequestContext,
    TaskFilter,
    TaskSpec,
)


class ContextOptions(TypedDict, total=False):
    """The caller, the reason and the conditions of a change: see RequestContext in task_service.proto."""

    actor: str
    reason: str
    request_id: str
    expected_revision: int


class SpecOptions(TypedDict, total=False):
    """The optional fields of a new task: see TaskSpec in task_service.proto."""

    priority: int
    max_retries: int | None
    start: bool
    labels: Mapping[str, str]
    unit_labels: Mapping[str, str]
    limits: TaskLimits


class RestOfFilterOptions(TypedDict, total=False):
    """The part of FilterOptions that a TaskFilter takes unchanged."""

    task_types: Iterable[str]
    execution_unit_id: str
    min_priority: int | None
    max_priority: int | None
    name_contains: str
    labels: Mapping[str, str]


class FilterOptions(RestOfFilterOptions, total=False):
    """Restrictions on tasks: see TaskFilter in task_service.proto. A status is a TaskStatus or its name, "RUNNING"."""

    statuses: Iterable[AnyTaskStatus]
    created_from: datetime | None
    created_before: datetime | None


class UpdateOptions(TypedDict, total=False):
    """The fields of a live task that can change. Fields that are not given stay."""

    priority: int
    max_retries: int
    labels: Mapping[str, str]
    unit_labels: Mapping[str, str]
    limits: TaskLimits


def request_context(**options: Unpack[ContextOptions]) -> RequestContext:
    """Return the context of a change. A request id is generated unless given, so that the call can be repeated."""
    context = RequestContext(**options)
    context.request_id = context.request_id or uuid.uuid4().hex
    return context


def task_spec(
    task_type: str,
    task_name: str,
    config: dict[str, object] | None = None,
    **options: Unpack[SpecOptions],
) -> TaskSpec:
    """Return a new task for `Client.batch_create_tasks`. Raises NotJsonError if `config` is not JSON."""
    return TaskSpec(task_type=task_type, task_name=task_name, config=to_struct(config or {}), **options)


def task_filter(
    *,
    statuses: Iterable[AnyTaskStatus] = (),
    created_from: datetime | None = None,
    created_before: datetime | None = None,
    **options: Unpack[RestOfFilterOptions],
) -> TaskFilter:
    """Return a filter of tasks. All fields must match; the values of one field are alternatives.

    Raises ValueError for an unknown status.
    """
    return TaskFilter(
        statuses=[task_status_number(status) for status in statuses],
        created_from=to_timestamp(created_from),
        created_before=to_timestamp(created_before),
        **options,
    )


def list_request(restrictions: FilterOptions, *, page_size: int, oldest_first: bool) -> ListTasksRequest:
    """Return the request of a list's first page."""
    return ListTasksRequest(
        filter=task_filter(**restrictions),
        page_size=page_size,
        order=TASK_ORDER_OLDEST_FIRST if oldest_first else TASK_ORDER_NEWEST_FIRST,
    )


class UnitFilterOptions(TypedDict, total=False):
    """Restrictions on units: see ListUnitsRequest in operations_service.proto."""

    statuses: Iterable[AnyUnitStatus]
    unit_type: str
    task_type: str


def units_request(restrictions: UnitFilterOptions, page_size: int, page_token: str) -> ListUnitsRequest:
    """Return the request of a page of units. Raises ValueError for an unknown status."""
    return ListUnitsRequest(
        statuses=[unit_status_number(each) for each in restrictions.get("statuses", ())],
        unit_type=restrictions.get("unit_type", ""),
        task_type=restrictions.get("task_type", ""),
        page_size=page_size,
        page_token=page_token,
    )
