"""Requests about tasks, in JSON."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from google.protobuf.message import Message

from taskplane.gateway.errors import InvalidRequest
from taskplane.gateway.requests import (
    Extra,
    Given,
    PlainBody,
    PlainQueryString,
    TaskBody,
    TaskQueryString,
    WatchedTaskQueryString,
)
from taskplane.gateway.schema import DOCUMENT_BODY_BYTES, parse_digits
from taskplane.gateway.strict_json import MAX_DEPTH
from taskplane.server.core.clock import monotonic
from taskplane.server.core.errors import FieldViolation, InvalidFields
from taskplane.server.core.verbs import CallContext, Update
from taskplane.server.rpc import task_requests as read
from taskplane.server.rpc.bounds import DEFAULT_HISTORY_PAGE, DEFAULT_PAGE, MAX_PAGE
from taskplane.server.rpc.deadlines import DEFAULT_WAIT_SECONDS
from taskplane.server.services.pages import TaskQuery
from taskplane.v1 import task_service_pb2 as pb

R = TypeVar("R")

MAX_WAIT_SECONDS = 60.0
# As gRPC's limit for a request of BatchCreateTasks.
BATCH_BODY_BYTES = 4 * 1024 * 1024
# The database reads all rows before a numbered page; deeper pages are reached by token.
MAX_NUMBERED_ROWS = 10_000


def _parse_wait(value: Any) -> float:
    """Read true (the default time), false (no wait) or seconds."""
    if isinstance(value, bool):
        return DEFAULT_WAIT_SECONDS if value else 0.0
    if isinstance(value, int | float) and 0 <= value <= MAX_WAIT_SECONDS:
        return float(value)
    raise ValueError(f"must be true, false, or seconds from 0 to {MAX_WAIT_SECONDS:g}")


_WAIT_TEXT = (
    f"Time to wait for the effect: true ({DEFAULT_WAIT_SECONDS:g} s), false, or seconds. "
    "When the time runs out, the response is 504, and the command stays pending."
)
_WAIT_SCHEMA: dict[str, Any] = {
    "anyOf": [{"type": "boolean"}, {"type": "number", "minimum": 0, "maximum": MAX_WAIT_SECONDS}],
    "default": True,
}


def _set_no_wait(message: Any, wait: float) -> None:
    message.no_wait = not wait


WAIT = Extra("wait", {"description": _WAIT_TEXT} | _WAIT_SCHEMA, _parse_wait, DEFAULT_WAIT_SECONDS, _set_no_wait)


def wait_until(given: Given[Any]) -> float | None:
    """Return the end of a call's wait, by `core.clock.monotonic`; None for no wait."""
    wait: float = given.extras["wait"]
    return monotonic() + wait if wait else None


def _number(most: int) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        number: int = parse_digits(value)
        if not 1 <= number <= most:
            raise ValueError(f"is {number}; must be from 1 to {most}")
        return number

    return parse


