"""What units without a stream send, and operators about units; and the same in the words of the services."""

from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StringConstraints

from taskplane.gateway.schema import (
    DOCUMENT_BODY_BYTES,
    Actor,
    Digits,
    JsonObject,
    Labels,
    Name,
    Reason,
    Schema,
    Seconds,
    TaskType,
    UnitId,
)
from taskplane.gateway.task_requests import Wait
from taskplane.server.core.documents import MAX_DOCUMENT_BYTES, MAX_UNIT_CONFIG_BYTES
from taskplane.server.core.task import TaskStatus
from taskplane.server.core.unit import MAX_TASK_TYPES, Registration, TaskTypeSupport, Unit, unit_id_problem
from taskplane.server.core.unit_report import Outcome, rounded_fraction
from taskplane.server.rpc.bounds import DEFAULT_PAGE, MAX_CAPACITY, MAX_PAGE, MAX_UNIT_TYPE
from taskplane.server.rpc.deadlines import DEFAULT_WAIT_SECONDS

# A config of 64 KiB and a thousand task types, in whatever way they are spaced.
UNIT_BODY_BYTES = 512 * 1024


def _round_progress(value: Any) -> Any:
    """Round what is a little beyond 0 or 1, as sums of fractions may be."""
    rounded = rounded_fraction(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    return value if rounded is None else rounded


def _check_few_types(value: Any) -> Any:
    """Refuse too many before each of them is looked at."""
    if isinstance(value, list) and len(value) > MAX_TASK_TYPES:
        raise ValueError(f"has {len(value)} entries; at most {MAX_TASK_TYPES} are allowed")
    return value


def _check_unit_id(value: str) -> str:
    if problem := unit_id_problem(value):
        raise ValueError(problem)
    return value


UnitStatusName = Literal["AVAILABLE", "BUSY", "OFFLINE"]
OwnUnitId = Annotated[UnitId, AfterValidator(_check_unit_id)]
UnitType = Annotated[Name, StringConstraints(max_length=MAX_UNIT_TYPE)]
Capacity = Annotated[int, Field(ge=0, le=MAX_CAPACITY, description="How many tasks it runs at once.")]


class SupportedTaskType(Schema):
    """What a unit can do with tasks of one type."""

    task_type: TaskType
    can_pause: Annotated[bool, Field(description="It stops at a safe point when told to pause.")] = False
    can_checkpoint: Annotated[
        bool, Field(description="It makes checkpoints. If not, every attempt begins from the start.")
    ] = False


class NewUnit(Schema):
    """A unit introduces itself, or tells its new values: it is known by its id, without one by its type and name."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "unitType": "DOCKER_CONTAINER",
                    "unitName": "data-processor-1",
                    "capacity": 5,
                    "endpoint": "http://processor:8080",
                    "config": {},
                }
            ]
        }
    )
    max_bytes = UNIT_BODY_BYTES
    documents: ClassVar = {"config": MAX_UNIT_CONFIG_BYTES}

    unit_id: Annotated[
        OwnUnitId | None,
        Field(
            description='Its lasting id: no "/", no space at either end, not "." or "..". Left out: it is given one.'
        ),
    ] = None
    unit_type: UnitType
    unit_name: Name
    capacity: Capacity = 1
    endpoint: Annotated[
        str, Field(max_length=500, description="Base URL, http or https, by which the server drives it.")
    ]
    config: Annotated[JsonObject | None, Field(description="For its own use; up to 64 KiB as a Struct.")] = None
    task_types: Annotated[
        list[SupportedTaskType],
        BeforeValidator(_check_few_types),
        Field(
            json_schema_extra={"maxItems": MAX_TASK_TYPES},
            description="What it accepts. Without any: the names in config.taskTypes, or else every type.",
        ),
    ] = Field(default_factory=list)
    labels: Annotated[Labels, Field(description="Its marks, which a task's unitLabels can ask for.")] = Field(
        default_factory=dict
    )

    def registration(self) -> Registration:
        """Return it as the core has it."""
        return Registration(
            unit_id=self.unit_id or "",
            unit_type=self.unit_type,
            unit_name=self.unit_name,
            capacity=self.capacity,
            endpoint=self.endpoint,
            config=self.config or {},
            task_types={
                each.task_type: TaskTypeSupport(each.task_type, each.can_pause, each.can_checkpoint)
                for each in self.task_types
            },
            labels=self.labels,
        )


class Heartbeat(Schema):
    """A sign of life. The body may be left out."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"capacity": 5}]})

    capacity: Annotated[Capacity | None, Field(description="Its slots, if they have changed.")] = None


class Drain(Schema):
    """How a unit is to be emptied. The body may be left out."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"timeoutSeconds": 60, "wait": False}]})

    actor: Actor = ""
    reason: Reason = ""
    timeout_seconds: Annotated[Seconds | None, Field(description="How long it may take; null: as it needs.")] = None
    wait: Wait = DEFAULT_WAIT_SECONDS


_CALLBACK: dict[str, Any] = {"status": "SUCCESS", "result": {}, "errorMessage": None}


def _check_reportable(status: Any) -> Any:
    if status == "PENDING":
        raise ValueError("must not be PENDING, which only the server makes a task; a unit that has it reports RUNNING")
    return status


def _wrapped(result: Any) -> Any:
    return result if result is None or isinstance(result, dict) else {"value": result}


class StatusCallback(Schema):
    """How an attempt is, as its unit says it: at its end, or on its way."""

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
        Field(description="As in /status, but for PENDING, which only the server makes a task."),
    ]
    result: Annotated[
        Any,
        BeforeValidator(_wrapped),
        Field(
            description="With SUCCESS or FAILED; up to 768 KiB as a Struct. Any JSON value: one that is no object is "
            "put into one, as its `value`."
        ),
    ] = None
    error_message: Annotated[str | None, Field(description="With FAILED; cut after 10,000 characters.")] = None
    attempt: Annotated[
        Annotated[int, Field(ge=1, le=2**31 - 1)] | None,
        Field(description="The attempt that this is about, as /execute told it. Left out: the task's current one."),
    ] = None
    progress: Annotated[
        Annotated[float, Field(ge=0, le=100, allow_inf_nan=False), BeforeValidator(_round_progress)] | None,
        Field(description="A fraction up to 1, or a percentage above; 0.001 beyond 0 or 1 is rounded."),
    ] = None
    message: Annotated[str | None, Field(description="For people; cut after 1,000 characters.")] = None
    checkpoint: Annotated[JsonObject | None, Field(description="From which the task can go on.")] = None
    retryable: Annotated[bool, Field(description="With FAILED: whether another attempt may help.")] = True
    retry_delay_seconds: Annotated[Seconds | None, Field(description="With FAILED: when to try again.")] = None
    released: Annotated[bool, Field(description="With PAUSED: the unit leaves; go on elsewhere.")] = False
    unit_id: Annotated[UnitId | None, Field(description="Who says it. Left out: the unit that has the task.")] = None

    def outcome(self) -> Outcome:
        """Return it as the core has it."""
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


class UnitListQuery(Schema):
    """Which units, and which page of them."""

    status: UnitStatusName | None = None
    unit_type: UnitType | None = None
    task_type: TaskType | None = None
    page: Annotated[int, Field(ge=1, le=10_000), Digits] = 1
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE, description="How many at most."), Digits] = DEFAULT_PAGE

    def matches(self, unit: Unit) -> bool:
        """Whether a unit is among those that are asked for."""
        return (
            self.status in {None, unit.status.value}
            and self.unit_type in {None, unit.unit_type}
            and (self.task_type is None or unit.accepts(self.task_type))
        )
