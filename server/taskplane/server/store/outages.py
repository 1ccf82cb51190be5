"""Outages of the database in the log and in readiness: logged at the begin, every minute, and at the end."""

import logging
import threading
from enum import Enum

from sqlalchemy.exc import DBAPIError

from taskplane.server.core.clock import monotonic
from taskplane.server.store.dialects.dialect import ErrorKind
from taskplane.server.store.driver_errors import is_kind, is_outage

log = logging.getLogger(__name__)

# Interval of the log lines about a lasting outage.
REMINDER_SECONDS = 60.0
# A failed write outweighs successful renewals of the lease for this time: a full disk may have room for a renewal.
# Afterwards the outage counts as over, until a new write fails.
DOUBT_SECONDS = 5.0


class Source(Enum):
    """Kinds of work, recorded separately: one may succeed while another fails."""

    READ = "read"
    WRITE = "write"
    LEASE = "lease"


class Outage:
    """The availability of the database for reads or for writes. Thread-safe."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._lock = threading.Lock()
        self._refusals = _Refusals()
        # Time of the last failure of each source.
        self._failed_at: dict[Source, float] = {}
        self._began_at = 0.0
        self._logged_at = 0.0
        # Cause of the outage; empty without an outage.
        self.cause = ""
        # Time when the database last denied a session a right, by `core.clock.monotonic`.
        self.denied_at = 0.0

    def failed(self, source: Source, error: BaseException | str) -> None:
        """Record failed work. An error of one transaction alone is no outage, except for the lease."""
        if isinstance(error, DBAPIError):
            if source is not Source.LEASE and not is_outage(error):
                self._refusals.log(error)
                return
            if is_kind(error, ErrorKind.DENIED):
                self.denied_at = monotonic()
            error = error.orig or error
        now = monotonic()
        with self._lock:
            if not self.cause:
                self._began_at, self._logged_at = now, now - REMINDER_SECONDS
            self.cause = str(error) or type(error).__name__
            self._failed_at[source] = now
            if now - self._logged_at >= REMINDER_SECONDS:
                self._logged_at = now
                so_far = f" for {now - self._began_at:.0f} s now" if now > self._began_at else ""
                log.error("the database cannot be %s%s: %s", self._what, so_far, self.cause)

    def succeeded(self, source: Source) -> None:
        """Record successful work."""
        if not self.cause:
            return
        now = monotonic()
        with self._lock:
            self._failed_at.pop(source, None)
            if source is Source.LEASE:
                recent = {each: at for each, at in self._failed_at.items() if now - at < DOUBT_SECONDS}
                self._failed_at = recent
            if self.cause and not self._failed_at:
                self.cause = ""
                log.warning("the database can be %s again, after %.0f s", self._what, now - self._began_at)


class _Refusals:
    """Errors of single transactions: for each code, the first is logged, then one a minute with their number."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._logged_at: dict[object, float] = {}
        self._unlogged: dict[object, int] = {}

    def log(self, error: DBAPIError) -> None:
        code = error.orig.args[0] if error.orig and error.orig.args else type(error.orig).__name__
        now = monotonic()
        with self._lock:
            if now - self._logged_at.get(code, -REMINDER_SECONDS) < REMINDER_SECONDS:
                self._unlogged[code] = self._unlogged.get(code, 0) + 1
                return
            self._logged_at[code] = now
            more = self._unlogged.pop(code, 0)
        log.warning("the database could not do it%s: %s", f" (and {more} times before)" if more else "", error.orig)
