"""The unit's own view of its lease: how long the server certainly takes it for alive."""

import math
import threading
import time
from collections.abc import Callable

# If Welcome does not say.
HEARTBEAT_SECONDS = 5.0
LEASE_SECONDS = 30.0
# The unit stops this part of the lease before the server gives its tasks away: clocks drift, and executors reach
# their next safe point only after a while.
_MARGIN = 0.2
# The server takes a start back that is not answered for so long.
ACCEPT_SECONDS = 5.0


def now() -> float:
    """Seconds on a clock that goes on while the machine is suspended, where there is one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Lease:
    """Counts from when a message was *sent* that the server is known to have received. Thread-safe.

    So it ends before the server's own count does, which begins when the message arrives. There is none before the
    first Welcome.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._renewed_at: float | None = None
        self._duration = LEASE_SECONDS
        # What `wait_for_change` returned last, and whether the lease has been found over since.
        self._was_valid = True
        self._has_lapsed = False

    @property
    def duration(self) -> float | None:
        """How many seconds a lease lasts at the server; None before the first Welcome."""
        with self._changed:
            return None if self._renewed_at is None else self._duration

    def renew(self, sent_at: float, duration: float | None = None) -> None:
        """A message that was sent at `sent_at` has arrived; Welcome also says how long leases are."""
        with self._changed:
            self._duration = duration or self._duration
            self._renewed_at = max(sent_at, self._renewed_at or sent_at)
            self._changed.notify_all()

    def extend(self, sent_at: float) -> bool:
        """Renews a lease that is not over, and returns whether it was not.

        When it is over, the server may have given attempts away, and hearing the unit again brings none of them back:
        only `renew` begins another lease, after the server has said what became of each attempt.
        """
        with self._changed:
            is_over = self._seconds_left() <= 0
            if not is_over:
                self.renew(sent_at)
            return not is_over

    def end(self) -> None:
        """The server has given away what the unit holds: another process has the unit's id. `renew` begins anew."""
        with self._changed:
            if self._renewed_at is not None:
                self._renewed_at = -math.inf
                self._changed.notify_all()

    def is_fresh(self) -> bool:
        """Whether the unit was in touch so lately that a start which it reads now cannot have been taken back."""
        with self._changed:
            age = 0.0 if self._renewed_at is None else now() - self._renewed_at
            return age < min(ACCEPT_SECONDS, self._duration * (1 - _MARGIN))

    def is_over(self) -> bool:
        """Whether attempts must be held now. `wait_for_change` tells of it too, even if it is renewed right after."""
        with self._changed:
            if self._was_valid and self._seconds_left() <= 0:
                self._has_lapsed = True
                self._changed.notify_all()
            return not self._is_valid()

    def wait_for_change(self, until: Callable[[], bool]) -> bool:
        """Waits until the lease begins or ceases to be valid, or `until()`; returns whether it is valid."""
        with self._changed:
            while not until() and self._is_valid() == self._was_valid:
                self._changed.wait(self._seconds_left() if self._was_valid else None)
            self._was_valid = self._is_valid()
            self._has_lapsed = False
            return self._was_valid

    def wake(self) -> None:
        """Makes whoever waits look again."""
        with self._changed:
            self._changed.notify_all()

    def _is_valid(self) -> bool:
        return self._seconds_left() > 0 and not self._has_lapsed

    def _seconds_left(self) -> float:
        """How long attempts may go on; not above 0 when they must be held."""
        renewed_at = now() if self._renewed_at is None else self._renewed_at
        return renewed_at + self._duration * (1 - _MARGIN) - now()


class Proof:
    """Which messages of one session the server has received, and so how long the lease is. Thread-safe.

    Only the latest message of each kind is remembered: an answer to an earlier one proves less, and is passed over.
    """

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._lock = threading.Lock()
        self._heartbeats = 0
        self._heartbeat_at: float | None = None
        self._reports: tuple[int, float] | None = None
        self._hello_at = now()

    def heartbeat(self) -> int:
        """Numbers a heartbeat that goes out now."""
        with self._lock:
            self._heartbeats += 1
            self._heartbeat_at = now()
            return self._heartbeats

    def reports(self, last_sequence: int) -> None:
        """Reports up to this sequence go out now."""
        with self._lock:
            self._reports = (last_sequence, now())

    def welcomed(self, lease_seconds: float) -> None:
        """Hello was answered."""
        self._lease.renew(self._hello_at, lease_seconds)

    def acknowledged(self, sequence: int, heartbeat: int) -> None:
        """Takes what an Ack proves."""
        with self._lock:
            if self._reports and sequence >= self._reports[0]:
                self._lease.renew(self._reports[1])
                self._reports = None
            if self._heartbeat_at is not None and heartbeat >= self._heartbeats:
                self._lease.renew(self._heartbeat_at)
                self._heartbeat_at = None
