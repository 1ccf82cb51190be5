"""A unit's reports: their keys, their limits, and the latest ones of an attempt."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from google.protobuf.struct_pb2 import Struct

from taskplane.protocol.structs import to_struct
from taskplane.v1.execution_unit_control_pb2 import (
    CheckpointReport,
    Command,
    CommandAccepted,
    CommandRejected,
    ProgressReport,
    RejectReason,
    Report,
)

# An attempt is over after these kinds of reports.
FINAL_KINDS = frozenset({"succeeded", "failed", "cancelled", "released"})

# Characters that the server stores of a reason and of a progress message.
_REJECT_LENGTH = 1000
_PROGRESS_LENGTH = 1000
# A fraction may exceed 0 and 1 by this, as the sum of fractions does; the server clamps in the same way.
_FRACTION_TOLERANCE = 0.001
# Bytes on the wire of a checkpoint or a result; with a config, a task's message stays below gRPC's default of 4 MiB.
_MAX_DOCUMENT_BYTES = 768 << 10


class AttemptKey(NamedTuple):
    """The identity of one attempt."""

    task_id: int
    attempt: int


def key_of(message: Report | Command) -> AttemptKey:
    """Return the attempt that a report or a command belongs to."""
    return AttemptKey(message.task_id, message.attempt)


def accepted(command: Command) -> Report:
    """Return the response to an accepted command."""
    return _response(command, Report(accepted=CommandAccepted()))


def rejected(command: Command, reason: RejectReason.ValueType, message: str) -> Report:
    """Return the response to a rejected command."""
    rejection = CommandRejected(reason=reason, message=truncate(message, _REJECT_LENGTH))
    return _response(command, Report(rejected=rejection))


def _response(command: Command, report: Report) -> Report:
    report.task_id, report.attempt = key_of(command)
    report.command_id = command.command_id
    return report


def json_struct(data: Mapping[str, Any], name: str) -> Struct:
    """Convert a checkpoint or a result. Raises TypeError or ValueError if the data is not JSON, or too large."""
    struct = to_struct(data, name)
    size = struct.ByteSize()
    if size > _MAX_DOCUMENT_BYTES:
        bound = f"above {_MAX_DOCUMENT_BYTES >> 10} KiB"
        raise ValueError(f"{name}: {size} bytes on the wire, which is {bound}; keep large data in a file and name it")
    return struct


def truncate(text: str, length: int) -> str:
    """Truncate a text to `length` characters; invalid Unicode, as in odd file names, becomes "?"."""
    return text[:length].encode(errors="replace").decode()


class LatestReports:
    """The latest progress and the latest checkpoint of one attempt, with checkpoint numbers. Not thread-safe."""

    def __init__(self, last_checkpoint_number: int) -> None:
        self.progress: ProgressReport | None = None
        # None until the attempt makes one: the server has the checkpoint that the attempt was started from.
        self.checkpoint: CheckpointReport | None = None
        self.checkpoint_number = last_checkpoint_number

    def note_progress(self, fraction: float | None, message: str | None) -> ProgressReport:
        """Store and return the new progress, clamped to 0..1; None keeps the last value.

        Raises ValueError for a fraction beyond the tolerance, and for NaN.
        """
        last = self.progress or ProgressReport()
        fraction = last.fraction if fraction is None else fraction
        message = last.message if message is None else message
        if not -_FRACTION_TOLERANCE <= fraction <= 1 + _FRACTION_TOLERANCE:
            raise ValueError(f"progress: must be a fraction from 0 to 1, not {fraction}")
        fraction = min(max(fraction, 0.0), 1.0)
        self.progress = ProgressReport(fraction=fraction, message=truncate(message, _PROGRESS_LENGTH))
        return self.progress

    def note_checkpoint(self, data: Struct) -> CheckpointReport:
        """Store and return a new checkpoint under the next number."""
        self.checkpoint_number += 1
        self.checkpoint = CheckpointReport(number=self.checkpoint_number, data=data)
        return self.checkpoint

    def continue_from(self, last_checkpoint_number: int) -> None:
        """Continue the numbers of checkpoints above `last_checkpoint_number`; no number is used twice."""
        self.checkpoint_number = max(self.checkpoint_number, last_checkpoint_number)
