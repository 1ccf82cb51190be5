"""JSON documents of the HTTP interface, and what they are in the unit's own words."""

import itertools
from collections.abc import Mapping
from typing import Any

from google.protobuf.struct_pb2 import Struct

from taskplane.unit.attempt import Attempt
from taskplane.unit.structs import from_struct, to_struct
from taskplane.v1.execution_unit_control_pb2 import (
    AttemptState,
    CancelOrder,
    CheckpointReport,
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


class BadRequest(ValueError):
    """What the server asks for is not in the form that was agreed."""


def registration(hello: Hello, endpoint: str) -> Document:
    """Introduces the unit."""
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
    """The command that a request stands for. Raises BadRequest."""
    # Each request is a command of its own: a repeat of it is harmless, and is answered by how things are then.
    order = Command(command_id=f"{route}-{next(_command_numbers)}", task_id=task_id, attempt=attempt)
    match route:
        case "execute":
            order.start.CopyFrom(_start(body))
        case "pause":
            order.pause.CopyFrom(PauseOrder())
        case "resume":
            last = whole(body, "lastCheckpointNumber", 0)
            order.resume.CopyFrom(ResumeOrder(held_attempt=whole(body, "heldAttempt"), last_checkpoint_number=last))
        case _:
            order.cancel.CopyFrom(CancelOrder())
    return order


def whole(body: Mapping[str, Any], name: str, otherwise: int | None = None) -> int:
    """A number of the body; `otherwise` if it is not there. Raises BadRequest."""
    value = body.get(name, otherwise)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 31:
        raise BadRequest(f"{name}: must be a whole number, not {value!r}")
    return value


def callback(report: Report) -> Document | None:
    """What the server is told of a report; None for what is only said in answers."""
    match report.WhichOneof("kind"):
        case "progress":
            said = _progress(report.progress) | {"status": "RUNNING"}
        case "checkpoint":
            said = {"status": "RUNNING", "checkpoint": from_struct(report.checkpoint.data)}
        case "paused":
            said = paused(report.paused)
        case "succeeded":
            said = {"status": "SUCCESS", "result": _data(report.succeeded, "result", report.succeeded.result)}
        case "failed":
            said = _failed(report.failed)
        case "cancelled":
            said = {"status": "CANCELLED", "message": report.cancelled.message}
        case "released":
            said = {"status": "PAUSED", "released": True, "message": report.released.message}
            said |= _checkpoint(report.released)
        case _:
            return None
    return said | {"attempt": report.attempt}


def status(attempt: Attempt) -> Document:
    """How an attempt is, when the server asks. One that rests for want of a lease only is still at work."""
    standing = attempt.standing()
    rests = attempt.state == AttemptState.ATTEMPT_STATE_PAUSED and not attempt.is_fenced
    said = paused(standing) if rests else {"status": "RUNNING"} | _progress_of(standing)
    return said | {"attempt": attempt.key.attempt}


def paused(standing: PausedReport) -> Document:
    """A pause, with its checkpoint."""
    return {"status": "PAUSED"} | _progress_of(standing) | _checkpoint(standing)


def _start(body: Mapping[str, Any]) -> StartOrder:
    task_type = body.get("taskType")
    if not isinstance(task_type, str):
        raise BadRequest(f"taskType: must be a text, not {task_type!r}")
    config, checkpoint = body.get("config"), body.get("checkpoint")
    return StartOrder(
        task_type=task_type,
        task_name=str(body.get("taskName", "")),
        config=_struct({} if config is None else config, "config"),
        checkpoint=None if checkpoint is None else TaskCheckpoint(data=_struct(checkpoint, "checkpoint")),
        last_checkpoint_number=whole(body, "lastCheckpointNumber", 0),
        retry_count=whole(body, "retryCount", 0),
        max_retries=whole(body, "maxRetries", 0),
    )


def _struct(value: Any, name: str) -> Struct:
    try:
        return to_struct(value, name)
    except (TypeError, ValueError) as error:
        raise BadRequest(str(error)) from error


def _failed(report: FailedReport) -> Document:
    said: Document = {
        "status": "FAILED",
        "errorMessage": report.message,
        "retryable": not report.not_retryable,
    }
    if report.HasField("retry_delay"):
        said["retryDelaySeconds"] = report.retry_delay.ToMilliseconds() / 1000
    return said | _checkpoint(report)


def _progress_of(standing: PausedReport) -> Document:
    return _progress(standing.progress) if standing.HasField("progress") else {}


def _progress(report: ProgressReport) -> Document:
    return {"progress": report.fraction, "message": report.message}


def _checkpoint(report: Any) -> Document:
    made: CheckpointReport = report.checkpoint
    return {"checkpoint": from_struct(made.data)} if report.HasField("checkpoint") else {}


def _data(report: Any, name: str, value: Struct) -> Document | None:
    return from_struct(value) if report.HasField(name) else None
