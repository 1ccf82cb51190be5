"""How a unit is spoken to: `stream` over its gRPC stream, `http` by requests to its endpoint."""

from collections.abc import Sequence
from typing import Protocol

from taskplane.server.core.command import Command, Welcome
from taskplane.server.core.errors import TaskplaneError
from taskplane.server.core.unit import DrainOrder
from taskplane.server.execution_units.links.poll_schedule import Key


class Link(Protocol):
    """What a session needs of the way to its unit. Nothing here waits: a link gathers, and sends by itself.

    `peer` is the address of the process behind it, for people; empty if that is not known.
    """

    peer: str

    def welcome(self, welcome: Welcome) -> None:
        """Begin; nothing is sent before."""

    def may_have_started(self, key: Key) -> bool:
        """Whether a start was sent of which the link is still finding out what became; it lasts a lease at most."""

    def send(self, commands: Sequence[Command]) -> None:
        """Send commands; see links.command_queue for their order."""

    def resend(self, commands: Sequence[Command]) -> None:
        """Send commands that were sent, and have not been answered for long."""

    def probe(self) -> None:
        """Ask for an answer of any kind, which renews the lease as all that a unit says does."""

    def request_drain(self, drain: DrainOrder) -> None:
        """Ask the unit to leave."""

    def end(self, error: TaskplaneError) -> None:
        """End the session, with the reason."""
