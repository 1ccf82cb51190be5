"""Reports of units, checked and in the words of the core."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import get_args

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct

from taskplane.protocol.documents import DocumentError
from taskplane.server.core.errors import FieldViolation
from taskplane.server.core.task import Checkpoint, Progress
from taskplane.server.core.unit_report import (
    Accepted,
    Cancelled,
    CheckpointMade,
    Failed,
    Failure,
    Paused,
    ProgressMade,
    Rejected,
    RejectReason,
    Released,
    Report,
    ReportKind,
    Succeeded,
    rounded_fraction,
)
from taskplane.server.rpc.structs import json_of
from taskplane.server.rpc.validation import Checker
from taskplane.v1 import execution_unit_control_pb2 as pb

# Reports in one message. A unit should not have sent more than half of that without an acknowledgement.
MAX_REPORTS = 1000
MAX_PROGRESS_MESSAGE = 1000
MAX_ERROR_MESSAGE = 10_000
# Longer waits than this are no retry.
_MAX_RETRY_DELAY = timedelta(days=365)
_NANOS = 1_000_000_000
# After these the unit does nothing more about the attempt.
_LAST_KINDS = frozenset({"paused", "failed", "released"})
# A unit may be newer than this server, and know further reasons.
_REJECT: dict[int, RejectReason] = {
    pb.RejectReason.Value(f"REJECT_REASON_{reason}"): reason for reason in get_args(RejectReason)
}


class _TooBig(ValueError):
    """What was reported can never be stored: the attempt fails by it."""


def read_report(message: pb.Report, now: datetime, field: str, *, can_be_corrected: bool = False) -> Report | None:
    """Read a report, which is in this field of its message. Raises InvalidFields.

    None for a kind that this server does not know. What can never be stored, since it is too large or not JSON, is read
    as a failure of the attempt that cannot be retried: the unit would only report the same again. So is a bad
    checkpoint of a report that ends or pauses the attempt, unless the unit is answered and can correct the report:
    the unit is done with the attempt, and nothing else would settle the task.
    """
    name = message.WhichOneof("kind")
    if name is None:
        return None
    check = Checker(f"{field}.")
    task_id = check.task_id("task_id", message.task_id)
    check.number("attempt", message.attempt, at_least=1, at_most=2**31 - 1)
    command_id = check.text("command_id", message.command_id, at_most=100)
    if name in {"accepted", "rejected"} and not message.command_id:
        check.refuse("command_id", f"is required with {name}")
    names_an_attempt = not check.found
    kind = _kind(check, name, message, now)
    if names_an_attempt and check.found and name in _LAST_KINDS and not can_be_corrected:
        kind = Failed(Failure(f"the unit's {name} report: {described(check.violations)}", not_retryable=True))
    else:
        check.done()
    return Report(message.sequence, task_id, message.attempt, command_id, now, kind)


def described(violations: Iterable[FieldViolation]) -> str:
    """Return bad fields as a text."""
    return "; ".join(f"{each.field}: {each.description}" for each in violations)


def _kind(check: Checker, name: str, message: pb.Report, now: datetime) -> ReportKind:
    try:
        return _known_kind(check, name, message, now)
    except _TooBig as error:
        return Failed(Failure(f"the unit's {name} report: {error}", not_retryable=True))


def _known_kind(  # noqa: PLR0911  (one line a kind)
    check: Checker, name: str, message: pb.Report, now: datetime
) -> ReportKind:
    attempt = message.attempt
    match name:
        case "succeeded":
            has_result = message.succeeded.HasField("result")
            return Succeeded(_json("result", message.succeeded.result) if has_result else None)
        case "rejected":
            reason = _REJECT.get(message.rejected.reason, "OTHER")
            return Rejected(reason, message.rejected.message[:MAX_PROGRESS_MESSAGE])
        case "progress":
            return ProgressMade(_progress(check, message.progress, now))
        case "checkpoint":
            return CheckpointMade(_checkpoint(check, message.checkpoint, attempt, now))
        case "paused":
            paused = message.paused
            return Paused(_carried(check, paused, attempt, now), _last_progress(paused, now))
        case "failed":
            return Failed(_failure(check, message.failed, attempt, now))
        case "cancelled":
            return Cancelled(message.cancelled.message[:MAX_ERROR_MESSAGE])
        case "released":
            released = message.released
            return Released(_carried(check, released, attempt, now), released.message[:MAX_ERROR_MESSAGE])
        case "attempt_status" if message.attempt_status.HasField("progress"):
            return ProgressMade(_progress(check, message.attempt_status.progress, now))
        case _:
            return Accepted()


def _failure(check: Checker, message: pb.FailedReport, attempt: int, now: datetime) -> Failure:
    delay = _retry_delay(message.retry_delay) if message.HasField("retry_delay") else None
    text = message.message[:MAX_ERROR_MESSAGE] or "failed without a message"
    return Failure(text, message.not_retryable, delay, _carried(check, message, attempt, now))


def _retry_delay(message: Duration) -> timedelta:
    """Read a delay within its bounds. Not by ToTimedelta, which fails on what a timedelta cannot hold."""
    seconds = message.seconds + message.nanos / _NANOS
    return timedelta(seconds=min(max(seconds, 0.0), _MAX_RETRY_DELAY.total_seconds()))


def _progress(check: Checker, message: pb.ProgressReport, now: datetime) -> Progress:
    fraction = rounded_fraction(message.fraction)
    if fraction is None:
        check.refuse("progress.fraction", f"is {message.fraction}; must be from 0 to 1")
    return Progress(fraction or 0.0, message.message[:MAX_PROGRESS_MESSAGE], now)


def _last_progress(message: pb.PausedReport, now: datetime) -> Progress | None:
    """Return how far a paused attempt is; None, as if it were not told, if that is out of range."""
    check = Checker()
    progress = _progress(check, message.progress, now)
    return progress if message.HasField("progress") and not check.found else None


def _carried(
    check: Checker, message: pb.PausedReport | pb.FailedReport | pb.ReleasedReport, attempt: int, now: datetime
) -> Checkpoint | None:
    return _checkpoint(check, message.checkpoint, attempt, now) if message.HasField("checkpoint") else None


def _checkpoint(check: Checker, message: pb.CheckpointReport, attempt: int, now: datetime) -> Checkpoint:
    number = check.number("checkpoint.number", message.number, at_least=1, at_most=2**62)
    return Checkpoint(number, attempt, now, _json("checkpoint", message.data))


def _json(what: str, value: Struct) -> dict[str, object]:
    try:
        return dict(json_of(value))
    except DocumentError as error:
        raise _TooBig(f"{what} {error}") from error
