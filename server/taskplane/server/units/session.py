"""A connected unit: one stream of it, or one registration of a unit without a stream."""

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TypedDict, Unpack

from taskplane.server.core.clock import monotonic, utc_now
from taskplane.server.core.command import (
    CancelOrder,
    Command,
    DropOrder,
    PauseOrder,
    ResumeOrder,
    drop_command,
    start_id,
)
from taskplane.server.units.links import Link

log = logging.getLogger(__name__)


class Marks(TypedDict, total=False):
    """What can be marked about a session."""

    draining: bool
    welcomed: bool
    is_answering: bool


class Session:
    """A unit's session: its link, and what was sent over it."""

    def __init__(self, session_id: str, unit_id: str, boot_id: str, link: Link) -> None:
        # Called when what is marked has changed, so that it may take work, or may not any more.
        self.on_change: Callable[[], None] = lambda: None
        self.session_id = session_id
        self.unit_id = unit_id
        self.boot_id = boot_id
        self.draining = False
        # The welcome is on its way: the unit's inventory is settled, so it can be given work.
        self.welcomed = False
        # It accepts what it is sent. One that does not gets nothing new until it is heard from again.
        self.is_answering = True
        self.link = link
        self.since = utc_now()
        # What was sent and is not answered, and when.
        self._unanswered: dict[str, tuple[Command, float]] = {}

    @property
    def takes_work(self) -> bool:
        """Whether it may be sent a start."""
        return self.welcomed and self.is_answering and not self.draining

    def mark(self, **marks: Unpack[Marks]) -> None:
        """Note what has changed about it: see the attributes."""
        if any(getattr(self, name) is not value for name, value in marks.items()):
            for name, value in marks.items():
                setattr(self, name, value)
            self.on_change()

    def deliver(self, commands: Iterable[Command]) -> None:
        """Send commands, each once until it is answered or has been silent for long."""
        new: list[Command] = []
        for command in commands:
            if command.command_id not in self._unanswered:
                self._unanswered[command.command_id] = command, monotonic()
                new += [command, *self._dropped_with(command)]
        if new:
            self.link.send(new)

    def answered(self, command_id: str) -> Command | None:
        """Note that the unit has answered a command. Returns it, unless it was answered before."""
        command, _ = self._unanswered.pop(command_id, (None, 0.0))
        return command

    def _dropped_with(self, command: Command) -> Iterator[Command]:
        """Return the drop of what an attempt was to go on from that is dropped itself before it was answered."""
        if isinstance(command.order, DropOrder):
            start = self.answered(start_id(*command.key))
            if start and isinstance(start.order, ResumeOrder):
                yield drop_command(command.task_id, start.order.held_attempt, command.order.reason)

    def send_again(self, sent_before: float) -> None:
        """Send pauses and cancels again that were sent before a time, and are not answered."""
        if not self._unanswered:
            return  # as it is with nearly all of thousands of units
        late = [
            command
            for command, sent_at in self._unanswered.values()
            if sent_at < sent_before and isinstance(command.order, PauseOrder | CancelOrder)
        ]
        for command in late:
            self._unanswered[command.command_id] = command, monotonic()
        if late:
            log.warning("unit %s has not answered %s", self.unit_id, [command.command_id for command in late])
            self.link.send_again(late)
