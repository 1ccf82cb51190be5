"""The unit's reports on their way to the server: kept until acknowledged, sent again in every new session."""

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable

from taskplane.unit.reports import AttemptKey, key_of
from taskplane.v1.execution_unit_control_pb2 import Report

# Bytes. Many small reports fill one message up to this size; a single report may exceed it. The server accepts 4 MiB.
_FULL_MESSAGE_BYTES = 1 << 20
# Reports that may be sent and unacknowledged. The server stops reading at 1,000, and heartbeats must never wait there.
WINDOW_SIZE = 500


class ReportQueue:
    """A thread-safe queue of reports, filled by executors and emptied by one session at a time.

    The queue's lock is taken last and held briefly: callbacks made under it (`is_urgent`, `call_when_empty`) must not
    wait.
    """

    def __init__(self) -> None:
        self._window = SendWindow()
        self._changed = threading.Condition()
        self._session = 0
        self._on_empty: Callable[[], object] | None = None

    @property
    def has_unsent(self) -> bool:
        """Whether the current session has reports to send. May be read by `is_urgent`."""
        with self._changed:
            return self._window.has_unsent

    def put(self, report: Report) -> None:
        """Add a report, which is kept over any number of sessions until the server acknowledges it."""
        with self._changed:
            self._window.add(report)
            self._changed.notify_all()

    def discard(self, key: AttemptKey) -> None:
        """Remove all reports of an attempt."""
        with self._changed:
            self._window.discard(key)
            self._changed.notify_all()
            self._notify_if_empty()

    def acknowledge(self, sequence: int) -> list[Report]:
        """Remove and return the reports that the current session sent up to `sequence`."""
        with self._changed:
            acknowledged = self._window.acknowledge(sequence)
            self._changed.notify_all()
            self._notify_if_empty()
            return acknowledged

    def begin_session(self) -> int:
        """Make all unacknowledged reports unsent, and return the new session's number for `take`."""
        with self._changed:
            self._session += 1
            self._window.restart()
            return self._session

    def end_session(self) -> None:
        """End the session: `take` returns None to it from now on."""
        with self._changed:
            self._session += 1
            self._changed.notify_all()

    def wake(self) -> None:
        """Make a waiting `take` call its `is_urgent` again."""
        with self._changed:
            self._changed.notify_all()

    def take(self, session: int, is_urgent: Callable[[], bool], timeout_seconds: float) -> list[Report] | None:
        """Wait for reports to send, `is_urgent()` or the timeout; return the reports, None if the session is over.

        The session is checked and the reports are taken in one step: the sending thread of an old session may wake up
        late, and must not take reports of the next session.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: session != self._session or self._window.can_send or is_urgent(), timeout_seconds
            )
            return self._window.take() if session == self._session else None

    def call_when_empty(self, callback: Callable[[], object]) -> None:
        """Call back once, from any thread, when every report is acknowledged; at once if none is left."""
        with self._changed:
            self._on_empty = callback
            self._notify_if_empty()

    def _notify_if_empty(self) -> None:
        if not len(self._window) and self._on_empty is not None:
            self._on_empty()
            self._on_empty = None


class SendWindow:
    """Unacknowledged reports in their order, numbered when they are taken to be sent. Not thread-safe.

    Newer progress replaces older progress of the same attempt; every other report is kept until acknowledged. At most
    `size` sent reports may be unacknowledged; the others wait.
    """

    def __init__(self, size: int = WINDOW_SIZE) -> None:
        self._size = size
        self._positions = itertools.count()
        self._unsent: OrderedDict[int, Report] = OrderedDict()
        self._sent: OrderedDict[int, Report] = OrderedDict()
        self._progress: dict[AttemptKey, int] = {}
        self._sequence = 0
        self._acknowledged = 0

    def __len__(self) -> int:
        return len(self._sent) + len(self._unsent)

    @property
    def has_unsent(self) -> bool:
        """Whether reports are unsent, with or without room to send them."""
        return bool(self._unsent)

    @property
    def can_send(self) -> bool:
        """Whether `take` would return any report."""
        return bool(self._unsent) and self._has_room

    def add(self, report: Report) -> None:
        """Append an unsent report."""
        position = next(self._positions)
        if report.HasField("progress"):
            key = key_of(report)
            if (older := self._progress.get(key)) is not None:
                self._remove(older)
            self._progress[key] = position
        self._unsent[position] = report

    def take(self) -> list[Report]:
        """Take the next reports and number them: as many as the window and one message have room for."""
        taken: list[Report] = []
        message_bytes = 0
        while self.can_send:
            position, report = next(iter(self._unsent.items()))
            message_bytes += report.ByteSize()
            if taken and message_bytes > _FULL_MESSAGE_BYTES:
                break
            self._sequence += 1
            report.sequence = self._sequence
            self._sent[position] = self._unsent.pop(position)
            taken.append(report)
        return taken

    def acknowledge(self, sequence: int) -> list[Report]:
        """Remove and return the reports of this session up to `sequence`."""
        self._acknowledged = max(sequence, self._acknowledged)
        acknowledged: list[Report] = []
        while self._sent:
            position, report = next(iter(self._sent.items()))
            if report.sequence > sequence:
                break
            self._remove(position)
            acknowledged.append(report)
        return acknowledged

    def restart(self) -> None:
        """Make every report unsent again, in its order, for a session that numbers from 1."""
        self._unsent = self._sent | self._unsent
        self._sent = OrderedDict()
        self._sequence = self._acknowledged = 0

    def discard(self, key: AttemptKey) -> None:
        """Remove all reports of an attempt that the unit no longer holds."""
        for position, report in [*self._sent.items(), *self._unsent.items()]:
            if key_of(report) == key:
                self._remove(position)

    @property
    def _has_room(self) -> bool:
        # Counted by sequence: a report that was replaced or discarded after it was sent still occupies the wire.
        return self._sequence - self._acknowledged < self._size

    def _remove(self, position: int) -> None:
        report = self._sent.pop(position, None) or self._unsent.pop(position)
        if self._progress.get(key_of(report)) == position:
            del self._progress[key_of(report)]
