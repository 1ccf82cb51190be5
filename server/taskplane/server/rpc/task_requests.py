"""Readers of TaskService's requests, for both APIs: checks, and conversion to the services' types."""

import hashlib
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from taskplane.server.core.task import DEFAULT_RETRIES, NO_LIMITS, Json, Limits, TaskStatus
from taskplane.server.core.unit import MAX_UNIT_ID
from taskplane.server.core.verbs import CallContext, Update
from taskplane.server.idempotency.keys import IdempotencyKey
from taskplane.server.rpc.bounds import (
    DEFAULT_HISTORY_PAGE,
    DEFAULT_PAGE,
    DEFAULT_PROGRESS_RATE,
    MAX_ACTOR,
    MAX_BATCH,
    MAX_CHECKPOINT_NUMBER,
    MAX_FILTER_TYPES,
    MAX_MASK_PATHS,
    MAX_NAME,
    MAX_PRIORITY,
    MAX_PROGRESS_RATE,
    MAX_REASON,
    MAX_REQUEST_ID,
    MAX_RETRIES,
    MAX_STATUSES,
    MAX_WATCHED,
)
from taskplane.server.rpc.validation import Checker
from taskplane.server.services.batch_control import BatchOrder, BatchVerb
from taskplane.server.services.pages import TaskQuery
from taskplane.server.services.watch_events import WatchQuery
from taskplane.server.store.reading import TaskFilter
from taskplane.server.tasks.mutations import TaskSpec
from taskplane.v1 import task_pb2
from taskplane.v1 import task_service_pb2 as pb

_NO_TIME = Timestamp()
_STATUSES = {
    task_pb2.TASK_STATUS_PENDING: TaskStatus.PENDING,
    task_pb2.TASK_STATUS_RUNNING: TaskStatus.RUNNING,
    task_pb2.TASK_STATUS_SUCCESS: TaskStatus.SUCCESS,
    task_pb2.TASK_STATUS_FAILED: TaskStatus.FAILED,
    task_pb2.TASK_STATUS_PAUSED: TaskStatus.PAUSED,
    task_pb2.TASK_STATUS_CANCELLED: TaskStatus.CANCELLED,
}
_BATCH_VERBS = {pb.BatchVerb.Value(f"BATCH_VERB_{verb}"): verb for verb in BatchVerb}


VerbRequest = (
    pb.StartTaskRequest | pb.PauseTaskRequest | pb.ResumeTaskRequest | pb.CancelTaskRequest | pb.RestartTaskRequest
)
MutatingRequest = (
    VerbRequest
    | pb.CreateTaskRequest
    | pb.BatchCreateTasksRequest
    | pb.UpdateTaskRequest
    | pb.DeleteTaskRequest
    | pb.BatchControlTasksRequest
)


def caller(check: Checker, context: pb.RequestContext) -> CallContext:
    """Read the caller, the reason and the precondition."""
    check.identifier("context.request_id", context.request_id, at_most=MAX_REQUEST_ID)
    actor = check.text("context.actor", context.actor, at_most=MAX_ACTOR)
    reason = check.text("context.reason", context.reason, at_most=MAX_REASON)
    if context.expected_revision < 0:
        check.refuse("context.expected_revision", f"is {context.expected_revision}; must not be negative")
    return CallContext(actor or "client", reason, context.expected_revision)


def idempotency_key(request: MutatingRequest) -> IdempotencyKey | None:
    """Return the idempotency key of a call, or None if the caller gave none."""
    request_id = request.context.request_id
    if not request_id:
        return None
    body = hashlib.sha256(request.SerializeToString(deterministic=True))
    return IdempotencyKey(request_id, request.DESCRIPTOR.name.removesuffix("Request"), body.hexdigest())


def creation(request: pb.CreateTaskRequest) -> tuple[TaskSpec, CallContext]:
    """Read the definition of a new task, and the caller. Raises InvalidFields."""
    check = Checker()
    task, who = spec(check, "task", request.task), caller(check, request.context)
    check.done()
    return task, who


