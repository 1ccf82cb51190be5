"""Requests about tasks, in JSON."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeVar

from google.protobuf.message import Message
from pydantic import BeforeValidator, Field, WithJsonSchema

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
from taskplane.gateway.schema import DOCUMENT_BODY_BYTES, Moment, Schema, Seconds, parse_digits
from taskplane.server.core.clock import monotonic
from taskplane.server.core.errors import FieldViolation
from taskplane.server.rpc import task_requests as read
from taskplane.server.rpc.bounds import DEFAULT_HISTORY_PAGE, DEFAULT_PAGE, MAX_PAGE
from taskplane.server.rpc.deadlines import DEFAULT_WAIT_SECONDS
from taskplane.server.services.pages import TaskQuery
from taskplane.v1 import task_service_pb2 as pb

R = TypeVar("R")

MAX_WAIT_SECONDS = 60.0
# The database reads all rows before a numbered page; deeper pages are reached by token.
MAX_NUMBERED_ROWS = 10_000

StatusName = Literal["PENDING", "RUNNING", "SUCCESS", "FAILED", "PAUSED", "CANCELLED"]


class TaskLimits(Schema):
    """Time limits; one that is left out, null or 0 is none. Each expiry names itself in the history."""

    run_budget_seconds: Annotated[
        Seconds | None, Field(description="Longest time in RUNNING, over all attempts; stands still while PAUSED.")
    ] = None
    deadline: Annotated[Moment | None, Field(description="Not later than this, whatever the status.")] = None
    queue_timeout_seconds: Annotated[Seconds | None, Field(description="Longest time in the queue.")] = None
    stall_timeout_seconds: Annotated[
        Seconds | None, Field(description="Longest time RUNNING without progress or checkpoint.")
    ] = None


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
Wait = Annotated[float, BeforeValidator(_parse_wait), WithJsonSchema(_WAIT_SCHEMA), Field(description=_WAIT_TEXT)]


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


def _limit(default: int) -> Extra:
    schema = {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": default, "description": "Longest page."}
    return Extra("limit", schema, _number(MAX_PAGE), default, _set_page_size)


def _set_page_size(message: Any, limit: int) -> None:
    message.page_size = limit


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


_PAGE = Extra(
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
    extras=(_PAGE, _limit(DEFAULT_PAGE), _SORT),
    prepare=_include_total,
)
HISTORY = TaskQueryString(
    pb.ListTaskTransitionsRequest,
    read.page,
    hidden=("task_id", "page_size"),
    extras=(_limit(DEFAULT_HISTORY_PAGE),),
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
