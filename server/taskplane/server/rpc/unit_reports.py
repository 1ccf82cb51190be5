"""Validation and conversion of unit reports."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import get_args

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct

from taskplane.protocol.documents import DocumentError
from taskplane.server.core.errors import FieldViolation
from taskplane.server.core.task import Checkpoint, Progress
from taskplane.server.core.unit_report import (
    MAX_ERROR_MESSAGE,
    MAX_MESSAGE,
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

# Reports in one message. A unit should keep at most half of this number unacknowledged.
MAX_REPORTS = 1000
# Longer retry delays are cut.
_MAX_RETRY_DELAY = timedelta(days=365)
_NANOS = 1_000_000_000
# After these reports the unit forgets the attempt.
_LAST_KINDS = frozenset({"paused", "failed", "released"})
# Unknown reasons, from newer units, become OTHER.
_REJECT: dict[int, RejectReason] = {
    pb.RejectReason.Value(f"REJECT_REASON_{reason}"): reason for reason in get_args(RejectReason)
}


class _Unstorable(ValueError):
    """A document that can never be stored; fails the attempt."""


def read_report(message: pb.Report, now: datetime, field: str, *, can_be_corrected: bool = False) -> Report | None:
    """Read a report; `field` is the path in the message. Returns None for an unknown kind. Raises InvalidFields.

    A document that can never be stored (too large, not JSON) becomes a failure without retry, since the unit would
    send the same document again. An invalid checkpoint in a report that ends or pauses the attempt does too, unless the
    sender can correct the report: the unit has forgotten the attempt, and no later report would settle the task.
    """
    name = message.WhichOneof("kind")
    if name is None:
        return None
    check = Checker(f"{field}.")
    task_id = check.task_id("task_id", message.task_id)
    check.number("attempt", message.attempt, at_least=1, at_most=2**31 - 1)
    # Other reports do not refer to a command, so their command id is ignored.
    command_id = ""
    if name in {"accepted", "rejected", "attempt_status"}:
        command_id = check.text("command_id", message.command_id, at_most=100)
        if not command_id and name != "attempt_status":
            check.refuse("command_id", f"is required with {name}")
    names_an_attempt = not check.found
    kind = _kind(check, name, message, now)
    if names_an_attempt and check.found and name in _LAST_KINDS and not can_be_corrected:
        kind = Failed(Failure(f"the unit's {name} report: {described(check.violations)}", not_retryable=True))
    else:
        check.done()
    return Report(message.sequence, task_id, message.attempt, command_id, now, kind)


def described(violations: Iterable[FieldViolation]) -> str:
    """Return the violations as one text."""
    return "; ".join(f"{each.field}: {each.description}" for each in violations)


def _kind(check: Checker, name: str, message: pb.Report, now: datetime) -> ReportKind:
    try:
        return _known_kind(check, name, message, now)
    except _Unstorable as error:
        return Failed(Failure(f"the unit's {name} report: {error}", not_retryable=True))


def _known_kind(  # noqa: PLR0911  (one return for each kind)
    check: Checker, name: str, message: pb.Report, now: datetime
) -> ReportKind:
    attempt = message.attempt
    match name:
        case "succeeded":
            has_result = message.succeeded.HasField("result")
            return Succeeded(_json("result", message.succeeded.result) if has_result else None)
        case "rejected":
            reason = _REJECT.get(message.rejected.reason, "OTHER")
            return Rejected(reason, message.rejected.message[:MAX_MESSAGE])
        case "progress":
            return ProgressMade(_progress(check, message.progress, now))
        case "checkpoint":
            return CheckpointMade(_checkpoint(check, message.checkpoint, attempt, now))
        case "paused":
            paused = message.paused
            return Paused(_optional_checkpoint(check, paused, attempt, now), _last_progress(paused, now))
        case "failed":
            return Failed(_failure(check, message.failed, attempt, now))
        case "cancelled":
            return Cancelled(message.cancelled.message[:MAX_ERROR_MESSAGE])
        case "released":
            released = message.released
            return Released(_optional_checkpoint(check, released, attempt, now), released.message[:MAX_ERROR_MESSAGE])
        case "attempt_status" if message.attempt_status.HasField("progress"):
            return ProgressMade(_progress(check, message.attempt_status.progress, now))
        case _:
            return Accepted()


def _failure(check: Checker, message: pb.FailedReport, attempt: int, now: datetime) -> Failure:
    delay = _retry_delay(message.retry_delay) if message.HasField("retry_delay") else None
    text = message.message[:MAX_ERROR_MESSAGE] or "failed without a message"
    return Failure(text, message.not_retryable, delay, _optional_checkpoint(check, message, attempt, now))


def _retry_delay(message: Duration) -> timedelta:
    """Read a delay, cut to its bounds. ToTimedelta would raise for values outside the range of timedelta."""
    seconds = message.seconds + message.nanos / _NANOS
    return timedelta(seconds=min(max(seconds, 0.0), _MAX_RETRY_DELAY.total_seconds()))


def _progress(check: Checker, message: pb.ProgressReport, now: datetime) -> Progress:
    fraction = rounded_fraction(message.fraction)
    if fraction is None:
        check.refuse("progress.fraction", f"is {message.fraction}; must be from 0 to 1")
    return Progress(fraction or 0.0, message.message[:MAX_MESSAGE], now)


def _last_progress(message: pb.PausedReport, now: datetime) -> Progress | None:
    """Return the progress of a paused attempt; None if missing or out of range."""
    check = Checker()
    progress = _progress(check, message.progress, now)
    return progress if message.HasField("progress") and not check.found else None


def _optional_checkpoint(
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
        raise _Unstorable(f"{what} {error}") from error
