"""Conversion between the messages of a unit's stream and core types."""

from collections.abc import Iterable, Iterator, Sequence

from taskplane.protocol.structs import fill_struct
from taskplane.server.core.command import (
    CancelOrder,
    Command,
    Dispatch,
    DropOrder,
    PauseOrder,
    ResumeOrder,
    StartOrder,
    Verdict,
    VerdictAction,
    Welcome,
)
from taskplane.server.core.errors import DropReason, ProtocolVersionUnsupported
from taskplane.server.core.unit import MAX_TASK_TYPES, AttemptState, HeldAttempt, Hello, TaskTypeSupport
from taskplane.server.execution_units.links.stream import PROBE_TASK_ID, Outgoing
from taskplane.server.rpc.bounds import MAX_CAPACITY, MAX_NAME, MAX_STATUSES, MAX_UNIT_TYPE
from taskplane.server.rpc.messages import checkpoint_message, seconds_message
from taskplane.server.rpc.validation import Checker
from taskplane.v1 import execution_unit_control_pb2 as pb
from taskplane.v1 import execution_unit_pb2

PROTOCOL_VERSION = 1
# Commands above this size go into another message. gRPC receivers accept 4 MiB by default, and a larger message would
# end the stream, again in every session.
FULL_MESSAGE_BYTES = 1024 * 1024
# Prefix of the command ids of probes.
PROBE_ID_PREFIX = "sign-of-life"

_STATES = {
    pb.ATTEMPT_STATE_RUNNING: AttemptState.RUNNING,
    pb.ATTEMPT_STATE_PAUSED: AttemptState.PAUSED,
    pb.ATTEMPT_STATE_ENDED: AttemptState.ENDED,
}
_ACTION = {action: pb.VerdictAction.Value(f"VERDICT_ACTION_{action}") for action in VerdictAction}
_DROP = {reason: pb.DropReason.Value(f"DROP_REASON_{reason}") for reason in DropReason}


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
        unit_type=check.text("hello.unit_type", message.unit_type, at_least=1, at_most=MAX_UNIT_TYPE),
        unit_name=check.text("hello.unit_name", message.unit_name, at_least=1, at_most=MAX_NAME),
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
    """Read the accepted task types, by name."""
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


def server_messages(outgoing: Outgoing) -> list[pb.ServerMessage]:
    """Convert one batch to messages, in sending order."""
    messages = []
    if outgoing.welcome:
        messages.append(pb.ServerMessage(welcome=_welcome(outgoing.welcome)))
    if outgoing.probe:
        messages.append(pb.ServerMessage(commands=pb.Commands(commands=[_probe(outgoing.probe)])))
    messages += _command_messages(outgoing.commands)
    if ack := outgoing.ack:
        messages.append(pb.ServerMessage(ack=pb.Ack(sequence=ack.sequence, heartbeat=ack.heartbeat)))
    messages += [
        pb.ServerMessage(
            report_rejected=pb.ReportRejected(
                sequence=each.sequence, task_id=each.task_id, attempt=each.attempt, message=each.message
            )
        )
        for each in outgoing.rejected
    ]
    if outgoing.drain:
        seconds = outgoing.drain.timeout_seconds
        timeout = None if seconds is None else seconds_message(seconds)
        messages.append(pb.ServerMessage(drain=pb.DrainRequest(timeout=timeout)))
    return messages


def _probe(number: int) -> pb.Command:
    """Return the command of a probe."""
    command_id = f"{PROBE_ID_PREFIX}-{number}"
    return pb.Command(command_id=command_id, task_id=PROBE_TASK_ID, attempt=1, get_status=pb.GetStatusOrder())


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
    """Convert a verdict."""
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
    """Read a filter of unit statuses as names."""
    names = execution_unit_pb2.ExecutionUnitStatus
    if not check.few("statuses", statuses, at_most=MAX_STATUSES):
        return set()
    for path, status in check.elements("statuses", statuses):
        if status not in names.values():
            check.refuse(path, f"{status} is not an ExecutionUnitStatus")
    known = (each for each in statuses if each and each in names.values())
    return {names.Name(each).removeprefix("EXECUTION_UNIT_STATUS_") for each in known}
