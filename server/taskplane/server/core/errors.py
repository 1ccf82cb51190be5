"""The catalogue of errors that callers can receive.

Each class is one `reason` of google.rpc.ErrorInfo. Errors are raised in core and below, mapped to a gRPC status once,
in `rpc.guarding`, and to an HTTP response once, in the gateway.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum

from taskplane.protocol.errors import FieldViolation as FieldViolation  # noqa: PLC0414  part of this catalogue
from taskplane.protocol.errors import Reason
from taskplane.server.core.error_bounds import MAX_MESSAGE, bounded_metadata, bounded_violations, shortened


class Code(StrEnum):
    """The canonical codes in use; the names are those of google.rpc.Code."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    ABORTED = "ABORTED"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    UNAVAILABLE = "UNAVAILABLE"
    INTERNAL = "INTERNAL"


class DropReason(StrEnum):
    """The reason why a unit must drop an attempt; see taskplane/v1/execution_unit_control.proto."""

    SUPERSEDED = "SUPERSEDED"
    FINISHED = "FINISHED"
    CANCELLED = "CANCELLED"
    DELETED = "DELETED"


class TaskplaneError(Exception):
    """The base of all errors: a code, a reason for programs, and a message for people with the next step."""

    code: Code = Code.INTERNAL
    reason: str = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[FieldViolation] = (),
        retry_delay_seconds: float | None = None,
    ) -> None:
        self.message = shortened(message, MAX_MESSAGE)
        super().__init__(self.message)
        self.metadata = bounded_metadata(metadata or {})
        self.violations = tuple(violations)
        self.retry_delay_seconds = retry_delay_seconds


