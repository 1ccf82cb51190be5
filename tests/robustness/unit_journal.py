"""Evidence written by units: acknowledged reports, and executed commands.

The journal wraps classes of the SDK, so executors see the usual SDK.
"""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from robustness.journal import Journal
from robustness.records import Acked, Heard, Obeyed

from taskplane.protocol.structs import to_dict
from taskplane.unit.command_handler import CommandHandler
from taskplane.unit.lease import Lease
from taskplane.unit.report_queue import ReportQueue
from taskplane.v1.execution_unit_control_pb2 import CheckpointReport, Command, Report

_DURABLE = frozenset({"checkpoint", "paused", "succeeded", "failed", "cancelled", "released"})
_CONTROLS = frozenset({"pause", "cancel"})


def note_what_is_said(unit: str, journal: Journal, *, counts: bool) -> None:
    """Make the SDK of this process write down acknowledgements, received signs of life, and commands.

    Over HTTP the server does not know how the unit `counts` its checkpoints.
    """

    def note_acked(reports: list[Report]) -> None:
        at = time.monotonic()
        for report in reports:
            if record := acked(unit, report, at):
                journal.write(record if counts else replace(record, number=0))

    _after(ReportQueue, "acknowledge", lambda _self, reports, _args: note_acked(reports))
    _after(Lease, "renew", lambda _self, _none, args: _note_heard(unit, journal, *args))
    _after(CommandHandler, "handle", lambda self, _none, args: _note_obeyed(unit, self, args[0], journal))


def process_name(unit: str) -> str:
    """Return the common prefix of the names of this process's executions."""
    return f"{unit}-{os.getpid()}-"


def acked(unit: str, report: Report, at: float) -> Acked | None:
    """Return the record of an acknowledged report; None for a report that need not be durable."""
    kind = report.WhichOneof("kind") or ""
    if kind not in _DURABLE:
        return None
    checkpoint = _checkpoint(report, kind)
    if checkpoint is None:
        return Acked(unit, report.task_id, report.attempt, kind, at)
    step = int(to_dict(checkpoint.data).get("step", -1))
    return Acked(unit, report.task_id, report.attempt, kind, at, checkpoint.number, step)


def _checkpoint(report: Report, kind: str) -> CheckpointReport | None:
    if kind == "checkpoint":
        return report.checkpoint
    body = getattr(report, kind)
    has_one = kind in {"paused", "failed", "released"} and body.HasField("checkpoint")
    return body.checkpoint if has_one else None


def _note_heard(unit: str, journal: Journal, sent: float, lease_seconds: float | None = None) -> None:
    is_welcome = lease_seconds is not None  # no other answer says how long leases are
    # The SDK's clock also counts while the machine is suspended; the difference is constant during a run.
    offset = time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) - time.monotonic()
    journal.write(Heard(unit, sent - offset, time.monotonic(), process_name(unit), is_welcome))


def _note_obeyed(unit: str, commands: CommandHandler, command: Command, journal: Journal) -> None:
    order = command.WhichOneof("order") or ""
    if order in _CONTROLS:
        is_accepted = commands.response(command).HasField("accepted")
        key = command.task_id, command.attempt
        journal.write(Obeyed(unit, command.command_id, *key, order, is_accepted, time.monotonic()))


def _after(owner: type, name: str, note: Callable[[Any, Any, tuple[Any, ...]], None]) -> None:
    wrapped = getattr(owner, name)

    def noting(self: Any, *args: Any, **options: Any) -> Any:
        result = wrapped(self, *args, **options)
        note(self, result, args)
        return result

    setattr(owner, name, noting)
