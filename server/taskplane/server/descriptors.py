"""The limit of open files, divided between the connections of both APIs."""

import logging
import resource
from dataclasses import dataclass

log = logging.getLogger(__name__)

# Upper bound of the limit. Some systems allow a billion, which the server cannot use.
_ENOUGH = 65_536
# Files for everything else: listeners, event loop, log, database, HTTP units, and HTTP connections above the limit,
# which receive an error.
_RESERVED = 160


@dataclass(frozen=True, slots=True)
class ConnectionBudget:
    """Maximum number of connections of each API."""

    http: int
    grpc: int


def connection_budget(wanted_http: int) -> ConnectionBudget:
    """Raise the limit of open files as far as allowed, and divide it; HTTP gets what it wants, at most half."""
    return share(_raised_limit(), wanted_http)


def share(limit: int, wanted_http: int) -> ConnectionBudget:
    """Divide a limit of open files."""
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
