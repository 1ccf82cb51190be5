"""What callers send about tasks, and the same in the words of the services."""

from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from taskplane.gateway.schema import (
    DOCUMENT_BODY_BYTES,
    MAX_NUMBER,
    Actor,
    Digits,
    JsonObject,
    Labels,
    Moment,
    Name,
    PageToken,
    Reason,
    RequestId,
    Schema,
    Seconds,
    TaskType,
    UnitId,
)
from taskplane.server.core.clock import monotonic
from taskplane.server.core.documents import MAX_DOCUMENT_BYTES
from taskplane.server.core.errors import FieldViolation, InvalidFields
from taskplane.server.core.task import NO_LIMITS, Limits, TaskStatus
from taskplane.server.core.verbs import CallContext
from taskplane.server.rpc.bounds import (
    DEFAULT_HISTORY_PAGE,
    DEFAULT_PAGE,
    DEFAULT_RETRIES,
    MAX_PAGE,
    MAX_PRIORITY,
    MAX_RETRIES,
)
from taskplane.server.rpc.deadlines import DEFAULT_WAIT_SECONDS
from taskplane.server.services.pages import TaskQuery
from taskplane.server.store.reading import TaskFilter
from taskplane.server.tasks.mutations import TaskSpec

MAX_WAIT_SECONDS = 60.0
# Pages that are numbered make the database read all that is before them; deeper ones are had by token.
MAX_NUMBERED_ROWS = 10_000

StatusName = Literal["PENDING", "RUNNING", "SUCCESS", "FAILED", "PAUSED", "CANCELLED"]


class TaskLimits(Schema):
    """Time limits; one that is left out, null or 0 is none. Each expiry names itself in the history."""

    run_budget_seconds: Annotated[
        Seconds | None, Field(description="Longest time in RUNNING, over all attempts; stands still while PAUSED.")
    ] = None
    deadline: Annotated[Moment | None, Field(description="Not later than this, whatever the status.")] = None
    queue_timeout_seconds: Annotated[Seconds | None, Field(description="Longest time in the queue.")] = None
    stall_timeout_seconds: Annotated[
        Seconds | None, Field(description="Longest time RUNNING without progress or checkpoint.")
    ] = None

    def limits(self) -> Limits:
        """Return them as the core has them."""
        return Limits(
            run_budget=_duration(self.run_budget_seconds),
            deadline=self.deadline,
            queue_timeout=_duration(self.queue_timeout_seconds),
            stall_timeout=_duration(self.stall_timeout_seconds),
        )


class Asking(Schema):
    """Who asks, why, and under which condition."""

    actor: Annotated[Actor, Field(description="Who asks; goes to the history. Empty: client.")] = ""
    reason: Annotated[Reason, Field(description="Why; goes to the history.")] = ""
    request_id: Annotated[
        RequestId,
        Field(description="Makes the call idempotent: a repeat with the same id and body gets the first answer."),
    ] = ""

    def ask(self) -> CallContext:
        """Return it as the core has it."""
        return CallContext(self.actor or "client", self.reason, getattr(self, "revision", 0))


_EXAMPLE: dict[str, Any] = {
    "taskName": "数据处理任务",
    "taskType": "DATA_PROCESSING",
    "priority": 1,
    "config": {"inputPath": "/data/input", "outputPath": "/data/output"},
    "maxRetries": 3,
}


