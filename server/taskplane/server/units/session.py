"""A connected unit: one stream of it, or one registration of a unit without a stream."""

import asyncio
from collections.abc import Callable, Sequence

from taskplane.server.core.command import Command
from taskplane.server.units.links import Link


class _Told:
    """A yes or no about a session; whoever changes it tells `on_change`."""

    def __set_name__(self, _owner: type, name: str) -> None:
        self._name = f"_{name}"

    def __get__(self, session: "Session", _owner: type) -> bool:
        return bool(getattr(session, self._name))

    def __set__(self, session: "Session", value: bool) -> None:  # noqa: FBT001  (how Python sets attributes)
        if getattr(session, self._name, None) is not value:
            setattr(session, self._name, value)
            session.on_change()


class Session:
    """A unit's session: its link, and what was sent over it."""

    draining = _Told()
    # The welcome is on its way: the unit's inventory is settled, so it can be given work.
    welcomed = _Told()
    # It accepts what it is sent. One that does not gets nothing new until it is heard from again.
    is_answering = _Told()

    def __init__(self, session_id: str, unit_id: str, boot_id: str, link: Link) -> None:
        # Called when it may take work, or may not any more.
        self.on_change: Callable[[], None] = lambda: None
        self.session_id = session_id
        self.unit_id = unit_id
        self.boot_id = boot_id
        self.draining = False
        self.welcomed = False
        self.is_answering = True
        self.link = link
        self._sent: set[str] = set()
        # Set when the session is over.
        self.ended = asyncio.Event()

    @property
    def takes_work(self) -> bool:
        """Whether it may be sent a start."""
        return self.welcomed and self.is_answering and not self.draining

    def deliver(self, commands: Sequence[Command]) -> None:
        """Send commands, each once a session."""
        new = [command for command in commands if command.command_id not in self._sent]
        self._sent.update(command.command_id for command in new)
        if new:
            self.link.send(new)

    def answered(self, command_id: str) -> None:
        """Take that the unit has answered a command: it will not be sent again, so it need not be remembered."""
        self._sent.discard(command_id)
