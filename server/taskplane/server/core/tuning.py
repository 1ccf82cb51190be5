"""Times that are tuned in the code, not by operators: one value for the whole server."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """The tuned times, in seconds. The composition root hands the same instance to each part; tests make their own."""

    # Time for a process to respond to a probe. Afterwards the process loses its unit id.
    probe_seconds: float = 2.0
    # Interval of the checks of leases: a lost unit is detected at most this late.
    lease_check_seconds: float = 0.5
    # Time to accept a start. After the same time, an unanswered pause or cancel is sent again.
    accept_seconds: float = 5.0
    # Time for the hello of a unit that has opened a stream.
    hello_seconds: float = 10.0
    # Unacknowledged reports of one stream. Above this number the stream is not read until some reports are durable.
    max_unacknowledged: int = 1000
    # Interval at which the lease of an unread unit is extended; well below any lease.
    unread_seconds: float = 0.2
    # Wait before reports are submitted again after an outage of the database.
    report_retry_seconds: float = 0.5
    # A watch without events for this time receives a keepalive.
    keep_alive_seconds: float = 15.0
    # Interval of the renewals of the server's own lease: a replaced server learns of its replacement at most this late.
    renew_seconds: float = 1.0
    # After a longer renewal the database counts as unavailable, until the renewal ends.
    renewal_response_seconds: float = 5.0
    # A response that arrived while the event loop was blocked is found within this time.
    late_response_seconds: float = 0.5
    # Interval of the purges of old rows.
    purge_seconds: float = 60.0
    # A watch that resumes within this time receives the missed deletions.
    deletions_kept: timedelta = timedelta(days=2)


DEFAULT_TUNING = Tuning()
