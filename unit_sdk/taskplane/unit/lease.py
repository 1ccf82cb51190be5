"""The unit's view of its lease: a lower bound of how long the server considers the unit alive."""

import math
import threading
import time
from collections.abc import Callable

# Used until Welcome names other values.
HEARTBEAT_SECONDS = 5.0
LEASE_SECONDS = 30.0
# A heartbeat is sent after this part of the interval, so that the answer arrives within the interval.
HEARTBEAT_FRACTION = 0.8
# The part of the lease before whose end the unit stops its attempts: clocks drift, and executors reach their next safe
# point only after some time.
_MARGIN = 0.2
# Seconds after which the server revokes a start without a response.
ACCEPT_SECONDS = 5.0


def now() -> float:
    """Return seconds on a clock that also runs while the machine is suspended, where the system has one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Lease:
    """The time until which attempts may run. Thread-safe.

    The lease counts from when a message was *sent* that the server has received, so it ends before the server's own
    count, which starts when the message arrives. There is no lease before the first Welcome.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._renewed_at: float | None = None
        self._duration = LEASE_SECONDS
        # The last result of `wait_for_change`, and whether the lease was found over since.
        self._was_valid = True
        self._has_lapsed = False

    @property
    def duration(self) -> float | None:
        """Seconds of a lease at the server; None before the first Welcome."""
        with self._changed:
            return None if self._renewed_at is None else self._duration

    def renew(self, sent_at: float, duration: float | None = None) -> None:
        """Renew the lease by a message that was sent at `sent_at`; Welcome also names the duration."""
        with self._changed:
            self._duration = duration or self._duration
            self._renewed_at = max(sent_at, self._renewed_at or sent_at)
            self._changed.notify_all()

    def extend(self, sent_at: float) -> bool:
        """Renew a lease that is not over; return False if it is over.

        After its end the server may have given attempts to other units. Only `renew` starts another lease, after the
        server has sent a verdict on each attempt.
        """
        with self._changed:
            is_over = self._seconds_left() <= 0
            if not is_over:
                self.renew(sent_at)
            return not is_over

    def end(self) -> None:
        """End the lease: another process has the unit's id, and the server has given the attempts away."""
        with self._changed:
            if self._renewed_at is not None:
                self._renewed_at = -math.inf
                self._changed.notify_all()

    def is_fresh(self) -> bool:
        """Return whether the last contact is so recent that the server cannot have revoked a start received now."""
        with self._changed:
            age = 0.0 if self._renewed_at is None else now() - self._renewed_at
            return age < min(ACCEPT_SECONDS, self._duration * (1 - _MARGIN))

    def is_over(self) -> bool:
        """Return whether attempts must be held now; `wait_for_change` then returns False, even after a renewal."""
        with self._changed:
            if self._was_valid and self._seconds_left() <= 0:
                self._has_lapsed = True
                self._changed.notify_all()
            return not self._is_valid()

    def wait_for_change(self, until: Callable[[], bool]) -> bool:
        """Wait until the lease starts or ends, or `until()` is true; return whether the lease is valid."""
        with self._changed:
            while not until() and self._is_valid() == self._was_valid:
                self._changed.wait(self._seconds_left() if self._was_valid else None)
            self._was_valid = self._is_valid()
            self._has_lapsed = False
            return self._was_valid

    def wake(self) -> None:
        """Make a waiting `wait_for_change` call its `until` again."""
        with self._changed:
            self._changed.notify_all()

    def _is_valid(self) -> bool:
        return self._seconds_left() > 0 and not self._has_lapsed

    def _seconds_left(self) -> float:
        """Return the seconds for which attempts may run; 0 or less when they must be held."""
        renewed_at = now() if self._renewed_at is None else self._renewed_at
        return renewed_at + self._duration * (1 - _MARGIN) - now()


class LeaseTracker:
    """Renews the lease by the acknowledgements of one session. Thread-safe.

    Remembers only the latest message of each kind; acknowledgements of earlier ones prove less and are ignored.
    """

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._lock = threading.Lock()
        self._heartbeats = 0
        self._heartbeat_at: float | None = None
        self._reports: tuple[int, float] | None = None
        self._hello_at = now()

    def heartbeat_sent(self) -> int:
        """Return the number for a heartbeat that is sent now."""
        with self._lock:
            self._heartbeats += 1
            self._heartbeat_at = now()
            return self._heartbeats

    def reports_sent(self, last_sequence: int) -> None:
        """Record that reports up to this sequence are sent now."""
        with self._lock:
            self._reports = (last_sequence, now())

    def welcomed(self, lease_seconds: float) -> None:
        """Renew the lease by Hello, which is answered."""
        self._lease.renew(self._hello_at, lease_seconds)

    def acknowledged(self, sequence: int, heartbeat: int) -> None:
        """Renew the lease by the messages that an Ack covers."""
        with self._lock:
            if self._reports and sequence >= self._reports[0]:
                self._lease.renew(self._reports[1])
                self._reports = None
            if self._heartbeat_at is not None and heartbeat >= self._heartbeats:
                self._lease.renew(self._heartbeat_at)
                self._heartbeat_at = None
