"""The limit of open files, and how the connections share it: none may use up what the others need."""

import logging
import resource
from dataclasses import dataclass

log = logging.getLogger(__name__)

# More than the server is meant for. Some systems allow a billion.
_ENOUGH = 65_536
# Listeners, the event loop, the log, the database's connections and files, units that are driven over HTTP, and the
# HTTP connections beyond the most, which are told so.
_RESERVED = 160


@dataclass(frozen=True, slots=True)
class ConnectionBudget:
    """How many connections each API may have."""

    http: int
    grpc: int


def connection_budget(wanted_http: int) -> ConnectionBudget:
    """Raise the limit of open files as far as allowed, and share it out; HTTP gets half at most, and what it wants."""
    return share(_raised_limit(), wanted_http)


def share(limit: int, wanted_http: int) -> ConnectionBudget:
    """Share a limit out."""
    left = max(limit - _RESERVED, 2)
    http = min(wanted_http, left // 2)
    if http < wanted_http:
        log.warning(
            "the limit of %d open files allows %d HTTP connections instead of %d, and %d by gRPC; raise it (ulimit -n)",
            limit,
            http,
            wanted_http,
            left - http,
        )
    return ConnectionBudget(http, left - http)


def _raised_limit() -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return _ENOUGH if soft == resource.RLIM_INFINITY else soft
