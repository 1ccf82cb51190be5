"""Messages of a unit's stream, checked and in the words of the core, and back."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import get_args

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct

from taskplane.server.core.command import (
    CancelOrder,
    Command,
    DropOrder,
    PauseOrder,
    ResumeOrder,
    StartOrder,
    Verdict,
    VerdictAction,
    Welcome,
)
from taskplane.server.core.dispatch import Dispatch
from taskplane.server.core.documents import NotStorable
from taskplane.server.core.errors import DropReason, ProtocolVersionUnsupported
from taskplane.server.core.task import Checkpoint, Progress
from taskplane.server.core.unit import MAX_TASK_TYPES, AttemptState, HeldAttempt, Hello, TaskTypeSupport
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
)
from taskplane.server.rpc.messages import checkpoint_message, seconds_message
from taskplane.server.rpc.structs import fill_struct, json_of
from taskplane.server.rpc.validation import Checker
from taskplane.server.units.links.stream import NO_TASK, Outgoing
from taskplane.v1 import execution_unit_control_pb2 as pb
from taskplane.v1 import execution_unit_pb2

PROTOCOL_VERSION = 1
MAX_CAPACITY = 10_000
# Statuses in a filter of units: more than there are, as it may name one twice.
MAX_STATUSES = 16
# Reports in one message. A unit should not have sent more than half of that without an acknowledgement.
MAX_REPORTS = 1000
MAX_PROGRESS_MESSAGE = 1000
MAX_ERROR_MESSAGE = 10_000
# Commands that do not fit go into a further message. A start with a large config and checkpoint has one for itself:
# receivers take 4 MiB if nothing is said, and one message too large would end the stream, again on every session.
FULL_MESSAGE_BYTES = 1024 * 1024
# How the ids of questions for a sign of life begin.
SIGN_OF_LIFE = "sign-of-life"
# Longer waits than this are no retry.
_MAX_RETRY_DELAY = timedelta(days=365)
_NANOS = 1_000_000_000

_STATES = {
    pb.ATTEMPT_STATE_RUNNING: AttemptState.RUNNING,
    pb.ATTEMPT_STATE_PAUSED: AttemptState.PAUSED,
    pb.ATTEMPT_STATE_ENDED: AttemptState.ENDED,
}
_ACTION = {action: pb.VerdictAction.Value(f"VERDICT_ACTION_{action}") for action in VerdictAction}
# A unit may be newer than this server, and know further reasons.
_REJECT: dict[int, RejectReason] = {
    pb.RejectReason.Value(f"REJECT_REASON_{reason}"): reason for reason in get_args(RejectReason)
}
_DROP = {reason: pb.DropReason.Value(f"DROP_REASON_{reason}") for reason in DropReason}


class _TooBig(ValueError):
    """What was reported can never be stored: the attempt fails by it."""


def read_hello(message: pb.Hello) -> Hello:
    """Read a Hello. Raises InvalidFields with every bad field, or ProtocolVersionUnsupported."""
    if message.protocol_version != PROTOCOL_VERSION:
        raise ProtocolVersionUnsupported(
            f"this server speaks version {PROTOCOL_VERSION} of the unit protocol, not {message.protocol_version}",
            metadata={"supported": str(PROTOCOL_VERSION), "got": str(message.protocol_version)},
        )
    check = Checker()
    hello = Hello(
        unit_id=check.unit_id("hello.unit_id", message.unit_id),
        boot_id=check.text("hello.boot_id", message.boot_id, at_least=1, at_most=64),
        unit_type=check.text("hello.unit_type", message.unit_type, at_least=1, at_most=100),
        unit_name=check.text("hello.unit_name", message.unit_name, at_least=1, at_most=255),
        capacity=check.number("hello.capacity", message.capacity, at_least=0, at_most=MAX_CAPACITY),
        task_types=read_task_types(check, "hello.task_types", message.task_types),
        labels=check.labels("hello.labels", message.labels),
        sdk=check.text("hello.sdk", message.sdk, at_most=100),
        inventory=_inventory(check, message.inventory),
    )
    check.done()
    return hello


def read_task_types(
    check: Checker, name: str, messages: Sequence[execution_unit_pb2.TaskTypeSupport]
) -> dict[str, TaskTypeSupport]:
    """Read what a unit accepts, by task type."""
    if not check.few(name, messages, at_most=MAX_TASK_TYPES):
        return {}
    check.unique(name, [each.task_type for each in messages], at_most=MAX_TASK_TYPES)
    return {
        each.task_type: TaskTypeSupport(
            check.task_type(f"{path}.task_type", each.task_type), each.can_pause, each.can_checkpoint
        )
        for path, each in check.elements(name, messages)
    }


def _inventory(check: Checker, messages: Sequence[pb.HeldAttempt]) -> tuple[HeldAttempt, ...]:
    if not check.few("hello.inventory", messages, at_most=MAX_CAPACITY):
        return ()
    held = tuple(_held(check, path, each) for path, each in check.elements("hello.inventory", messages))
    check.unique("hello.inventory", [(each.task_id, each.attempt) for each in held], at_most=MAX_CAPACITY)
    return held


def _held(check: Checker, name: str, message: pb.HeldAttempt) -> HeldAttempt:
    task_id = check.task_id(f"{name}.task_id", message.task_id)
    if message.state not in _STATES:
        check.refuse(f"{name}.state", "must be RUNNING, PAUSED or ENDED")
    check.number(f"{name}.attempt", message.attempt, at_least=1, at_most=2**31 - 1)
    return HeldAttempt(task_id, message.attempt, _STATES.get(message.state, AttemptState.RUNNING))


def read_report(message: pb.Report, now: datetime, field: str = "reports") -> Report:
    """Read a report, which is in this field of its message. Raises InvalidFields.

    What is too big to be stored, or not JSON, is read as a failure of the attempt that cannot be retried: were it an
    error of the stream, the unit would come back and send the same again.
    """
    check = Checker(f"{field}.")
    task_id = check.task_id("task_id", message.task_id)
    check.number("attempt", message.attempt, at_least=1, at_most=2**31 - 1)
    command_id = check.text("command_id", message.command_id, at_most=100)
    kind = _kind(check, message, now)
    check.done()
    return Report(message.sequence, task_id, message.attempt, command_id, now, kind)


def _kind(check: Checker, message: pb.Report, now: datetime) -> ReportKind:
    name = message.WhichOneof("kind")
    if name is None:
        check.refuse("kind", "is required, and must be one that this server knows")
        return Accepted()
    if name in {"accepted", "rejected"} and not message.command_id:
        check.refuse("command_id", f"is required with {name}")
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
            progress = _progress(check, paused.progress, now) if paused.HasField("progress") else None
            return Paused(_carried(check, paused, attempt, now), progress)
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
    if not 0.0 <= message.fraction <= 1.0:
        check.refuse("progress.fraction", f"is {message.fraction}; must be from 0 to 1")
    return Progress(message.fraction, message.message[:MAX_PROGRESS_MESSAGE], now)


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
    except NotStorable as error:
        raise _TooBig(f"{what} {error}") from error


def server_messages(outgoing: Outgoing) -> list[pb.ServerMessage]:
    """Return what goes out as messages, in order."""
    messages = []
    if outgoing.welcome:
        messages.append(pb.ServerMessage(welcome=_welcome(outgoing.welcome)))
    if outgoing.sign_of_life:
        messages.append(pb.ServerMessage(commands=pb.Commands(commands=[_question(outgoing.sign_of_life)])))
    messages += _command_messages(outgoing.commands)
    if ack := outgoing.ack:
        messages.append(pb.ServerMessage(ack=pb.Ack(sequence=ack.sequence, heartbeat=ack.heartbeat)))
    if outgoing.drain:
        seconds = outgoing.drain.timeout_seconds
        timeout = None if seconds is None else seconds_message(seconds)
        messages.append(pb.ServerMessage(drain=pb.DrainRequest(timeout=timeout)))
    return messages


def _question(number: int) -> pb.Command:
    """Return the question for a sign of life."""
    command_id = f"{SIGN_OF_LIFE}-{number}"
    return pb.Command(command_id=command_id, task_id=NO_TASK, attempt=1, get_status=pb.GetStatusOrder())


def _command_messages(commands: Iterable[Command]) -> Iterator[pb.ServerMessage]:
    message, size = pb.ServerMessage(), 0
    for command in map(_command, commands):
        command_size = command.ByteSize()
        if size and size + command_size > FULL_MESSAGE_BYTES:
            yield message
            message, size = pb.ServerMessage(), 0
        message.commands.commands.append(command)
        size += command_size
    if size:
        yield message


def _welcome(welcome: Welcome) -> pb.Welcome:
    return pb.Welcome(
        unit_id=welcome.unit_id,
        session_id=welcome.session_id,
        heartbeat_interval=seconds_message(welcome.heartbeat_seconds),
        lease_duration=seconds_message(welcome.lease_seconds),
        verdicts=[verdict_message(each) for each in welcome.verdicts],
    )


def verdict_message(verdict: Verdict) -> pb.Verdict:
    """Return what becomes of an attempt."""
    return pb.Verdict(
        task_id=verdict.task_id,
        attempt=verdict.attempt,
        action=_ACTION[verdict.action],
        drop_reason=_DROP[verdict.drop_reason] if verdict.drop_reason else pb.DROP_REASON_UNSPECIFIED,
    )


def _command(command: Command) -> pb.Command:
    message = pb.Command(command_id=command.command_id, task_id=command.task_id, attempt=command.attempt)
    match command.order:
        case StartOrder(dispatch):
            _fill_start(message.start, dispatch)
        case ResumeOrder(held_attempt, dispatch):
            message.resume.held_attempt = held_attempt
            message.resume.last_checkpoint_number = dispatch.task.last_checkpoint_number
        case PauseOrder(reason):
            message.pause.reason = reason
            message.pause.SetInParent()
        case CancelOrder(reason):
            message.cancel.reason = reason
            message.cancel.SetInParent()
        case DropOrder(drop_reason):
            message.drop.reason = _DROP[drop_reason]
    return message


def _fill_start(message: pb.StartOrder, dispatch: Dispatch) -> None:
    task = dispatch.task
    message.task_type = task.task_type
    message.task_name = task.task_name
    fill_struct(message.config, task.config)
    if dispatch.checkpoint:
        message.checkpoint.CopyFrom(checkpoint_message(dispatch.checkpoint, with_data=True))
    message.last_checkpoint_number = task.last_checkpoint_number
    message.retry_count = task.retry_count
    message.max_retries = task.max_retries


def unit_statuses(check: Checker, statuses: "Sequence[execution_unit_pb2.ExecutionUnitStatus.ValueType]") -> set[str]:
    """Read a filter of unit statuses, as their names."""
    names = execution_unit_pb2.ExecutionUnitStatus
    if not check.few("statuses", statuses, at_most=MAX_STATUSES):
        return set()
    for path, status in check.elements("statuses", statuses):
        if status not in names.values():
            check.refuse(path, f"{status} is not an ExecutionUnitStatus")
    known = (each for each in statuses if each and each in names.values())
    return {names.Name(each).removeprefix("EXECUTION_UNIT_STATUS_") for each in known}
