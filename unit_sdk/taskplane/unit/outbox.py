"""The reports that the server has not acknowledged."""

import itertools
from collections import OrderedDict

from taskplane.unit.reports import AttemptKey, key_of
from taskplane.v1.execution_unit_control_pb2 import Report

# The server takes 4 MiB and more in a message; many small reports fill this, a single one may exceed it.
_FULL_MESSAGE_BYTES = 1 << 20
# While 1,000 reports wait for its database, the server reads nothing more, and heartbeats shall never be behind them.
WINDOW = 500


class Outbox:
    """Keeps every report until it is acknowledged, and numbers it when it is taken to be sent.

    Only progress is ever replaced, by newer progress of the same attempt. So what it holds is bounded by what the
    attempts do between two acknowledgements. No more than `window` are on the wire unacknowledged; the rest waits.
    Pure; not thread-safe.
    """

    def __init__(self, window: int = WINDOW) -> None:
        self._window = window
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
        """Whether something waits to be sent, if only for room on the wire."""
        return bool(self._unsent)

    @property
    def can_send(self) -> bool:
        """Whether `take` would return something."""
        return bool(self._unsent) and self._has_room

    def add(self, report: Report) -> None:
        """Appends a report that is to be sent."""
        position = next(self._positions)
        if report.HasField("progress"):
            self._replace_progress(key_of(report), position)
        self._unsent[position] = report

    def take(self) -> list[Report]:
        """Numbers and returns the reports to send next: all there is room for, or as many as fill a message."""
        taken: list[Report] = []
        size = 0
        while self.can_send:
            position, report = next(iter(self._unsent.items()))
            size += report.ByteSize()
            if taken and size > _FULL_MESSAGE_BYTES:
                break
            self._sequence += 1
            report.sequence = self._sequence
            self._sent[position] = self._unsent.pop(position)
            taken.append(report)
        return taken

    def acknowledge(self, sequence: int) -> list[Report]:
        """Forgets and returns what was sent in this session up to `sequence`."""
        self._acknowledged = max(sequence, self._acknowledged)
        acknowledged: list[Report] = []
        while self._sent:
            position, report = next(iter(self._sent.items()))
            if report.sequence > sequence:
                break
            self._remove(position)
            acknowledged.append(report)
        return acknowledged

    def begin_session(self) -> None:
        """Makes everything unsent again, in its order, to be numbered from 1."""
        self._unsent = self._sent | self._unsent
        self._sent = OrderedDict()
        self._sequence = self._acknowledged = 0

    def forget(self, key: AttemptKey) -> None:
        """Removes all reports of an attempt that is not the unit's any more."""
        for position, report in [*self._sent.items(), *self._unsent.items()]:
            if key_of(report) == key:
                self._remove(position)

    @property
    def _has_room(self) -> bool:
        # By number: what was sent and then replaced or forgotten here is on the wire all the same.
        return self._sequence - self._acknowledged < self._window

    def _replace_progress(self, key: AttemptKey, position: int) -> None:
        if (older := self._progress.get(key)) is not None:
            self._remove(older)
        self._progress[key] = position

    def _remove(self, position: int) -> None:
        report = self._sent.pop(position, None) or self._unsent.pop(position)
        if self._progress.get(key_of(report)) == position:
            del self._progress[key_of(report)]
