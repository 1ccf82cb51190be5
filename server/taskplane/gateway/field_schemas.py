"""JSON Schema of request fields beyond their types: the bounds that the gRPC API checks, by the field's full name."""

from typing import Any

from taskplane.server.core.documents import MAX_DOCUMENT_BYTES, MAX_UNIT_CONFIG_BYTES
from taskplane.server.core.endpoint import MAX_LENGTH as MAX_ENDPOINT
from taskplane.server.core.task import DEFAULT_RETRIES, LABEL_KEY, TASK_TYPE
from taskplane.server.core.unit import MAX_TASK_TYPES, MAX_UNIT_ID
from taskplane.server.rpc import bounds
from taskplane.server.rpc.operation_requests import MAX_WINDOW

# Whole numbers up to this bound are exact in every reader of JSON.
MAX_NUMBER = 2**53 - 1
NO_NUL = r"^[^\x00]*$"
# Not blank, without NUL.
FULL = r"^[^\x00]*[^\s\x00][^\x00]*$"
# Without a space at either end, which databases ignore there.
IDENTIFIER = r"^([^\s\x00]([^\x00]*[^\s\x00])?)?$"

_TASK_TYPE = {"pattern": f"^{TASK_TYPE}$"}
_NAME = {"minLength": 1, "maxLength": bounds.MAX_NAME, "pattern": FULL}
_UNIT_TYPE = _NAME | {"maxLength": bounds.MAX_UNIT_TYPE}
_ACTOR = {"maxLength": bounds.MAX_ACTOR, "pattern": NO_NUL}
_REASON = {"maxLength": bounds.MAX_REASON, "pattern": NO_NUL}
_LABELS: dict[str, Any] = {
    "maxProperties": bounds.MAX_LABELS,
    "propertyNames": {"pattern": f"^{LABEL_KEY}$"},
    "additionalProperties": {"type": "string", "maxLength": bounds.MAX_LABEL_VALUE, "pattern": NO_NUL},
    "examples": [{"team": "data"}],
}
_CAPACITY = {"minimum": 0, "maximum": bounds.MAX_CAPACITY}
_NOT_NEGATIVE = {"minimum": 0, "maximum": MAX_NUMBER, "default": 0}

SCHEMAS: dict[str, dict[str, Any]] = {
    "RequestContext.request_id": {"maxLength": bounds.MAX_REQUEST_ID, "pattern": IDENTIFIER},
    "RequestContext.actor": _ACTOR,
    "RequestContext.reason": _REASON,
    "RequestContext.expected_revision": _NOT_NEGATIVE,
    "TaskSpec.task_name": _NAME,
    "TaskSpec.task_type": _TASK_TYPE,
    "TaskSpec.priority": {"minimum": 0, "maximum": bounds.MAX_PRIORITY, "default": 0},
    "TaskSpec.max_retries": {"minimum": 0, "maximum": bounds.MAX_RETRIES, "default": DEFAULT_RETRIES},
    "TaskSpec.labels": _LABELS,
    "TaskSpec.unit_labels": _LABELS,
    "ResumeTaskRequest.checkpoint_number": _NOT_NEGATIVE,
    "RestartTaskRequest.checkpoint_number": _NOT_NEGATIVE,
    "BatchCreateTasksRequest.tasks": {"minItems": 1, "maxItems": bounds.MAX_BATCH},
    "BatchControlTasksRequest.task_ids": {"maxItems": bounds.MAX_BATCH},
    "BatchControlTasksRequest.max_tasks": {"minimum": 0, "maximum": bounds.MAX_BATCH, "default": 0},
    "TaskFilter.statuses": {"maxItems": bounds.MAX_STATUSES},
    "TaskFilter.task_types": {"maxItems": bounds.MAX_FILTER_TYPES, "items": {"type": "string"} | _TASK_TYPE},
    "TaskFilter.execution_unit_id": {"minLength": 1, "maxLength": MAX_UNIT_ID, "pattern": NO_NUL},
    "TaskFilter.name_contains": {"minLength": 1, "maxLength": bounds.MAX_NAME, "pattern": NO_NUL},
    "TaskFilter.labels": _LABELS,
    "WatchTasksRequest.statuses": {"maxItems": bounds.MAX_STATUSES},
    "WatchTasksRequest.task_types": {"maxItems": bounds.MAX_FILTER_TYPES, "items": {"type": "string"} | _TASK_TYPE},
    "WatchTasksRequest.after_revision": {"minimum": 0, "maximum": MAX_NUMBER},
    "WatchTasksRequest.max_progress_per_second": {"minimum": 0, "maximum": bounds.MAX_PROGRESS_RATE},
    "ListTaskCheckpointsRequest.number": _NOT_NEGATIVE,
    "TaskTypeSupport.task_type": _TASK_TYPE,
    "RegisterUnitRequest.unit_id": {"minLength": 1, "maxLength": MAX_UNIT_ID, "pattern": NO_NUL},
    "RegisterUnitRequest.unit_type": _UNIT_TYPE,
    "RegisterUnitRequest.unit_name": _NAME,
    "RegisterUnitRequest.capacity": _CAPACITY | {"default": 1},
    "RegisterUnitRequest.endpoint": {"maxLength": MAX_ENDPOINT},
    "RegisterUnitRequest.task_types": {"maxItems": MAX_TASK_TYPES},
    "RegisterUnitRequest.labels": _LABELS,
    "HeartbeatRequest.capacity": _CAPACITY,
    "ListUnitsRequest.statuses": {"maxItems": bounds.MAX_STATUSES},
    "ListUnitsRequest.unit_type": {"minLength": 1, "maxLength": bounds.MAX_UNIT_TYPE, "pattern": NO_NUL},
    "ListUnitsRequest.task_type": _TASK_TYPE,
    "DrainUnitRequest.actor": _ACTOR,
    "DrainUnitRequest.reason": _REASON,
    "GetStatisticsRequest.window": {"exclusiveMinimum": 0, "maximum": MAX_WINDOW.total_seconds()},
    "GetStatisticsRequest.task_type": _TASK_TYPE,
}
REQUIRED = {
    "TaskSpec.task_name",
    "TaskSpec.task_type",
    "BatchCreateTasksRequest.tasks",
    "BatchControlTasksRequest.verb",
    "TaskTypeSupport.task_type",
    "RegisterUnitRequest.unit_type",
    "RegisterUnitRequest.unit_name",
    "RegisterUnitRequest.endpoint",
}
# Fields that may be null although the message has no presence for them. Fields of a message type always may.
NULLABLE = {"RegisterUnitRequest.unit_id", "HeartbeatRequest.capacity"}
# Bytes of a document as google.protobuf.Struct.
DOCUMENT_BYTES = {"TaskSpec.config": MAX_DOCUMENT_BYTES, "RegisterUnitRequest.config": MAX_UNIT_CONFIG_BYTES}
