"""Errors as callers see them: a status with its details, checked against the rules for all errors."""

import re
from collections.abc import Awaitable
from dataclasses import dataclass

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status


@dataclass(frozen=True)
class Refusal:
    code: grpc.StatusCode
    reason: str
    metadata: dict[str, str]
    # Names of the bad fields.
    fields: list[str]
    retry_delay_seconds: float | None
    message: str


async def refusal_of(call: Awaitable[object]) -> Refusal:
    """Make a call that must fail, and return its error."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return read_refusal(caught.value)


def read_refusal(error: grpc.aio.AioRpcError) -> Refusal:
    status = rpc_status.from_call(error)
    assert status is not None, f"{error.code()} without details: {error.details()}"
    info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    precondition, retry = error_details_pb2.PreconditionFailure(), error_details_pb2.RetryInfo()
    details: list[Message] = [info, bad_request, precondition, retry]
    for packed in status.details:
        assert any(packed.Unpack(detail) for detail in details), f"{packed.type_url} is no detail of ours"
    assert info.domain == "taskplane"
    assert re.fullmatch(r"[A-Z_]+", info.reason)
    fields = [violation.field for violation in bad_request.field_violations]
    assert all(violation.description for violation in bad_request.field_violations)
    assert bool(fields) == (error.code() is grpc.StatusCode.INVALID_ARGUMENT)
    is_precondition = error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert [each.type for each in precondition.violations] == [info.reason] * is_precondition
    delay = retry.retry_delay.ToTimedelta().total_seconds() if retry.HasField("retry_delay") else None
    return Refusal(error.code(), info.reason, dict(info.metadata), fields, delay, error.details() or "")
