"""The outbox, shared between the threads that report and the session that sends."""

import threading
from collections.abc import Callable

from taskplane.unit.outbox import Outbox
from taskplane.unit.reports import AttemptKey
from taskplane.v1.execution_unit_control_pb2 import Report


class Postbox:
    """A thread-safe Outbox that a session can wait on.

    Executors post from any thread; one session at a time collects. Its lock is taken last and held briefly:
    what it calls back from under it, `urgent` and `callback`, must not wait for anything.
    """

    def __init__(self) -> None:
        self._outbox = Outbox()
        self._changed = threading.Condition()
        self._session = 0
        self._on_empty: Callable[[], object] | None = None

    @property
    def has_unsent(self) -> bool:
        """Whether there are reports that the current session has not sent. May be asked by `urgent`."""
        with self._changed:
            return self._outbox.has_unsent

    def post(self, report: Report) -> None:
        """Hands in a report. It is kept until acknowledged, over any number of sessions."""
        with self._changed:
            self._outbox.add(report)
            self._changed.notify_all()

    def forget(self, key: AttemptKey) -> None:
        """Removes all reports of an attempt."""
        with self._changed:
            self._outbox.forget(key)
            self._changed.notify_all()
            self._tell_if_empty()

    def acknowledge(self, sequence: int) -> list[Report]:
        """Forgets and returns what the current session sent up to `sequence`."""
        with self._changed:
            acknowledged = self._outbox.acknowledge(sequence)
            self._changed.notify_all()
            self._tell_if_empty()
            return acknowledged

    def open(self) -> int:
        """Begins a session, to which all unacknowledged reports are to be sent again; returns its ticket."""
        with self._changed:
            self._session += 1
            self._outbox.begin_session()
            return self._session

    def close(self) -> None:
        """Ends the session: its ticket collects nothing more."""
        with self._changed:
            self._session += 1
            self._changed.notify_all()

    def nudge(self) -> None:
        """Makes a waiting `collect` look at its `urgent` again."""
        with self._changed:
            self._changed.notify_all()

    def collect(self, ticket: int, urgent: Callable[[], bool], timeout_seconds: float) -> list[Report] | None:
        """Waits until something may be sent, `urgent()`, or the time has passed; returns the reports, None if closed.

        The ticket is checked and the reports are taken in one step, so that a dead session, whose sending thread may
        wake up late, cannot take what belongs to the next one.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: ticket != self._session or self._outbox.can_send or urgent(), timeout_seconds
            )
            return self._outbox.take() if ticket == self._session else None

    def call_when_empty(self, callback: Callable[[], object]) -> None:
        """Calls back once, from whichever thread, when everything is acknowledged; at once if it is already."""
        with self._changed:
            self._on_empty = callback
            self._tell_if_empty()

    def _tell_if_empty(self) -> None:
        if not len(self._outbox) and self._on_empty is not None:
            self._on_empty()
            self._on_empty = None
