"""A unit's session: one stream, or one registration of an HTTP unit."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypedDict, Unpack

from taskplane.server.core.clock import monotonic, utc_now
from taskplane.server.core.command import (
    AttemptKey,
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

# Unanswered drops that are remembered, so that none is sent twice. Above this number, the oldest may be repeated.
MAX_DROPS = 1_000


class SessionFlags(TypedDict, total=False):
    """The flags of a session; see the attributes of Session."""

    draining: bool
    welcomed: bool
    is_responsive: bool


@dataclass(slots=True)
class UnansweredCommand:
    """A command without a response, reduced to what a retry needs: no config."""

    key: AttemptKey
    sent_at: float
    # The pause or cancel to send again; None for other commands.
    resend: Command | None = None
    # The held attempt that a resume continues.
    held_attempt: int | None = None


class Session:
    """A unit's link, flags and unanswered commands."""

    def __init__(self, session_id: str, unit_id: str, boot_id: str, link: Link) -> None:
        # Called after a change of the flags.
        self.on_change: Callable[[], None] = lambda: None
        self.session_id = session_id
        self.unit_id = unit_id
        self.boot_id = boot_id
        self.draining = False
        # The inventory is reconciled and the welcome is queued, so the unit can receive work.
        self.welcomed = False
        # False after a start without response, until the next message: the unit gets no new work.
        self.is_responsive = True
        self.link = link
        self.since = utc_now()
        # Unanswered commands by command id, for attempts that are not over.
        self._unanswered: dict[str, UnansweredCommand] = {}
        self._unanswered_of: dict[AttemptKey, list[str]] = {}
        # Attempts with a pause or cancel, until they are paused or over.
        self._asked_to_stop: set[AttemptKey] = set()
        # Unanswered drops, the oldest first.
        self._drops: dict[str, None] = {}

    @property
    def accepts_work(self) -> bool:
        """Return True if the unit may receive a start."""
        return self.welcomed and self.is_responsive and not self.draining

    def set_flags(self, **flags: Unpack[SessionFlags]) -> None:
        """Set flags; calls `on_change` if one has changed."""
        if any(getattr(self, name) is not value for name, value in flags.items()):
            for name, value in flags.items():
                setattr(self, name, value)
            self.on_change()

    @property
    def unanswered(self) -> int:
        """Return the number of unanswered commands."""
        return len(self._unanswered) + len(self._drops)

    def deliver(self, commands: Iterable[Command]) -> None:
        """Send commands, except those that were sent and are unanswered."""
        new: list[Command] = []
        for command in commands:
            if command.command_id not in self._unanswered and command.command_id not in self._drops:
                new += [command, *self._drop_of_held(command)]
                self._remember(command)
        if new:
            self.link.send(new)

    def mark_answered(self, command_id: str) -> UnansweredCommand | None:
        """Mark a command as answered. Returns the command; None if it was answered before."""
        self._drops.pop(command_id, None)
        sent = self._unanswered.pop(command_id, None)
        if sent:
            others = self._unanswered_of[sent.key]
            others.remove(command_id)
            if not others:
                del self._unanswered_of[sent.key]
        return sent

    def is_asked_to_stop(self, key: AttemptKey) -> bool:
        """Return True if a pause or cancel of the attempt was sent, answered or not."""
        return key in self._asked_to_stop

    def attempt_paused(self, key: AttemptKey) -> None:
        """Mark all commands of a paused attempt as answered, except a cancel."""
        self._asked_to_stop.discard(key)
        for command_id in [*self._unanswered_of.get(key, ())]:
            resend = self._unanswered[command_id].resend
            if resend is None or not isinstance(resend.order, CancelOrder):
                self.mark_answered(command_id)

    def attempt_ended(self, key: AttemptKey) -> None:
        """Mark all commands of an ended attempt as answered."""
        self._asked_to_stop.discard(key)
        for command_id in [*self._unanswered_of.get(key, ())]:
            self.mark_answered(command_id)

    def resend_unanswered(self, sent_before: float) -> None:
        """Send unanswered pauses and cancels again that were sent before a time."""
        if not self._unanswered:
            return  # the usual case, for thousands of units
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

    def _drop_of_held(self, command: Command) -> Iterator[Command]:
        """Yield the drop of the held attempt that an unanswered, now dropped resume would have continued."""
        if isinstance(command.order, DropOrder):
            start = self.mark_answered(start_id(*command.key))
            if start and start.held_attempt is not None:
                yield drop_command(command.task_id, start.held_attempt, command.order.reason)