class NewTask(Asking):
    """What a task is to be."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE, _EXAMPLE | {"start": True}]})
    max_bytes = DOCUMENT_BODY_BYTES
    documents: ClassVar = {"config": MAX_DOCUMENT_BYTES}

    task_name: Annotated[Name, Field(description="For people; not unique.")]
    task_type: Annotated[TaskType, Field(description="Chooses the unit. One that no unit knows (yet) is no error.")]
    priority: Annotated[int, Field(ge=0, le=MAX_PRIORITY, description="Greater runs first.")] = 0
    config: Annotated[
        JsonObject | None, Field(description="Handed to the unit as it is; up to 768 KiB as a Struct.")
    ] = None
    max_retries: Annotated[int, Field(ge=0, le=MAX_RETRIES, description="Automatic retries.")] = DEFAULT_RETRIES
    start: Annotated[bool, Field(description="Queue it at once.")] = False
    labels: Annotated[Labels, Field(description="Your own marks.")] = Field(default_factory=dict)
    unit_labels: Annotated[Labels, Field(description="Labels that a unit must have to get the task.")] = Field(
        default_factory=dict
    )
    limits: TaskLimits | None = None

    def spec(self) -> TaskSpec:
        """Return it as the services have it."""
        return TaskSpec(
            task_name=self.task_name,
            task_type=self.task_type,
            priority=self.priority,
            config=self.config or {},
            max_retries=self.max_retries,
            start=self.start,
            labels=self.labels,
            unit_labels=self.unit_labels,
            limits=self.limits.limits() if self.limits else NO_LIMITS,
        )


def _parse_wait(value: Any) -> float:
    """Read true (the default time), false (not at all) or seconds."""
    if isinstance(value, bool):
        return DEFAULT_WAIT_SECONDS if value else 0.0
    if isinstance(value, int | float) and 0 <= value <= MAX_WAIT_SECONDS:
        return float(value)
    raise ValueError(f"must be true, false, or seconds from 0 to {MAX_WAIT_SECONDS:g}")


Wait = Annotated[
    float,
    BeforeValidator(_parse_wait),
    WithJsonSchema(
        {"anyOf": [{"type": "boolean"}, {"type": "number", "minimum": 0, "maximum": MAX_WAIT_SECONDS}], "default": True}
    ),
    Field(
        description=f"Whether to wait until the effect holds: true ({DEFAULT_WAIT_SECONDS:g} s), false, or seconds. "
        "When the time runs out the answer is 504, and the command stays pending."
    ),
]
Revision = Annotated[
    int, Field(ge=0, le=MAX_NUMBER, description="Do it only if the task's revision is this one; 0: no condition.")
]


class Control(Asking):
    """How a verb is to be carried out. All of it may be left out, and so may the body."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"actor": "alice", "reason": "maintenance"}]})

    wait: Wait = DEFAULT_WAIT_SECONDS
    revision: Revision = 0

    def wait_until(self) -> float | None:
        """Return until when to wait, by `core.clock.monotonic`; None: not at all."""
        return monotonic() + self.wait if self.wait else None


class ControlFromCheckpoint(Control):
    """The same, for verbs that can go on from a chosen checkpoint."""

    checkpoint_number: Annotated[
        int, Field(ge=0, le=MAX_NUMBER, description="Go on from this one of the kept checkpoints. 0: as usual.")
    ] = 0


class DeletionQuery(Asking):
    """Who deletes a task, and under which condition."""

    revision: Annotated[Revision, Digits] = 0


class TaskListQuery(Schema):
    """Which tasks, in which order, and which page of them."""

    status: StatusName | None = None
    task_type: TaskType | None = None
    unit_id: Annotated[UnitId | None, Field(description="Assigned to this unit, or last run by it.")] = None
    q: Annotated[
        Name | None,
        Field(
            description="With this text in the name; case does not matter, on SQLite that of ASCII letters. "
            "On MySQL and MariaDB accents do not matter either."
        ),
    ] = None
    page: Annotated[
        Annotated[int, Field(ge=1, le=MAX_NUMBERED_ROWS), Digits] | None,
        Field(description="From 1, up to row 10,000; deeper pages are had by pageToken."),
    ] = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE, description="How many at most."), Digits] = DEFAULT_PAGE
    sort: Annotated[Literal["createdAt", "-createdAt"], Field(description="Newest first unless told otherwise.")] = (
        "-createdAt"
    )
    page_token: Annotated[
        PageToken | None,
        Field(description="nextPageToken of the page before, with the same filter and order; instead of page."),
    ] = None

    def query(self) -> TaskQuery:
        """Return it as the services have it. Raises InvalidFields if it names its page in two ways, or one too deep."""
        if self.page and self.page_token:
            raise InvalidFields(FieldViolation("page", "and pageToken exclude each other: give one"))
        skip = ((self.page or 1) - 1) * self.limit
        if skip + self.limit > MAX_NUMBERED_ROWS:
            deep = f"{self.page} goes beyond row {MAX_NUMBERED_ROWS}; follow nextPageToken by pageToken instead"
            raise InvalidFields(FieldViolation("page", deep))
        return TaskQuery(
            filter=TaskFilter(
                statuses=(TaskStatus(self.status),) if self.status else (),
                task_types=(self.task_type,) if self.task_type else (),
                execution_unit_id=self.unit_id or "",
                name_contains=self.q or "",
            ),
            newest_first=self.sort == "-createdAt",
            page_size=self.limit,
            page_token=self.page_token or "",
            skip=skip,
            include_total=True,
        )


class PageQuery(Schema):
    """Which page of a list that has no numbered pages."""

    limit: Annotated[int, Field(ge=1, le=MAX_PAGE, description="How many at most."), Digits] = DEFAULT_HISTORY_PAGE
    page_token: Annotated[
        PageToken | None,
        Field(description="nextPageToken of the page before."),
    ] = None


def _duration(seconds: float | None) -> timedelta | None:
    return max(timedelta(seconds=seconds), timedelta.resolution) if seconds else None
