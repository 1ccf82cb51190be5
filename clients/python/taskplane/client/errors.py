"""The errors of calls: a subclass of TaskplaneError for each code, and for some reasons.

| code                | class                   | reason: class                                                       |
| ------------------- | ----------------------- | ------------------------------------------------------------------- |
| NOT_FOUND           | NotFoundError           |                                                                     |
| INVALID_ARGUMENT    | InvalidArgumentError    |                                                                     |
| ALREADY_EXISTS      | AlreadyExistsError      |                                                                     |
| FAILED_PRECONDITION | FailedPreconditionError | ILLEGAL_TRANSITION: IllegalTransitionError,                         |
|                     |                         | UNIT_CANNOT_PAUSE: UnitCannotPauseError                             |
| ABORTED             | AbortedError            | STALE_REVISION: StaleRevisionError                                  |
| OUT_OF_RANGE        | OutOfRangeError         |                                                                     |
| DEADLINE_EXCEEDED   | DeadlineExceededError   | COMMAND_PENDING: CommandPendingError                                |
| RESOURCE_EXHAUSTED  | ResourceExhaustedError  | SLOW_READER: SlowReaderError                                        |
| UNAVAILABLE         | UnavailableError        |                                                                     |
| UNIMPLEMENTED       | UnimplementedError      |                                                                     |
| any other           | TaskplaneError          |                                                                     |

A CANCELLED from the server, which is about to stop then, is an UnavailableError too. `Client.wait` and `Client.run`
also raise WaitTimeoutError, TaskFailedError and TaskCancelledError. `translate` converts gRPC's errors.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import grpc

from taskplane.protocol.documents import DocumentError
from taskplane.protocol.error_details import details_of
from taskplane.protocol.errors import FieldViolation, Reason
from taskplane.v1.task_pb2 import Task


@dataclass(eq=False)
class TaskplaneError(Exception):
    """A failed call.

    `reason` is the server's UPPER_SNAKE word, or the name of the code for errors of the connection. `retry_delay` is
    the wait in seconds that the server asks for before the next call; None without such a request.
    """

    code: grpc.StatusCode
    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    field_violations: tuple[FieldViolation, ...] = ()
    retry_delay: float | None = None

    def __str__(self) -> str:
        fields = "; ".join(f"{bad.field}: {bad.description}" for bad in self.field_violations)
        return f"{self.message} ({self.reason})" + (f": {fields}" if fields else "")


class NotFoundError(TaskplaneError):
    """The task or unit does not exist."""


class InvalidArgumentError(TaskplaneError):
    """The request is invalid; `field_violations` names the fields."""


class NotJsonError(InvalidArgumentError, DocumentError):
    """A document that is not JSON; nothing was sent. `path` is the place, such as `config.rules[2].limit`."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(
            grpc.StatusCode.INVALID_ARGUMENT,
            "NOT_JSON",
            f"{path}: {problem}",
            field_violations=(FieldViolation(path, problem),),
        )
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return self.message


class AlreadyExistsError(TaskplaneError):
    """The object exists already."""


class FailedPreconditionError(TaskplaneError):
    """The state does not allow the call."""


class IllegalTransitionError(FailedPreconditionError):
    """The task's status does not allow the verb; `metadata` has `from`, `to` and `allowed`."""


class UnitCannotPauseError(FailedPreconditionError):
    """The unit that runs the task cannot pause tasks of this type."""


class AbortedError(TaskplaneError):
    """Another caller was faster: read again, then decide again."""


class StaleRevisionError(AbortedError):
    """The task is no longer at `expected_revision`."""


class OutOfRangeError(TaskplaneError):
    """The first revision of the watch is no longer stored, or not reached yet."""


class DeadlineExceededError(TaskplaneError):
    """The time ran out; the effect may follow later."""


class CommandPendingError(DeadlineExceededError):
    """The command is recorded and takes effect later: see the task's `pending_command`."""


class WaitTimeoutError(DeadlineExceededError):
    """The task did not reach the wanted status in time; it continues."""

    def __init__(self, task_id: int, timeout: float) -> None:
        super().__init__(
            grpc.StatusCode.DEADLINE_EXCEEDED,
            "WAIT_TIMEOUT",
            f"task {task_id} did not reach the status within {timeout:g} s",
            metadata={"task_id": str(task_id)},
        )


class ResourceExhaustedError(TaskplaneError):
    """The server is overloaded, or the request exceeds a limit."""


class SlowReaderError(ResourceExhaustedError):
    """The server ended a watch whose reader was too slow."""


class UnavailableError(TaskplaneError):
    """The server or its database cannot be reached."""


class UnimplementedError(TaskplaneError):
    """The server does not know the call."""


class TaskFailedError(TaskplaneError):
    """The task that `Client.run` waited for ended with FAILED. `task` is the task."""

    def __init__(self, task: Task) -> None:
        super().__init__(grpc.StatusCode.ABORTED, "TASK_FAILED", f"task {task.id} failed: {task.error_message}")
        self.task = task


class TaskCancelledError(TaskplaneError):
    """The task that `Client.run` waited for ended with CANCELLED. `task` is the task."""

    def __init__(self, task: Task) -> None:
        super().__init__(grpc.StatusCode.CANCELLED, "TASK_CANCELLED", f"task {task.id} was cancelled")
        self.task = task


BY_CODE: Mapping[grpc.StatusCode, type[TaskplaneError]] = {
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgumentError,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExistsError,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPreconditionError,
    grpc.StatusCode.ABORTED: AbortedError,
    grpc.StatusCode.OUT_OF_RANGE: OutOfRangeError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhaustedError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.UNIMPLEMENTED: UnimplementedError,
}

BY_REASON: Mapping[tuple[grpc.StatusCode, str], type[TaskplaneError]] = {
    (grpc.StatusCode.FAILED_PRECONDITION, Reason.ILLEGAL_TRANSITION): IllegalTransitionError,
    (grpc.StatusCode.FAILED_PRECONDITION, Reason.UNIT_CANNOT_PAUSE): UnitCannotPauseError,
    (grpc.StatusCode.ABORTED, Reason.STALE_REVISION): StaleRevisionError,
    (grpc.StatusCode.DEADLINE_EXCEEDED, Reason.COMMAND_PENDING): CommandPendingError,
    (grpc.StatusCode.RESOURCE_EXHAUSTED, Reason.SLOW_READER): SlowReaderError,
}


# gRPC's messages for a call that this client has ended: cancelled, or by closing the channel.
_CANCELLED_HERE = ("Locally cancelled by application!", "Channel closed!")


def translate(error: grpc.RpcError) -> TaskplaneError:
    """Return gRPC's error as a TaskplaneError with the server's details."""
    details = details_of(error)
    code = error.code()
    reason = details.reason or code.name
    return _class_for(error, reason)(
        code,
        reason,
        error.details() or code.value[1],
        metadata=details.metadata,
        field_violations=details.field_violations,
        retry_delay=details.retry_delay,
    )


def _class_for(error: grpc.RpcError, reason: str) -> type[TaskplaneError]:
    code = error.code()
    if code is grpc.StatusCode.CANCELLED and error.details() not in _CANCELLED_HERE:
        # gRPC answers CANCELLED to a call that arrives while the server stops.
        return UnavailableError
    return BY_REASON.get((code, reason)) or BY_CODE.get(code, TaskplaneError)
