"""A unit without a stream on gRPC: the server drives it over HTTP, and it registers and reports by gRPC calls."""

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import grpc

from taskplane.unit.http.connection import HttpAddresses, HttpConnection
from taskplane.unit.http.documents import callback
from taskplane.unit.http.rest_client import ServerUnreachable
from taskplane.unit.lease import now
from taskplane.unit.reports import key_of
from taskplane.unit.stream.channel import open_channel
from taskplane.v1.execution_unit_control_pb2 import (
    HeartbeatRequest,
    ProgressReport,
    RegisterUnitRequest,
    Report,
    ReportTaskStatusRequest,
    Verdict,
    VerdictAction,
)
from taskplane.v1.execution_unit_control_pb2_grpc import ExecutionUnitControlStub
from taskplane.v1.execution_unit_pb2 import EXECUTION_UNIT_STATUS_OFFLINE

logger = logging.getLogger("robustness.unary")

_CALL_SECONDS = 5.0
# After these codes the call is repeated.
_PASSING = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    # Its own earlier process may still count as alive.
    grpc.StatusCode.ALREADY_EXISTS,
)

T = TypeVar("T")


class UnaryLink(HttpConnection):
    """The SDK's link over HTTP, with gRPC calls for reports."""

    def __init__(self, server: str, port: int, *args: Any, **options: Any) -> None:
        super().__init__(HttpAddresses("http://unused", "127.0.0.1", port), *args, **options)
        self._stub = ExecutionUnitControlStub(open_channel(server))

    def _register(self) -> float:
        hello = self._introduction
        request = RegisterUnitRequest(
            unit_id=hello.unit_id,
            unit_type=hello.unit_type,
            unit_name=hello.unit_name,
            capacity=hello.capacity,
            endpoint=self._endpoint,
            task_types=hello.task_types,
            labels=hello.labels,
        )
        response = _called(lambda: self._stub.RegisterUnit(request, timeout=_CALL_SECONDS))
        self._heartbeat_seconds = response.heartbeat_interval.ToMilliseconds() / 1000
        self._is_registered = True
        logger.info("unary: registered as unit_id=%s", response.unit.id)
        return response.lease_duration.ToMilliseconds() / 1000

    def _heartbeat(self) -> bool:
        capacity = 0 if self._is_draining else self._introduction.capacity
        self._must_announce_drain = False
        request = HeartbeatRequest(unit_id=self._introduction.unit_id, capacity=capacity)
        try:
            response = _called(lambda: self._stub.Heartbeat(request, timeout=_CALL_SECONDS))
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return False  # the unit registers again
            raise
        if response.unit.status == EXECUTION_UNIT_STATUS_OFFLINE:
            self._on_drain(None)
        return True

    def _send_report(self, report: Report) -> None:
        if callback(report) is None:
            return  # answered by the response to the server's request
        sent_at = now()
        verdict = self._report(report)
        if verdict.action == VerdictAction.VERDICT_ACTION_DROP:
            self._registry.drop(key_of(report), verdict.drop_reason)
        self._lease.extend(sent_at)

    def _post_status(self, task_id: int, said: dict[str, Any]) -> Verdict:
        """Ask for the verdict on an attempt, by a repeated progress report."""
        report = Report(task_id=task_id, attempt=said["attempt"], progress=ProgressReport())
        if (held := self._registry.find(key_of(report))) is not None:
            report.progress.CopyFrom(held.paused_report().progress)
        return self._report(report)

    def _report(self, report: Report) -> Verdict:
        request = ReportTaskStatusRequest(unit_id=self._introduction.unit_id, report=report)
        request.report.ClearField("sequence")
        try:
            return _called(lambda: self._stub.ReportTaskStatus(request, timeout=_CALL_SECONDS)).verdict
        except grpc.RpcError as error:
            # The task is deleted, or the unit was drained.
            if error.code() in {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION}:
                drop = VerdictAction.VERDICT_ACTION_DROP
                return Verdict(task_id=report.task_id, attempt=report.attempt, action=drop)
            raise


def _called(call: Callable[[], T]) -> T:
    try:
        return call()
    except grpc.RpcError as error:
        if error.code() in _PASSING:
            raise ServerUnreachable(f"{error.code().name}: {error.details()}") from error
        raise
