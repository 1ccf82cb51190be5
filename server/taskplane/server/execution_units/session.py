"""A connected unit: one stream of it, or one registration of a unit without a stream."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
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
from taskplane.server.execution_units.links import Link

log = logging.getLogger(__name__)

# Drops that are remembered as long as they are not answered, so that none is sent twice. A repeat is harmless.
MAX_DROPS = 1_000


class SessionFlags(TypedDict, total=False):
    """What can be marked about a session."""

    draining: bool
    welcomed: bool
    is_responsive: bool


@dataclass(slots=True)
class UnansweredCommand:
    """A command that was sent and is not answered: no more of it than may be needed, and no config."""

    key: tuple[int, int]
    sent_at: float
    # What is sent again if it is not answered: a pause or cancel.
    resend: Command | None = None
    # What a resume was to continue from.
    held_attempt: int | None = None


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
        self.is_responsive = True
        self.link = link
        self.since = utc_now()
        # What was sent and is not answered, by command id: of attempts that are not over.
        self._unanswered: dict[str, UnansweredCommand] = {}
        self._unanswered_of: dict[tuple[int, int], list[str]] = {}
        # Attempts that it was asked to pause or cancel, until they are over or paused.
        self._asked_to_stop: set[tuple[int, int]] = set()
        # Drops that were sent and are not answered, the oldest first.
        self._drops: dict[str, None] = {}

    @property
    def accepts_work(self) -> bool:
        """Whether it may be sent a start."""
        return self.welcomed and self.is_responsive and not self.draining

    def set_flags(self, **flags: Unpack[SessionFlags]) -> None:
        """Note what has changed about it: see the attributes."""
        if any(getattr(self, name) is not value for name, value in flags.items()):
            for name, value in flags.items():
                setattr(self, name, value)
            self.on_change()

    @property
    def unanswered(self) -> int:
        """How many commands are remembered because they are not answered."""
        return len(self._unanswered) + len(self._drops)

    def deliver(self, commands: Iterable[Command]) -> None:
        """Send commands, each once until it is answered or has been silent for long."""
        new: list[Command] = []
        for command in commands:
            if command.command_id not in self._unanswered and command.command_id not in self._drops:
                new += [command, *self._dropped_with(command)]
                self._remember(command)
        if new:
            self.link.send(new)

    def mark_answered(self, command_id: str) -> UnansweredCommand | None:
        """Note that the unit has answered a command. Returns what was sent, unless it was answered before."""
        self._drops.pop(command_id, None)
        sent = self._unanswered.pop(command_id, None)
        if sent:
            others = self._unanswered_of[sent.key]
            others.remove(command_id)
            if not others:
                del self._unanswered_of[sent.key]
        return sent

    def is_asked_to_stop(self, key: tuple[int, int]) -> bool:
        """Whether a pause or cancel of the attempt was sent, answered or not."""
        return key in self._asked_to_stop

    def attempt_paused(self, key: tuple[int, int]) -> None:
        """Take a pause for the answer to all that was asked of an attempt, but a cancel."""
        self._asked_to_stop.discard(key)
        for command_id in [*self._unanswered_of.get(key, ())]:
            resend = self._unanswered[command_id].resend
            if resend is None or not isinstance(resend.order, CancelOrder):
                self.mark_answered(command_id)

    def attempt_ended(self, key: tuple[int, int]) -> None:
        """Take the end of an attempt, however it came, for the answer to all that was asked of it."""
        self._asked_to_stop.discard(key)
        for command_id in [*self._unanswered_of.get(key, ())]:
            self.mark_answered(command_id)

    def resend_unanswered(self, sent_before: float) -> None:
        """Send pauses and cancels again that were sent before a time, and are not answered."""
        if not self._unanswered:
            return  # as it is with nearly all of thousands of units
        late = [sent for sent in self._unanswered.values() if sent.resend and sent.sent_at < sent_before]
        for sent in late:
            sent.sent_at = monotonic()
        if commands := [sent.resend for sent in late if sent.resend]:
            log.warning("unit %s has not answered %s", self.unit_id, [each.command_id for each in commands])
            self.link.resend(commands)

    def _remember(self, command: Command) -> None:
        match command.order:
            case DropOrder():
                self._drops[command.command_id] = None
                if len(self._drops) > MAX_DROPS:
                    del self._drops[next(iter(self._drops))]
                return
            case PauseOrder() | CancelOrder():
                sent = UnansweredCommand(command.key, monotonic(), resend=command)
                self._asked_to_stop.add(command.key)
            case ResumeOrder(held_attempt):
                sent = UnansweredCommand(command.key, monotonic(), held_attempt=held_attempt)
            case _:
                sent = UnansweredCommand(command.key, monotonic())
        self._unanswered[command.command_id] = sent
        self._unanswered_of.setdefault(command.key, []).append(command.command_id)

    def _dropped_with(self, command: Command) -> Iterator[Command]:
        """Return the drop of the held attempt that a resume was to continue, if the resume is dropped unanswered."""
        if isinstance(command.order, DropOrder):
            start = self.mark_answered(start_id(*command.key))
            if start and start.held_attempt is not None:
                yield drop_command(command.task_id, start.held_attempt, command.order.reason)
