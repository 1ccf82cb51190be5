"""Request messages from keyword arguments."""

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TypedDict, Unpack

from taskplane.client.convert import to_struct, to_timestamp
from taskplane.v1.task_pb2 import TaskLimits, TaskStatus
from taskplane.v1.task_service_pb2 import RequestContext, TaskFilter, TaskSpec


class ContextOptions(TypedDict, total=False):
    """Who asks, why, and under which condition: see RequestContext in task_service.proto."""

    actor: str
    reason: str
    request_id: str
    expected_revision: int


class SpecOptions(TypedDict, total=False):
    """What a task may be told besides its type, name and config: see TaskSpec in task_service.proto."""

    priority: int
    max_retries: int | None
    start: bool
    labels: Mapping[str, str]
    unit_labels: Mapping[str, str]
    limits: TaskLimits


class RestOfFilterOptions(TypedDict, total=False):
    """All of FilterOptions that goes into a TaskFilter as it is."""

    task_types: Iterable[str]
    execution_unit_id: str
    min_priority: int | None
    max_priority: int | None
    name_contains: str
    labels: Mapping[str, str]


class FilterOptions(RestOfFilterOptions, total=False):
    """Which tasks: see TaskFilter in task_service.proto. A status may be given by its short name, as "RUNNING"."""

    statuses: Iterable[TaskStatus.ValueType | str]
    created_from: datetime | None
    created_before: datetime | None


class UpdateOptions(TypedDict, total=False):
    """What can be changed of a live task; what is not given stays."""

    priority: int
    max_retries: int
    labels: Mapping[str, str]
    unit_labels: Mapping[str, str]
    limits: TaskLimits


def request_context(**options: Unpack[ContextOptions]) -> RequestContext:
    """The context of a call that changes something; it always has a request id, so that it can be repeated."""
    context = RequestContext(**options)
    context.request_id = context.request_id or uuid.uuid4().hex
    return context


def task_spec(
    task_type: str,
    task_name: str,
    config: dict[str, object] | None = None,
    **options: Unpack[SpecOptions],
) -> TaskSpec:
    """A task to be, for `Client.batch_create_tasks`. Raises NotJsonError for a config that is not JSON."""
    return TaskSpec(task_type=task_type, task_name=task_name, config=to_struct(config or {}), **options)


def task_filter(
    *,
    statuses: Iterable[TaskStatus.ValueType | str] = (),
    created_from: datetime | None = None,
    created_before: datetime | None = None,
    **options: Unpack[RestOfFilterOptions],
) -> TaskFilter:
    """Chooses tasks. Fields restrict together; values of one field are alternatives."""
    return TaskFilter(
        statuses=[task_status(status) for status in statuses],
        created_from=to_timestamp(created_from),
        created_before=to_timestamp(created_before),
        **options,
    )


def task_status(status: TaskStatus.ValueType | str) -> TaskStatus.ValueType:
    """The status of that short name. Raises ValueError for a name that is none."""
    return TaskStatus.Value(f"TASK_STATUS_{status}") if isinstance(status, str) else status