class RepeatedRefusal(TaskplaneError):
    """The error of one task of a bulk call, repeated for a repeat of the call."""

    def __init__(self, code: str, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = Code(code)
        self.reason = reason


class InvalidFields(TaskplaneError):
    """The request is malformed. `found` is the total number of violations, if only the first are given."""

    code = Code.INVALID_ARGUMENT
    reason = "INVALID_FIELDS"

    def __init__(self, *violations: FieldViolation, found: int = 0) -> None:
        named = bounded_violations(violations, max(found, len(violations)))
        listed = "; ".join(f"{each.field}: {each.description}" for each in named)
        super().__init__(f"invalid request: {listed}", violations=named)


class RequestTooLarge(TaskplaneError):
    """The request exceeds the size limit of its method; nothing was read."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "REQUEST_TOO_LARGE"

    def __init__(self, size: int, at_most: int) -> None:
        super().__init__(
            f"the request has {size} bytes; at most {at_most} are allowed", metadata={"max_bytes": str(at_most)}
        )


class RequestIdReused(TaskplaneError):
    """The request_id was used before, for another call."""

    code = Code.INVALID_ARGUMENT
    reason = "REQUEST_ID_REUSED"

    def __init__(self, request_id: str, method: str) -> None:
        super().__init__(
            f"request_id {request_id!r} was used before for {method} or with another body; "
            "use a new id for a new request",
            metadata={"request_id": request_id, "method": method},
            violations=[FieldViolation("context.request_id", "was used before for another request")],
        )


class HelloExpected(TaskplaneError):
    """The unit's stream did not begin with Hello, or had a second one."""

    code = Code.INVALID_ARGUMENT
    reason = "HELLO_EXPECTED"

    def __init__(self, got: str) -> None:
        super().__init__(
            f"a unit's stream begins with hello, sent once; got {got}",
            metadata={"got": got},
            violations=[FieldViolation("body", f"must be hello first, and only once; got {got}")],
        )


class TaskNotFound(TaskplaneError):
    """There is no such task."""

    code = Code.NOT_FOUND
    reason = "TASK_NOT_FOUND"

    def __init__(self, task_id: int) -> None:
        super().__init__(f"no task {task_id}", metadata={"task_id": str(task_id)})


class UnitNotFound(TaskplaneError):
    """There is no such unit."""

    code = Code.NOT_FOUND
    reason = "UNIT_NOT_FOUND"

    def __init__(self, unit_id: str) -> None:
        super().__init__(f"no execution unit {unit_id!r}", metadata={"unit_id": unit_id})


class IllegalTransition(TaskplaneError):
    """The task's status does not allow the verb."""

    code = Code.FAILED_PRECONDITION
    reason = Reason.ILLEGAL_TRANSITION.value


class TaskNotFinal(TaskplaneError):
    """Only finished tasks can be deleted."""

    code = Code.FAILED_PRECONDITION
    reason = "TASK_NOT_FINAL"

    def __init__(self, task_id: int, status: str) -> None:
        super().__init__(
            f"cannot delete task {task_id} in {status}: only SUCCESS, FAILED and CANCELLED; cancel it first",
            metadata={"task_id": str(task_id), "from": status, "allowed": "SUCCESS,FAILED,CANCELLED"},
        )


class UnitCannotPause(TaskplaneError):
    """The unit said that it cannot pause tasks of this type."""

    code = Code.FAILED_PRECONDITION
    reason = Reason.UNIT_CANNOT_PAUSE.value

    def __init__(self, task_id: int, unit_id: str, task_type: str) -> None:
        super().__init__(
            f"task {task_id} cannot be paused: unit {unit_id!r} does not support pause for {task_type}",
            metadata={"task_id": str(task_id), "unit_id": unit_id, "task_type": task_type},
        )


class CommandRejected(TaskplaneError):
    """The unit rejected the command."""

    code = Code.FAILED_PRECONDITION
    reason = "COMMAND_REJECTED"


class UnitInUse(TaskplaneError):
    """A unit that is connected or has RUNNING tasks cannot be deleted."""

    code = Code.FAILED_PRECONDITION
    reason = "UNIT_IN_USE"


class UnitHasStream(TaskplaneError):
    """A unit with a stream must report over its stream."""

    code = Code.FAILED_PRECONDITION
    reason = "UNIT_HAS_STREAM"

    def __init__(self, unit_id: str) -> None:
        super().__init__(
            f"unit {unit_id!r} speaks by its stream only; a unit without one needs an id of its own",
            metadata={"unit_id": unit_id},
        )


class UnitIdTaken(TaskplaneError):
    """Another live process uses the unit's id."""

    code = Code.ALREADY_EXISTS
    reason = "UNIT_ID_TAKEN"


class UnitDrained(TaskplaneError):
    """An operator has drained the unit: its session is over, and it gets no tasks until it registers again."""

    code = Code.FAILED_PRECONDITION
    reason = "UNIT_DRAINED"


class ProtocolVersionUnsupported(TaskplaneError):
    """The server does not support the unit's protocol version."""

    code = Code.FAILED_PRECONDITION
    reason = "PROTOCOL_VERSION_UNSUPPORTED"


class StaleAttempt(TaskplaneError):
    """The report concerns an attempt other than the task's current one, and changed nothing."""

    code = Code.FAILED_PRECONDITION
    reason = "STALE_ATTEMPT"

    def __init__(self, task_id: int, attempt: int, drop: DropReason) -> None:
        super().__init__(
            f"attempt {attempt} of task {task_id} is over ({drop}); stop it",
            metadata={"task_id": str(task_id), "attempt": str(attempt), "drop_reason": drop},
        )
        self.drop = drop


class NeverDispatched(TaskplaneError):
    """The unit reports on a task that was never dispatched."""

    code = Code.FAILED_PRECONDITION
    reason = "NEVER_DISPATCHED"

    def __init__(self, task_id: int) -> None:
        super().__init__(
            f"task {task_id} was never given to a unit, so that there is nothing to report about it; start it first",
            metadata={"task_id": str(task_id)},
        )


class StaleRevision(TaskplaneError):
    """The task has changed since the caller read it."""

    code = Code.ABORTED
    reason = Reason.STALE_REVISION.value

    def __init__(self, task_id: int, expected: int, actual: int) -> None:
        super().__init__(
            f"task {task_id} is at revision {actual}, not {expected}; read it again and decide anew",
            metadata={"task_id": str(task_id), "expected": str(expected), "actual": str(actual)},
        )


class SessionSuperseded(TaskplaneError):
    """A newer session of the same unit has started."""

    code = Code.ABORTED
    reason = Reason.SESSION_SUPERSEDED.value


class RevisionTooOld(TaskplaneError):
    """The watch cannot resume from this revision."""

    code = Code.OUT_OF_RANGE
    reason = "REVISION_TOO_OLD"


class CommandPending(TaskplaneError):
    """Time ran out; the command stays pending and takes effect later."""

    code = Code.DEADLINE_EXCEEDED
    reason = Reason.COMMAND_PENDING.value


class HelloTimeout(TaskplaneError):
    """The unit opened a stream and sent no Hello."""

    code = Code.DEADLINE_EXCEEDED
    reason = "HELLO_TIMEOUT"


class SlowReader(TaskplaneError):
    """The watch was cut because it was not read quickly enough."""

    code = Code.RESOURCE_EXHAUSTED
    reason = Reason.SLOW_READER.value


class TooManyWatches(TaskplaneError):
    """The server already serves its configured number of watches."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "TOO_MANY_WATCHES"

    def __init__(self, most: int) -> None:
        super().__init__(
            f"the server has {most} watches, the most that it serves; end some, or raise TASKPLANE_MAX_WATCHES",
            metadata={"max_watches": str(most)},
            retry_delay_seconds=5.0,
        )


class TooManyConnections(TaskplaneError):
    """The server already serves its configured number of connections."""

    code = Code.UNAVAILABLE
    reason = "TOO_MANY_CONNECTIONS"

    def __init__(self) -> None:
        super().__init__("the server has as many connections as it serves; try again later", retry_delay_seconds=1.0)


class TooManyTasks(TaskplaneError):
    """The filter of a bulk call selects more tasks than the call may change."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "TOO_MANY_TASKS"

    def __init__(self, max_tasks: int) -> None:
        super().__init__(
            f"the filter chooses more than {max_tasks} tasks; narrow it, or control them in several calls",
            metadata={"max_tasks": str(max_tasks)},
        )


class ReadTooLong(TaskplaneError):
    """The database did not find the result in time."""

    code = Code.DEADLINE_EXCEEDED
    reason = "READ_TOO_LONG"

    def __init__(self) -> None:
        super().__init__("the database has not found all of it in time; narrow the filter, or allow a longer deadline")


class TooManyReads(TaskplaneError):
    """The server already serves its maximum number of reads."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "TOO_MANY_READS"

    def __init__(self) -> None:
        super().__init__("too many calls wait for the database; try again later", retry_delay_seconds=1.0)


class DatabaseUnavailable(TaskplaneError):
    """The database is unavailable; nothing was done, or the change was undone."""

    code = Code.UNAVAILABLE
    reason = "DATABASE_UNAVAILABLE"

    def __init__(self, message: str = "the database is not available; try again") -> None:
        super().__init__(message, retry_delay_seconds=1.0)


class DatabaseRefused(DatabaseUnavailable):
    """The database is available, but could not do this operation, for example because a row is locked."""

    def __init__(self) -> None:
        super().__init__("the database could not do it now, since a row is locked or for another reason; try again")


class DatabaseSilent(DatabaseUnavailable):
    """The database did not respond within the caller's deadline; the operation may still take effect."""

    def __init__(self) -> None:
        super().__init__("the database has not answered in time; repeat a change with its request_id")


class LeaseExpired(TaskplaneError):
    """The unit was silent for its lease; its tasks were taken away."""

    code = Code.UNAVAILABLE
    reason = "LEASE_EXPIRED"

    def __init__(self, unit_id: str, lease_seconds: float) -> None:
        message = f"unit {unit_id!r} was silent for its lease of {lease_seconds:g} s; connect again"
        super().__init__(message, metadata={"unit_id": unit_id}, retry_delay_seconds=1.0)


class ServerStopping(TaskplaneError):
    """The server is stopping."""

    code = Code.UNAVAILABLE
    reason = "SERVER_STOPPING"

    def __init__(self) -> None:
        super().__init__("the server is stopping; connect again", retry_delay_seconds=1.0)
