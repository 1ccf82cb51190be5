"""Links to units: `stream` writes to a unit's gRPC stream, `http` sends requests to a unit's endpoint."""

from collections.abc import Collection, Sequence
from typing import Protocol

from taskplane.server.core.command import AttemptKey, Command, Welcome
from taskplane.server.core.errors import TaskplaneError
from taskplane.server.core.unit import DrainOrder
from taskplane.server.core.unit_report import Accepted, Outcome, Rejected


class Link(Protocol):
    """A session's way to its unit. No method waits: a link queues messages and sends them in the background.

    `peer` is the address of the unit's process, for people; empty if unknown.
    """

    peer: str

    def welcome(self, welcome: Welcome) -> None:
        """Send the welcome. Nothing is sent before it."""

    def may_have_started(self, key: AttemptKey) -> bool:
        """Return True while the link finds out whether an attempt has started; at most for a lease."""

    def send(self, commands: Sequence[Command]) -> None:
        """Send commands, in the order of a CommandQueue."""

    def resend(self, commands: Sequence[Command]) -> None:
        """Send commands again to which the unit has not responded."""

    def probe(self) -> None:
        """Ask for any response. Like every message of the unit, the response renews the lease."""

    def request_drain(self, drain: DrainOrder) -> None:
        """Ask the unit to release its tasks and leave."""

    def end(self, error: TaskplaneError) -> None:
        """End the session for this reason."""


class LinkObserver(Protocol):
    """Receiver of an HTTP link's events; knows which attempts the link has to poll."""

    def on_response(self) -> None:
        """Renew the unit's lease: the unit has responded."""

    def on_no_response(self) -> None:
        """Give the unit no new work until its next response."""

    def is_silent(self) -> bool:
        """Return True if the unit was silent for longer than a heartbeat interval."""

    def lease_seconds(self) -> float:
        """Return how long a silent unit keeps its tasks."""

    def running_attempts(self) -> Collection[AttemptKey]:
        """Return the running attempts, accepted or not."""

    def accepted_attempts(self) -> Collection[AttemptKey]:
        """Return the attempts that the unit has accepted, running or paused."""

    async def on_command_answered(self, command: Command, kind: Accepted | Rejected) -> None:
        """Report that the unit has accepted or rejected a command."""

    async def on_outcome(self, key: AttemptKey, outcome: Outcome) -> None:
        """Report the outcome of an attempt."""

    async def on_attempt_unknown(self, key: AttemptKey) -> None:
        """Take an attempt from a unit that does not know the attempt."""
