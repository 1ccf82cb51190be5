"""Outages of the database in the log and in readiness: the cause at once, then every minute, then that it is over."""

import logging
import threading
from enum import Enum

from sqlalchemy.exc import DBAPIError

from taskplane.server.core.clock import monotonic
from taskplane.server.store.dialects.dialect import ErrorKind
from taskplane.server.store.driver_errors import is_kind, is_outage

log = logging.getLogger(__name__)

# How often the cause of an outage that lasts is logged.
REMINDER_SECONDS = 60.0
# How long a write that failed counts against the renewal of the lease, which works: a full disk may have room for that.
# Then other writes are let come, and tell.
DOUBT_SECONDS = 5.0


class Source(Enum):
    """Kinds of work, noted apart: one may work while another does not."""

    READ = "read"
    WRITE = "write"
    LEASE = "lease"


class Outage:
    """One way to the database, which is there or not. May be used from several threads."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._lock = threading.Lock()
        self._refusals = _Refusals()
        # When each source failed last.
        self._failed_at: dict[Source, float] = {}
        self._began_at = 0.0
        self._logged_at = 0.0
        # Why it is not there; empty while it is.
        self.cause = ""
        # When a session was not let do something, by `core.clock.monotonic`.
        self.denied_at = 0.0

    def failed(self, source: Source, error: BaseException | str) -> None:
        """Note that work has failed. What concerns one transaction alone is no outage, except for the lease."""
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
        """Note that work was done."""
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
    """Errors that concern one transaction each: of each code the first is logged, then one a minute with the number."""

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
