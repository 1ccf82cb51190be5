"""The gRPC channel of a unit: options, and the meaning of errors."""

import grpc

from taskplane.protocol.channel import CHANNEL_OPTIONS
from taskplane.protocol.error_details import details_of
from taskplane.protocol.errors import Reason
from taskplane.unit.errors import UnitRejected

_OPTIONS = (
    *CHANNEL_OPTIONS,
    # A new channel must open a new connection, without the backoff of the old one.
    ("grpc.use_local_subchannel_pool", 1),
)

# A reconnect would not help: a person must change something.
_FATAL = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION)


def open_channel(server: str) -> grpc.Channel:
    """Open a channel to HOST:PORT. The connection is made at the first use."""
    return grpc.insecure_channel(server, options=_OPTIONS)


def fatal_error(error: grpc.RpcError) -> UnitRejected | None:
    """Return the error for a unit that must end; None if the unit can reconnect."""
    code, text = error.code(), error.details() or ""
    if code in _FATAL:
        return UnitRejected(f"the server refuses this unit: {code.name}: {_with_fields(text, error)}")
    return None


def is_id_taken(error: grpc.RpcError) -> bool:
    """Return whether another process has the unit's id, alive or as the successor of this silent process."""
    code = error.code()
    is_superseded = code == grpc.StatusCode.ABORTED and details_of(error).reason == Reason.SESSION_SUPERSEDED
    return is_superseded or code == grpc.StatusCode.ALREADY_EXISTS


def _with_fields(text: str, error: grpc.RpcError) -> str:
    violations = details_of(error).field_violations
    fields = "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
    return f"{text} ({fields})" if fields else text
