"""The outgoing half of a unit's stream: what the server has to say, gathered until the stream can take it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from taskplane.server.core.command import Command, Welcome
from taskplane.server.core.errors import TaskplaneError
from taskplane.server.core.unit import DrainOrder
from taskplane.server.execution_units.links.command_queue import CommandQueue
from taskplane.server.execution_units.links.poll_schedule import Key

# The task that a unit is asked about for a sign of life. No task has this id, and every language's numbers can hold it.
PROBE_TASK_ID = 2**53 - 1

# Commands that wait for a unit which does not read, before its reports are not read either.
CONGESTED_COMMANDS = 1_000

# Refused reports of which a unit is told at a time.
MAX_REJECTED = 100


@dataclass(frozen=True, slots=True)
class Ack:
    """All reports up to a sequence are durable, and a heartbeat has arrived."""

    sequence: int
    heartbeat: int


@dataclass(frozen=True, slots=True)
class RejectedReport:
    """A report that breaks a rule, and how."""

    sequence: int
    task_id: int
    attempt: int
    message: str


@dataclass(slots=True)
class Outgoing:
    """What goes out at once, in this order."""

    welcome: Welcome | None = None
    commands: list[Command] = field(default_factory=list)
    ack: Ack | None = None
    drain: DrainOrder | None = None
    # Number of the question for a sign of life; 0 if it is not asked.
    probe: int = 0
    rejected: list[RejectedReport] = field(default_factory=list)


class StreamLink:
    """Gathers messages for one connected unit; `next` hands them to the one writer of the stream, welcome first.

    The queue is bounded: acknowledgements merge, and what reports bring about, drops and further starts, comes to an
    end with the reports, which are not read while many commands wait.
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
        """Whether many commands wait to be sent."""
        return len(self._commands) >= CONGESTED_COMMANDS

    def welcome(self, welcome: Welcome) -> None:
        """Send the welcome, before anything else."""
        self._welcome = welcome
        self._welcomed = True
        self._wake.set()

    def may_have_started(self, _key: Key) -> bool:
        """Return False: what a unit with a stream does not accept in time it will refuse."""
        return False

    def send(self, commands: Sequence[Command]) -> None:
        """Send commands, in the order of a CommandQueue."""
        self._commands.put(commands)
        self._wake.set()

    def resend(self, commands: Sequence[Command]) -> None:
        """Send commands again."""
        self.send(commands)

    def acknowledge(self, sequence: int) -> None:
        """Tell that all reports up to this one are durable."""
        self._acknowledged = max(sequence, self._acknowledged)
        self._ack_is_due = True
        self._wake.set()

    def reject(self, report: RejectedReport) -> int:
        """Tell that a report was refused; of very many only the first. Returns how many there have been."""
        self._rejections += 1
        if len(self._rejected) < MAX_REJECTED:
            self._rejected.append(report)
            self._wake.set()
        return self._rejections

    def acknowledge_heartbeat(self, number: int) -> None:
        """Tell that this heartbeat has arrived."""
        self._heartbeat = max(number, self._heartbeat)
        self._ack_is_due = True
        self._wake.set()

    def probe(self) -> None:
        """Ask for the status of an attempt that no unit holds: every unit answers that, if only by a rejection."""
        self._probes += 1
        self._probe_is_due = True
        self._wake.set()

    def request_drain(self, drain: DrainOrder) -> None:
        """Ask the unit to leave."""
        self._drain = drain
        self._wake.set()

    def end(self, error: TaskplaneError) -> None:
        """End the stream with an error."""
        self._error = self._error or error
        self._wake.set()

    async def next(self) -> Outgoing:
        """Wait for something to send and return all there is. Raises the error that ends the stream."""
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
