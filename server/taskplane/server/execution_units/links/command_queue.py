"""The queue of commands to one unit."""

from collections.abc import Iterable
from itertools import chain

from taskplane.server.core.command import AttemptKey, Command, DropOrder


class CommandQueue:
    """Commands in sending order: pauses, cancels and drops first, then starts.

    A pause or cancel stays behind a queued start of the same attempt. A drop removes a queued start, so that the unit
    never receives either.
    """

    def __init__(self) -> None:
        self._control: list[Command] = []
        # By attempt: the start, then its pauses and cancels.
        self._starts: dict[AttemptKey, list[Command]] = {}

    def __len__(self) -> int:
        return len(self._control) + len(self._starts)

    def put(self, commands: Iterable[Command]) -> None:
        """Add commands."""
        for command in commands:
            match command.order:
                case _ if command.is_start:
                    self._starts[command.key] = [command]
                case _ if command.key not in self._starts:
                    self._control.append(command)
                case DropOrder():
                    del self._starts[command.key]
                case _:
                    self._starts[command.key].append(command)

    def take(self) -> list[Command]:
        """Remove and return all commands."""
        taken = [*self._control, *chain.from_iterable(self._starts.values())]
        self._control, self._starts = [], {}
        return taken
