"""The outgoing half of a unit's stream: messages are collected here until the stream can take them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from taskplane.server.core.command import AttemptKey, Command, Welcome
from taskplane.server.core.errors import TaskplaneError
from taskplane.server.core.unit import DrainOrder
from taskplane.server.execution_units.links.command_queue import CommandQueue

# Task id in a probe. No task has this id, and the numbers of every language can hold it.
PROBE_TASK_ID = 2**53 - 1

# With this many queued commands, the unit is not reading its stream, and the server stops reading its reports.
CONGESTED_COMMANDS = 1_000

# Rejected reports in one batch; the others are not mentioned to the unit.
MAX_REJECTED = 100


@dataclass(frozen=True, slots=True)
class Ack:
    """The sequence of the last durable report, and the number of the last heartbeat."""

    sequence: int
    heartbeat: int


@dataclass(frozen=True, slots=True)
class RejectedReport:
    """An invalid report, and the reason."""

    sequence: int
    task_id: int
    attempt: int
    message: str


@dataclass(slots=True)
class Outgoing:
    """One batch of outgoing messages, in sending order."""

    welcome: Welcome | None = None
    commands: list[Command] = field(default_factory=list)
    ack: Ack | None = None
    drain: DrainOrder | None = None
    # Number of the probe; 0 for no probe.
    probe: int = 0
    rejected: list[RejectedReport] = field(default_factory=list)


class StreamLink:
    """Collects messages for one connected unit. The stream's only writer takes them by `next`, the welcome first.

    The queue is bounded: acknowledgements merge, and reports, which cause most commands, are not read while the link
    is congested.
    """

    def __init__(self, peer: str = "") -> None:
        self.peer = peer
        self._welcome: Welcome | None = None
        self._welcomed = False
        self._commands = CommandQueue()
        self._acknowledged = 0
        self._heartbeat = 0
        self._ack_is_due = False
        self._drain: DrainOrder | None = None
        self._probes = 0
        self._probe_is_due = False
        self._rejected: list[RejectedReport] = []
        self._rejections = 0
        self._error: TaskplaneError | None = None
        self._wake = asyncio.Event()

    @property
    def is_congested(self) -> bool:
        """Return True if the unit is not reading its commands."""
        return len(self._commands) >= CONGESTED_COMMANDS

    def welcome(self, welcome: Welcome) -> None:
        """Send the welcome, before all other messages."""
        self._welcome = welcome
        self._welcomed = True
        self._wake.set()

    def may_have_started(self, _key: AttemptKey) -> bool:
        """Return False: a unit on a stream rejects a start that was given to another unit."""
        return False

    def send(self, commands: Sequence[Command]) -> None:
        """Send commands, in the order of a CommandQueue."""
        self._commands.put(commands)
        self._wake.set()

    def resend(self, commands: Sequence[Command]) -> None:
        """Send commands again."""
        self.send(commands)

    def acknowledge(self, sequence: int) -> None:
        """Acknowledge all reports up to this sequence."""
        self._acknowledged = max(sequence, self._acknowledged)
        self._ack_is_due = True
        self._wake.set()

    def reject(self, report: RejectedReport) -> int:
        """Tell the unit that a report was invalid. Returns the number of invalid reports so far."""
        self._rejections += 1
        if len(self._rejected) < MAX_REJECTED:
            self._rejected.append(report)
            self._wake.set()
        return self._rejections

    def acknowledge_heartbeat(self, number: int) -> None:
        """Acknowledge a heartbeat."""
        self._heartbeat = max(number, self._heartbeat)
        self._ack_is_due = True
        self._wake.set()

    def probe(self) -> None:
        """Ask for the status of an attempt that no unit has: every unit responds, at least with a rejection."""
        self._probes += 1
        self._probe_is_due = True
        self._wake.set()

    def request_drain(self, drain: DrainOrder) -> None:
        """Ask the unit to release its tasks and leave."""
        self._drain = drain
        self._wake.set()

    def end(self, error: TaskplaneError) -> None:
        """End the stream with an error."""
        self._error = self._error or error
        self._wake.set()

    async def next(self) -> Outgoing:
        """Wait for messages and return all of them. Raises the error that ends the stream."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._error:
                raise self._error
            if self._welcomed:
                return self._take()

    def _take(self) -> Outgoing:
        ack = Ack(self._acknowledged, self._heartbeat) if self._ack_is_due else None
        probe = self._probes if self._probe_is_due else 0
        outgoing = Outgoing(self._welcome, self._commands.take(), ack, self._drain, probe, self._rejected)
        self._welcome, self._drain, self._rejected = None, None, []
        self._ack_is_due = self._probe_is_due = False
        return outgoing
