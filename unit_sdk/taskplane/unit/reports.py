"""The reports that a unit makes, with texts and data that the server and the wire can take."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from google.protobuf.struct_pb2 import Struct

from taskplane.unit.structs import to_struct
from taskplane.v1.execution_unit_control_pb2 import (
    Command,
    CommandAccepted,
    CommandRejected,
    ProgressReport,
    RejectReason,
    Report,
)

# The kinds after which an attempt is over.
ENDINGS = frozenset({"succeeded", "failed", "cancelled", "released"})

# The contract's limits, in characters and in bytes of JSON.
_REJECT_LENGTH = 1000
_PROGRESS_LENGTH = 1000
_ROUNDING = 1e-6
# What the server takes: with config and result, a task's message stays below gRPC's default of 4 MiB.
_LARGEST_DOCUMENT = 768 << 10


class AttemptKey(NamedTuple):
    """Names one attempt."""

    task_id: int
    attempt: int


def key_of(message: Report | Command) -> AttemptKey:
    """The attempt that a report or a command is about."""
    return AttemptKey(message.task_id, message.attempt)


def accepted(command: Command) -> Report:
    """The command has been taken on."""
    return _answer(command, Report(accepted=CommandAccepted()))


def rejected(command: Command, reason: RejectReason.ValueType, message: str) -> Report:
    """The command will not be carried out."""
    return _answer(command, Report(rejected=CommandRejected(reason=reason, message=cut(message, _REJECT_LENGTH))))


def progress_report(fraction: float, message: str) -> ProgressReport:
    """Raises ValueError for a fraction outside 0 to 1; a sum of parts may exceed 1 by what rounding adds."""
    if math.isnan(fraction) or not 0 <= fraction <= 1 + _ROUNDING:
        raise ValueError(f"progress: must be a fraction from 0 to 1, not {fraction}")
    return ProgressReport(fraction=min(fraction, 1.0), message=cut(message, _PROGRESS_LENGTH))


def json_struct(data: Mapping[str, Any], name: str) -> Struct:
    """Converts a checkpoint or a result; raises TypeError or ValueError if it is not JSON, or too large."""
    struct = to_struct(data, name)
    size = struct.ByteSize()
    if size > _LARGEST_DOCUMENT:
        bound = f"above {_LARGEST_DOCUMENT >> 10} KiB"
        raise ValueError(f"{name}: {size} bytes on the wire, which is {bound}; keep large data in a file and name it")
    return struct


def cut(text: str, length: int) -> str:
    """Makes a text for people fit; what is not Unicode (odd file names) becomes "?" instead of breaking the stream."""
    return text[:length].encode(errors="replace").decode()


def _answer(command: Command, report: Report) -> Report:
    report.task_id, report.attempt = key_of(command)
    report.command_id = command.command_id
    return report