def limit(default: int) -> Extra:
    """Return the member for the length of a page."""
    schema = {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": default, "description": "Longest page."}
    return Extra("limit", schema, _number(MAX_PAGE), default, _set_page_size)


def _set_page_size(message: Any, size: int) -> None:
    message.page_size = size


def _choice(name: str, description: str, values: Mapping[str, Any], apply: Callable[[Any, Any], None]) -> Extra:
    """Return an extra whose texts stand for values; the first is the default."""

    def parse(text: Any) -> Any:
        if text not in values:
            raise ValueError(f"must be one of {', '.join(values)}")
        return values[text]

    first = next(iter(values))
    schema = {"type": "string", "enum": list(values), "default": first, "description": description}
    return Extra(name, schema, parse, values[first], apply)


def _set_order(message: Any, order: int) -> None:
    message.order = order


def _set_no_snapshot(message: Any, no_snapshot: bool) -> None:  # noqa: FBT001  (an extra's value)
    message.no_snapshot = no_snapshot


PAGE = Extra(
    "page",
    {
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_NUMBERED_ROWS,
        "description": f"From 1, up to row {MAX_NUMBERED_ROWS}; deeper pages are reached by pageToken.",
    },
    _number(MAX_NUMBERED_ROWS),
    None,
)
_SORT = _choice(
    "sort",
    "Newest first by default.",
    {"-createdAt": pb.TASK_ORDER_NEWEST_FIRST, "createdAt": pb.TASK_ORDER_OLDEST_FIRST},
    _set_order,
)
_SNAPSHOT = _choice(
    "snapshot",
    "Whether to begin with a snapshot, if not after a revision.",
    {"true": False, "false": True},
    _set_no_snapshot,
)

_EXAMPLE: dict[str, Any] = {
    "taskName": "数据处理任务",
    "taskType": "DATA_PROCESSING",
    "priority": 1,
    "config": {"inputPath": "/data/input", "outputPath": "/data/output"},
    "maxRetries": 3,
}
CREATE = PlainBody(
    pb.CreateTaskRequest,
    read.creation,
    flat=("task", "context"),
    # A new task has no revision yet.
    hidden=("context.expected_revision",),
    max_bytes=DOCUMENT_BODY_BYTES,
    examples=[_EXAMPLE, _EXAMPLE | {"start": True}],
)


_NOT_UPDATABLE = {"task_name", "task_type", "config", "start"}


def _set_mask(message: Any, value: Mapping[str, Any]) -> None:
    """Mask the fields that the body has; of limits, those limits that the body has, unless limits is null."""
    for name, given in value.items():
        if (member := UPDATE.members.get(name)) and member.levels == ("task",):
            if name == "limits" and isinstance(given, dict):
                inner = [member.members[each].path for each in given if each in member.members]
                message.update_mask.paths.extend(f"limits.{each}" for each in inner)
            else:
                message.update_mask.paths.append(member.descriptor.name)


def _read_update(message: Any) -> tuple[int, CallContext, Update]:
    if not message.update_mask.paths:
        names = ", ".join(name for name, each in UPDATE.members.items() if each.levels == ("task",))
        raise InvalidFields(FieldViolation("body", f"names nothing to change; what can change: {names}"))
    return read.update(message)


UPDATE: TaskBody[tuple[int, CallContext, Update]] = TaskBody(
    pb.UpdateTaskRequest,
    _read_update,
    flat=("task", "context"),
    hidden=("task_id", "update_mask", *(f"task.{name}" for name in _NOT_UPDATABLE)),
    prepare=_set_mask,
    examples=[{"priority": 5, "limits": {"deadline": None}, "reason": "urgent"}],
)
BATCH_CREATE = PlainBody(
    pb.BatchCreateTasksRequest,
    read.batch_creation,
    hidden=("context.expected_revision",),
    max_bytes=BATCH_BODY_BYTES,
    # The list, and the task in it.
    max_depth=MAX_DEPTH + 2,
    examples=[{"tasks": [_EXAMPLE, _EXAMPLE | {"start": True}]}],
)
BATCH_CONTROL = PlainBody(
    pb.BatchControlTasksRequest,
    read.batch_control,
    hidden=("context.expected_revision",),
    examples=[{"verb": "PAUSE", "filter": {"taskType": ["DATA_PROCESSING"], "status": ["RUNNING"]}}],
)


def _verb(message_type: type[Message]) -> TaskBody[tuple[int, Any, int]]:
    return TaskBody(
        message_type,
        read.verb,
        hidden=("task_id", "no_wait"),
        extras=(WAIT,),
        examples=[{"actor": "alice", "reason": "maintenance"}],
        is_optional=True,
    )


START = _verb(pb.StartTaskRequest)
PAUSE = _verb(pb.PauseTaskRequest)
RESUME = _verb(pb.ResumeTaskRequest)
CANCEL = _verb(pb.CancelTaskRequest)
RESTART = _verb(pb.RestartTaskRequest)
DELETE = TaskQueryString(pb.DeleteTaskRequest, read.deletion, hidden=("task_id",))


def _include_total(message: Any, _: Mapping[str, Any]) -> None:
    message.include_total = True


LIST = PlainQueryString(
    pb.ListTasksRequest,
    read.query,
    flat=("filter",),
    hidden=("page_size", "order", "include_total"),
    extras=(PAGE, limit(DEFAULT_PAGE), _SORT),
    prepare=_include_total,
)
HISTORY = TaskQueryString(
    pb.ListTaskTransitionsRequest,
    read.page,
    hidden=("task_id", "page_size"),
    extras=(limit(DEFAULT_HISTORY_PAGE),),
)
COMMANDS = TaskQueryString(
    pb.ListTaskCommandsRequest,
    read.page,
    hidden=("task_id", "page_size"),
    extras=(limit(DEFAULT_HISTORY_PAGE),),
)
CHECKPOINTS = TaskQueryString(pb.ListTaskCheckpointsRequest, read.checkpoints, hidden=("task_id",))


def rows_before(query: TaskQuery, page: int | None) -> int:
    """Return the number of rows before a numbered page. Raises InvalidRequest beyond MAX_NUMBERED_ROWS."""
    if page and query.page_token:
        raise InvalidRequest(FieldViolation("page", "and pageToken exclude each other: give one"))
    skip = ((page or 1) - 1) * query.page_size
    if skip + query.page_size > MAX_NUMBERED_ROWS:
        deep = f"{page} goes beyond row {MAX_NUMBERED_ROWS}; follow nextPageToken by pageToken instead"
        raise InvalidRequest(FieldViolation("page", deep))
    return skip


def _include_progress(message: Any, _: Mapping[str, Any]) -> None:
    message.include_progress = True


WATCH = PlainQueryString(
    pb.WatchTasksRequest,
    read.watch,
    hidden=("task_ids", "include_progress", "no_snapshot"),
    extras=(_SNAPSHOT,),
    prepare=_include_progress,
)
WATCH_TASK = WatchedTaskQueryString(
    pb.WatchTasksRequest,
    read.watch,
    hidden=("task_ids", "task_types", "statuses", "include_progress", "no_snapshot"),
    extras=(_SNAPSHOT,),
    prepare=_include_progress,
)
