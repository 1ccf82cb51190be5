"""The gRPC connection to the server: its options, and what its errors mean."""

from typing import TypeVar, cast

import grpc
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc_status import rpc_status

from taskplane.unit.errors import UnitRejected

M = TypeVar("M", bound=Message)

# More than a server sends today: one of an earlier version may send larger commands.
MESSAGE_BYTES = 16 << 20

_OPTIONS = (
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    # Finds dead connections below the heartbeats; the server allows pings every 10 s.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # A stream that a stopping server refuses and that gRPC then repeats by itself may never end for its reader.
    ("grpc.enable_retries", 0),
    # A new channel shall be a new connection, without the backoff that the old one had come to.
    ("grpc.use_local_subchannel_pool", 1),
)

# Coming back would not help: a person must change something.
_FATAL = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION)


def open_channel(server: str) -> grpc.Channel:
    """Opens a channel to HOST:PORT; it connects when it is first used."""
    return grpc.insecure_channel(server, options=_OPTIONS)


def fatal_error(error: grpc.RpcError) -> UnitRejected | None:
    """What ends the unit, if this status does; None after a break, from which it comes back."""
    code, text = error.code(), error.details() or ""
    if code in _FATAL:
        return UnitRejected(f"the server refuses this unit: {code.name}: {_with_fields(text, error)}")
    return None


def is_id_taken(error: grpc.RpcError) -> bool:
    """Whether another process has the unit's id: it answers, or has taken over from this one, which was silent."""
    code = error.code()
    is_superseded = code == grpc.StatusCode.ABORTED and _reason(error) == "SESSION_SUPERSEDED"
    return is_superseded or code == grpc.StatusCode.ALREADY_EXISTS


def _with_fields(text: str, error: grpc.RpcError) -> str:
    violations = _detail(error, BadRequest()).field_violations
    fields = "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
    return f"{text} ({fields})" if fields else text


def _reason(error: grpc.RpcError) -> str:
    return str(_detail(error, ErrorInfo()).reason)


def _detail(error: grpc.RpcError, wanted: M) -> M:
    """Fills `wanted` from the status's details; leaves it empty if there is no such detail."""
    # Whoever raises an RpcError while a call runs raises the call itself.
    status = rpc_status.from_call(cast("grpc.Call", error))
    for detail in status.details if status is not None else ():
        if detail.Unpack(wanted):
            break
    return wanted