def batch_creation(request: pb.BatchCreateTasksRequest) -> tuple[list[TaskSpec], CallContext]:
    """Read the definitions of new tasks, and the caller. Raises InvalidFields."""
    check = Checker()
    tasks, who = batch(check, request), caller(check, request.context)
    check.done()
    return tasks, who


def verb(request: VerbRequest) -> tuple[int, CallContext, int]:
    """Read a verb: the task, the caller, and the checkpoint to continue from (0: none chosen). Raises InvalidFields."""
    check = Checker()
    number = 0
    if isinstance(request, pb.ResumeTaskRequest | pb.RestartTaskRequest):
        number = _checkpoint_number(check, "checkpoint_number", request.checkpoint_number)
    task_id, who = check.task_id("task_id", request.task_id), caller(check, request.context)
    check.done()
    return task_id, who, number


def deletion(request: pb.DeleteTaskRequest) -> tuple[int, CallContext]:
    """Read a deletion: the task and the caller. Raises InvalidFields."""
    check = Checker()
    task_id, who = check.task_id("task_id", request.task_id), caller(check, request.context)
    check.done()
    return task_id, who


def task_id(request: pb.GetTaskRequest) -> int:
    """Read the task id, the request's only field. Raises InvalidFields."""
    check = Checker()
    found = check.task_id("task_id", request.task_id)
    check.done()
    return found


def page(request: pb.ListTaskTransitionsRequest | pb.ListTaskCommandsRequest) -> tuple[int, int, str]:
    """Read a page of a task's records: the task, the page's size, its token. Raises InvalidFields."""
    check = Checker()
    found = (
        check.task_id("task_id", request.task_id),
        check.page_size("page_size", request.page_size, default=DEFAULT_HISTORY_PAGE),
        check.page_token("page_token", request.page_token),
    )
    check.done()
    return found


def checkpoints(request: pb.ListTaskCheckpointsRequest) -> tuple[int, int]:
    """Read a list of checkpoints: the task, and the number of a single checkpoint or 0. Raises InvalidFields."""
    check = Checker()
    found = check.task_id("task_id", request.task_id), _checkpoint_number(check, "number", request.number)
    check.done()
    return found


def _checkpoint_number(check: Checker, name: str, value: int) -> int:
    return check.number(name, value, at_least=0, at_most=MAX_CHECKPOINT_NUMBER)


def spec(check: Checker, name: str, message: pb.TaskSpec) -> TaskSpec:
    """Read the definition of a task; `name` is the path of its field."""
    check.text(f"{name}.task_name", message.task_name, at_least=1, at_most=MAX_NAME)
    check.task_type(f"{name}.task_type", message.task_type)
    config = check.json(f"{name}.config", message.config)
    return spec_values(check, message, name, config)


def spec_values(check: Checker, message: pb.TaskSpec, name: str, config: Json) -> TaskSpec:
    """Read a spec without its config, and without checks for missing fields."""
    retries = message.max_retries if message.HasField("max_retries") else DEFAULT_RETRIES
    return TaskSpec(
        task_name=message.task_name,
        task_type=message.task_type,
        priority=check.number(f"{name}.priority", message.priority, at_least=0, at_most=MAX_PRIORITY),
        config=config,
        max_retries=check.number(f"{name}.max_retries", retries, at_least=0, at_most=MAX_RETRIES),
        start=message.start,
        labels=check.labels(f"{name}.labels", message.labels),
        unit_labels=check.labels(f"{name}.unit_labels", message.unit_labels),
        limits=limits(check, f"{name}.limits", message.limits) if message.HasField("limits") else NO_LIMITS,
    )


