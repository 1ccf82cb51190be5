"""JSON documents of the HTTP protocol, converted to and from commands and reports."""

import itertools
from collections.abc import Mapping
from typing import Any

from google.protobuf.struct_pb2 import Struct

from taskplane.protocol.structs import to_dict, to_struct
from taskplane.unit.attempt import Attempt
from taskplane.v1.execution_unit_control_pb2 import (
    AttemptState,
    CancelOrder,
    Command,
    FailedReport,
    Hello,
    PausedReport,
    PauseOrder,
    ProgressReport,
    Report,
    ResumeOrder,
    StartOrder,
)
from taskplane.v1.task_pb2 import TaskCheckpoint

Document = dict[str, Any]

_command_numbers = itertools.count(1)


class InvalidRequest(ValueError):
    """A request of the server that does not have the form of the protocol."""


def registration(hello: Hello, endpoint: str) -> Document:
    """Return the body of a registration."""
    return {
        **({"unitId": hello.unit_id} if hello.unit_id else {}),
        "unitType": hello.unit_type,
        "unitName": hello.unit_name,
        "capacity": hello.capacity,
        "endpoint": endpoint,
        "labels": dict(hello.labels),
        "taskTypes": [
            {"taskType": each.task_type, "canPause": each.can_pause, "canCheckpoint": each.can_checkpoint}
            for each in hello.task_types
        ],
    }


def command(route: str, task_id: int, attempt: int, body: Mapping[str, Any]) -> Command:
    """Return the command of a request. Raises InvalidRequest."""
    # Each request is a new command: repeats are harmless, and are answered by the state at that time.
    order = Command(command_id=f"{route}-{next(_command_numbers)}", task_id=task_id, attempt=attempt)
    match route:
        case "execute":
            order.start.CopyFrom(_start(body))
        case "pause":
            order.pause.CopyFrom(PauseOrder())
        case "resume":
            last = integer(body, "lastCheckpointNumber", 0)
            order.resume.CopyFrom(ResumeOrder(held_attempt=integer(body, "heldAttempt"), last_checkpoint_number=last))
        case _:
            order.cancel.CopyFrom(CancelOrder())
    return order


def integer(body: Mapping[str, Any], name: str, default: int | None = None) -> int:
    """Return an integer field of the body. Raises InvalidRequest, also if the field is missing without a default."""
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 31:
        raise InvalidRequest(f"{name}: must be a whole number, not {value!r}")
    return value


def callback(report: Report) -> Document | None:
    """Return the body that reports to the server; None for reports that are only sent as responses."""
    match report.WhichOneof("kind"):
        case "progress":
            body = _progress(report.progress) | {"status": "RUNNING"}
        case "checkpoint":
            body = {"status": "RUNNING", "checkpoint": to_dict(report.checkpoint.data)}
        case "paused":
            body = paused(report.paused)
        case "succeeded":
            result = report.succeeded.result if report.succeeded.HasField("result") else None
            body = {"status": "SUCCESS", "result": None if result is None else to_dict(result)}
        case "failed":
            body = _failed(report.failed)
        case "cancelled":
            body = {"status": "CANCELLED", "message": report.cancelled.message}
        case "released":
            body = {"status": "PAUSED", "released": True, "message": report.released.message}
            body |= _checkpoint(report.released)
        case _:
            return None
    return body | {"attempt": report.attempt}


def status(attempt: Attempt) -> Document:
    """Return the body of a status response. An attempt that only the fence holds is RUNNING."""
    latest = attempt.paused_report()
    is_paused = attempt.state == AttemptState.ATTEMPT_STATE_PAUSED and not attempt.is_fenced
    body = paused(latest) if is_paused else {"status": "RUNNING"} | _progress_of(latest)
    return body | {"attempt": attempt.key.attempt}


def paused(report: PausedReport) -> Document:
    """Return the body of a pause, with its checkpoint."""
    return {"status": "PAUSED"} | _progress_of(report) | _checkpoint(report)


def _start(body: Mapping[str, Any]) -> StartOrder:
    task_type = body.get("taskType")
    if not isinstance(task_type, str):
        raise InvalidRequest(f"taskType: must be a text, not {task_type!r}")
    config, checkpoint = body.get("config"), body.get("checkpoint")
    return StartOrder(
        task_type=task_type,
        task_name=str(body.get("taskName", "")),
        config=_struct({} if config is None else config, "config"),
        checkpoint=None if checkpoint is None else TaskCheckpoint(data=_struct(checkpoint, "checkpoint")),
        last_checkpoint_number=integer(body, "lastCheckpointNumber", 0),
        retry_count=integer(body, "retryCount", 0),
        max_retries=integer(body, "maxRetries", 0),
    )


def _struct(value: Any, name: str) -> Struct:
    try:
        return to_struct(value, name)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(str(error)) from error


def _failed(report: FailedReport) -> Document:
    body: Document = {
        "status": "FAILED",
        "errorMessage": report.message,
        "retryable": not report.not_retryable,
    }
    if report.HasField("retry_delay"):
        body["retryDelaySeconds"] = report.retry_delay.ToMilliseconds() / 1000
    return body | _checkpoint(report)


def _progress_of(report: PausedReport) -> Document:
    return _progress(report.progress) if report.HasField("progress") else {}


def _progress(report: ProgressReport) -> Document:
    return {"progress": report.fraction, "message": report.message}


def _checkpoint(report: Any) -> Document:
    return {"checkpoint": to_dict(report.checkpoint.data)} if report.HasField("checkpoint") else {}
