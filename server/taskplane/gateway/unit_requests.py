"""Requests about units, in JSON."""

from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from taskplane.gateway.requests import PlainBody, PlainQueryString, UnitBody
from taskplane.gateway.schema import DOCUMENT_BODY_BYTES, JsonObject, Schema, Seconds, UnitId
from taskplane.gateway.task_requests import PAGE, WAIT, limit
from taskplane.server.core.documents import MAX_DOCUMENT_BYTES
from taskplane.server.core.task import TaskStatus
from taskplane.server.core.unit_report import Outcome, rounded_fraction
from taskplane.server.rpc.bounds import DEFAULT_PAGE
from taskplane.server.rpc.operation_requests import read_drain, read_unit_query
from taskplane.server.rpc.unit_requests import read_heartbeat, read_registration
from taskplane.v1 import execution_unit_control_pb2 as pb
from taskplane.v1 import operations_service_pb2 as operations_pb

# Bytes for a config of 64 KiB and a thousand task types, whatever their spaces.
UNIT_BODY_BYTES = 512 * 1024

REGISTER = PlainBody(
    pb.RegisterUnitRequest,
    read_registration,
    max_bytes=UNIT_BODY_BYTES,
    examples=[
        {
            "unitType": "DOCKER_CONTAINER",
            "unitName": "data-processor-1",
            "capacity": 5,
            "endpoint": "http://processor:8080",
            "config": {},
        }
    ],
)
HEARTBEAT = UnitBody(
    pb.HeartbeatRequest, read_heartbeat, hidden=("unit_id",), is_optional=True, examples=[{"capacity": 5}]
)
DRAIN = UnitBody(
    operations_pb.DrainUnitRequest,
    read_drain,
    hidden=("unit_id", "no_wait"),
    extras=(WAIT,),
    is_optional=True,
    examples=[{"timeoutSeconds": 60, "wait": False}],
)
LIST_UNITS = PlainQueryString(
    operations_pb.ListUnitsRequest,
    read_unit_query,
    hidden=("page_size", "page_token"),
    extras=(PAGE, limit(DEFAULT_PAGE)),
)


def _round_progress(value: Any) -> Any:
    """Round a fraction slightly outside of 0 to 1, such as a sum of fractions."""
    rounded = rounded_fraction(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    return value if rounded is None else rounded


_CALLBACK: dict[str, Any] = {"status": "SUCCESS", "result": {}, "errorMessage": None}


def _check_reportable(status: Any) -> Any:
    if status == "PENDING":
        raise ValueError("must not be PENDING, which only the server makes a task; a unit that has it reports RUNNING")
    return status


def _wrapped(result: Any) -> Any:
    return result if result is None or isinstance(result, dict) else {"value": result}


class StatusCallback(Schema):
    """A unit's report on an attempt: its end, or its progress."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                _CALLBACK,
                {"status": "RUNNING", "attempt": 1, "progress": 0.4, "message": "row 400", "checkpoint": {"row": 400}},
                {"status": "FAILED", "attempt": 1, "errorMessage": "no such file", "retryable": False},
            ]
        }
    )
    max_bytes = DOCUMENT_BODY_BYTES
    documents: ClassVar = {"result": MAX_DOCUMENT_BYTES, "checkpoint": MAX_DOCUMENT_BYTES}

    status: Annotated[
        Literal["RUNNING", "PAUSED", "SUCCESS", "FAILED", "CANCELLED"],
        BeforeValidator(_check_reportable),
        Field(description="As in /status, except PENDING, which only the server sets."),
    ]
    result: Annotated[
        Any,
        BeforeValidator(_wrapped),
        Field(
            description="With SUCCESS or FAILED; up to 768 KiB as a Struct. Any JSON value: a value other than an "
            "object is put into an object, as `value`."
        ),
    ] = None
    error_message: Annotated[str | None, Field(description="With FAILED; cut after 10,000 characters.")] = None
    attempt: Annotated[
        Annotated[int, Field(ge=1, le=2**31 - 1)] | None,
        Field(description="The attempt concerned, from /execute. Left out: the task's current attempt."),
    ] = None
    progress: Annotated[
        Annotated[float, Field(ge=0, le=100, allow_inf_nan=False), BeforeValidator(_round_progress)] | None,
        Field(description="A fraction up to 1, or a percentage above; 0.001 beyond 0 or 1 is rounded."),
    ] = None
    message: Annotated[str | None, Field(description="For people; cut after 1,000 characters.")] = None
    checkpoint: Annotated[JsonObject | None, Field(description="Data from which the task can continue.")] = None
    retryable: Annotated[bool, Field(description="With FAILED: a retry may help.")] = True
    retry_delay_seconds: Annotated[Seconds | None, Field(description="With FAILED: delay before the retry.")] = None
    released: Annotated[bool, Field(description="With PAUSED: the unit leaves, and the task continues elsewhere.")] = (
        False
    )
    unit_id: Annotated[UnitId | None, Field(description="The reporting unit. Left out: the task's unit.")] = None

    def outcome(self) -> Outcome:
        """Return the report as the core has it."""
        return Outcome(
            status=TaskStatus(self.status),
            attempt=self.attempt,
            progress=self.progress,
            message=self.message or "",
            checkpoint=self.checkpoint,
            result=self.result,
            error_message=self.error_message or "",
            retryable=self.retryable,
            retry_delay=None if self.retry_delay_seconds is None else timedelta(seconds=self.retry_delay_seconds),
            released=self.released,
        )