def limits(check: Checker, name: str, message: task_pb2.TaskLimits) -> Limits:
    """Read time limits; unset and zero mean no limit."""
    has_deadline = message.deadline != _NO_TIME
    return Limits(
        run_budget=check.duration(message, "run_budget", f"{name}.run_budget"),
        deadline=check.time(message, "deadline", f"{name}.deadline") if has_deadline else None,
        queue_timeout=check.duration(message, "queue_timeout", f"{name}.queue_timeout"),
        stall_timeout=check.duration(message, "stall_timeout", f"{name}.stall_timeout"),
    )


def update(request: pb.UpdateTaskRequest) -> tuple[int, CallContext, Update]:
    """Read an update: the task, the caller, and the new values of the masked fields. Raises InvalidFields."""
    check = Checker()
    task_id, who = check.task_id("task_id", request.task_id), caller(check, request.context)
    new = _new_values(check, request)
    check.done()
    return task_id, who, new


def _new_values(check: Checker, request: pb.UpdateTaskRequest) -> Update:
    plain = {"priority", "max_retries", "labels", "unit_labels"}
    limit_names = [field.name for field in fields(Limits)]
    known = sorted({*plain, "limits", *(f"limits.{name}" for name in limit_names)})
    is_short = check.few("update_mask", request.update_mask.paths, at_most=MAX_MASK_PATHS)
    paths = set(request.update_mask.paths) if is_short else set()
    if is_short and not paths:
        check.refuse("update_mask", f"is required; what can change: {', '.join(known)}")
    for path in sorted(paths.difference(known)):
        check.refuse("update_mask", f"{path[:60]!r} cannot change; what can: {', '.join(known)}")
    new = spec_values(check, request.task, "task", {})
    changed: dict[str, Any] = {name: getattr(new, name) for name in plain & paths}
    if chosen := [name for name in limit_names if {"limits", f"limits.{name}"} & paths]:
        changed["limits"] = lambda before: replace(before, **{name: getattr(new.limits, name) for name in chosen})
    return Update(**changed)


def batch(check: Checker, request: pb.BatchCreateTasksRequest) -> list[TaskSpec]:
    """Read a batch of specs."""
    if not 1 <= len(request.tasks) <= MAX_BATCH:
        check.refuse("tasks", f"has {len(request.tasks)} entries; must have from 1 to {MAX_BATCH}")
        return []
    return [spec(check, path, each) for path, each in check.elements("tasks", request.tasks)]


def batch_control(request: pb.BatchControlTasksRequest) -> tuple[BatchOrder, CallContext]:
    """Read a verb for many tasks, and the caller. Raises InvalidFields."""
    check = Checker()
    order, who = _batch_order(check, request), caller(check, request.context)
    check.done()
    return order, who


def _batch_order(check: Checker, request: pb.BatchControlTasksRequest) -> BatchOrder:
    if request.verb not in _BATCH_VERBS:
        check.refuse("verb", f"{request.verb} is not a BatchVerb" if request.verb else "is required")
    if request.context.expected_revision > 0:
        check.refuse("context.expected_revision", f"is {request.context.expected_revision}; must be 0 for many tasks")
    check.number("max_tasks", request.max_tasks, at_least=0, at_most=MAX_BATCH)
    return BatchOrder(
        verb=_BATCH_VERBS.get(request.verb, BatchVerb.START),
        tasks=_batch_filter(check, request) if request.HasField("filter") else _batch_ids(check, request),
        max_tasks=request.max_tasks or MAX_BATCH,
        validate_only=request.validate_only,
    )


def _batch_filter(check: Checker, request: pb.BatchControlTasksRequest) -> TaskFilter:
    if request.task_ids:
        check.refuse("task_ids", "must be empty with a filter")
    return _filter(check, request.filter)


def _batch_ids(check: Checker, request: pb.BatchControlTasksRequest) -> tuple[int, ...]:
    if not request.task_ids:
        check.refuse("task_ids", "is required unless there is a filter")
    if request.max_tasks:
        check.refuse("max_tasks", "goes with a filter only")
    if not check.unique("task_ids", request.task_ids, at_most=MAX_BATCH):
        return ()
    return tuple(check.task_id(path, each) for path, each in check.elements("task_ids", request.task_ids))


