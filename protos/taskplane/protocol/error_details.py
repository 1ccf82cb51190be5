"""Decoding of the google.rpc details in a gRPC error."""

from collections.abc import Sequence
from typing import TypeVar, cast

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc_status import rpc_status

from taskplane.protocol.errors import ErrorDetails, FieldViolation

Detail = TypeVar("Detail", bound=Message)


def details_of(error: grpc.RpcError) -> ErrorDetails:
    """Return the details that the server attached to an error, empty if there are none."""
    # gRPC raises the call itself as the error.
    status = rpc_status.from_call(cast("grpc.Call", error))
    details: Sequence[Any] = status.details if status else ()
    info = _find(details, ErrorInfo())
    retry = _find(details, RetryInfo())
    return ErrorDetails(
        reason=info.reason,
        metadata=dict(info.metadata),
        field_violations=tuple(
            FieldViolation(bad.field, bad.description) for bad in _find(details, BadRequest()).field_violations
        ),
        retry_delay=retry.retry_delay.ToTimedelta().total_seconds() if retry.HasField("retry_delay") else None,
    )


def _find(details: Sequence[Any], empty: Detail) -> Detail:
    """Fill `empty` from the first detail of its type."""
    for detail in details:
        if detail.Unpack(empty):
            break
    return empty
