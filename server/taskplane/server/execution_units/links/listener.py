"""Who hears what an HTTP link brings back from its unit."""

from collections.abc import Collection
from typing import Protocol

from taskplane.server.core.command import Command
from taskplane.server.core.unit_report import Accepted, Outcome, Rejected
from taskplane.server.execution_units.links.poll_schedule import Key


class LinkObserver(Protocol):
    """What a link tells of its unit, and what it must know to go on asking."""

    def on_response(self) -> None:
        """Called when the unit has answered, whatever it was: that renews its lease."""

    def on_no_response(self) -> None:
        """Called when it has not answered: it gets nothing new until it is heard from."""

    def is_silent(self) -> bool:
        """Whether nothing was heard for longer than a heartbeat takes."""

    def lease_seconds(self) -> float:
        """Return how long a silent unit keeps its tasks."""

    def running_attempts(self) -> Collection[Key]:
        """Return the attempts at work, those too that it has not accepted yet."""

    def accepted_attempts(self) -> Collection[Key]:
        """Return the attempts that it has accepted, at work or paused."""

    async def on_command_answered(self, command: Command, kind: Accepted | Rejected) -> None:
        """Take the answer to a command."""

    async def on_outcome(self, key: Key, outcome: Outcome) -> None:
        """Take what the unit says of an attempt."""

    async def on_attempt_unknown(self, key: Key) -> None:
        """Called when the unit does not know an attempt that it should hold."""
