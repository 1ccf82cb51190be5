"""What is to be sent to a unit, in the order in which it is sent."""

from collections.abc import Iterable
from itertools import chain

from taskplane.server.core.command import Command, DropOrder


class CommandQueue:
    """Commands that control go ahead of those that start, but each behind the start of its own attempt.

    The drop of an attempt whose start is still here withdraws that: the unit never hears of it.
    """

    def __init__(self) -> None:
        self._control: list[Command] = []
        # By attempt: its start, and what controls it.
        self._starts: dict[tuple[int, int], list[Command]] = {}

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
        """Return all, and be empty."""
        taken = [*self._control, *chain.from_iterable(self._starts.values())]
        self._control, self._starts = [], {}
        return taken