def query(request: pb.ListTasksRequest) -> TaskQuery:
    """Read a list request. Raises InvalidFields."""
    check = Checker()
    page_size = check.page_size("page_size", request.page_size, default=DEFAULT_PAGE)
    if request.order not in pb.TaskOrder.values():
        check.refuse("order", f"{request.order} is not a TaskOrder")
    result = TaskQuery(
        filter=_filter(check, request.filter),
        newest_first=request.order != pb.TASK_ORDER_OLDEST_FIRST,
        page_size=page_size,
        page_token=check.page_token("page_token", request.page_token),
        include_total=request.include_total,
    )
    check.done()
    return result


def watch(request: pb.WatchTasksRequest) -> WatchQuery:
    """Read a watch request. Raises InvalidFields."""
    check = Checker()
    if check.unique("task_ids", request.task_ids, at_most=MAX_WATCHED):
        for path, task_id in check.elements("task_ids", request.task_ids):
            check.task_id(path, task_id)
    _task_types(check, "task_types", request.task_types)
    if request.after_revision < 0:
        check.refuse("after_revision", f"is {request.after_revision}; must not be negative")
    statuses = _watched_statuses(check, request.statuses)
    rate = request.max_progress_per_second or DEFAULT_PROGRESS_RATE
    check.number("max_progress_per_second", rate, at_least=1, at_most=MAX_PROGRESS_RATE)
    check.done()
    return WatchQuery(
        task_ids=tuple(request.task_ids),
        task_types=tuple(request.task_types),
        statuses=statuses,
        after_revision=request.after_revision if request.HasField("after_revision") else None,
        with_snapshot=not request.no_snapshot,
        include_progress=request.include_progress,
        max_progress_per_second=rate,
    )


def _watched_statuses(check: Checker, statuses: Sequence["task_pb2.TaskStatus.ValueType"]) -> tuple[TaskStatus, ...]:
    if len(statuses) > len(_STATUSES):
        check.refuse("statuses", f"has {len(statuses)} entries; there are {len(_STATUSES)} statuses")
        return ()
    for index, status in enumerate(statuses):
        if status not in _STATUSES:
            check.refuse(f"statuses[{index}]", f"{status} is not a TaskStatus")
    return tuple(_STATUSES[each] for each in statuses if each in _STATUSES)


def _filter(check: Checker, message: pb.TaskFilter) -> TaskFilter:
    return TaskFilter(
        statuses=_statuses(check, message),
        task_types=_task_types(check, "filter.task_types", message.task_types),
        execution_unit_id=check.text("filter.execution_unit_id", message.execution_unit_id, at_most=MAX_UNIT_ID),
        min_priority=message.min_priority if message.HasField("min_priority") else None,
        max_priority=message.max_priority if message.HasField("max_priority") else None,
        created_from=check.time(message, "created_from", "filter.created_from"),
        created_before=check.time(message, "created_before", "filter.created_before"),
        name_contains=check.text("filter.name_contains", message.name_contains, at_most=MAX_NAME),
        labels=check.labels("filter.labels", message.labels),
    )


def _statuses(check: Checker, message: pb.TaskFilter) -> tuple[TaskStatus, ...]:
    if not check.few("filter.statuses", message.statuses, at_most=MAX_STATUSES):
        return ()
    for path, status in check.elements("filter.statuses", message.statuses):
        if status and status not in _STATUSES:
            check.refuse(path, f"{status} is not a TaskStatus")
    return tuple(_STATUSES[each] for each in message.statuses if each in _STATUSES)


def _task_types(check: Checker, name: str, task_types: Sequence[str]) -> tuple[str, ...]:
    if not check.unique(name, task_types, at_most=MAX_FILTER_TYPES):
        return ()
    return tuple(check.task_type(path, each) for path, each in check.elements(name, task_types))
