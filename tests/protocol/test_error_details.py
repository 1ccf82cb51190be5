from typing import cast

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from taskplane.protocol.error_details import details_of
from taskplane.protocol.errors import ErrorDetails, FieldViolation


class FailedCall(grpc.RpcError):
    def __init__(self, *details: Message) -> None:
        status = Status(code=grpc.StatusCode.INVALID_ARGUMENT.value[0], message="no")
        for detail in details:
            status.details.add().Pack(detail)
        self._metadata = (("grpc-status-details-bin", status.SerializeToString()),) if details else ()

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.INVALID_ARGUMENT

    def details(self) -> str:
        return "no"

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:  # type: ignore[override]  # the stub's type is private
        return self._metadata


def test_every_detail_of_an_error_is_found() -> None:
    details = (
        ErrorInfo(reason="INVALID_FIELDS", domain="taskplane", metadata={"a": "b"}),
        BadRequest(field_violations=[BadRequest.FieldViolation(field="task.priority", description="too high")]),
        RetryInfo(retry_delay=Duration(seconds=1, nanos=500_000_000)),
    )
    assert details_of(FailedCall(*(cast("Message", each) for each in details))) == ErrorDetails(
        "INVALID_FIELDS", {"a": "b"}, (FieldViolation("task.priority", "too high"),), 1.5
    )


def test_an_error_without_details_has_none() -> None:
    assert details_of(FailedCall()) == ErrorDetails()
