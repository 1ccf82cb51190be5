"""Statuses and verbs as enums of strings: `TaskStatus.RUNNING == "RUNNING"`.

Every argument that is a status or a verb takes a member, its name, or protobuf's number. Messages hold numbers, as in
every language; `status_of(task)`, `verb_of(command)` and `TaskStatus.of(number)` return the member.
"""

from enum import StrEnum
from typing import Self, TypeAlias, cast, overload

from taskplane.v1 import execution_unit_pb2, task_pb2, task_service_pb2
from taskplane.v1.execution_unit_pb2 import ExecutionUnit
from taskplane.v1.operations_service_pb2 import StatusCount
from taskplane.v1.task_pb2 import PendingCommand, Task, TaskTransition
from taskplane.v1.task_service_pb2 import TaskCommand

# A status or a verb as an argument: the enum's member, its name, or protobuf's number.
AnyTaskStatus: TypeAlias = str | task_pb2.TaskStatus.ValueType
AnyUnitStatus: TypeAlias = str | execution_unit_pb2.ExecutionUnitStatus.ValueType
AnyVerb: TypeAlias = str | task_service_pb2.BatchVerb.ValueType


class TaskStatus(StrEnum):
    """The statuses of a task."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    PAUSED = "PAUSED"
    CANCELLED = "CANCELLED"

    @classmethod
    def of(cls, number: int) -> Self:
        """Return the member for protobuf's number. Raises ValueError for a number that has none, such as 0."""
        return cls(task_pb2.TaskStatus.Name(cast("task_pb2.TaskStatus.ValueType", number)).removeprefix("TASK_STATUS_"))

    @property
    def is_final(self) -> bool:
        """Whether a task has ended: SUCCESS, FAILED or CANCELLED."""
        return self in FINAL_STATUSES


FINAL_STATUSES = frozenset({TaskStatus.SUCCESS, TaskStatus.FAILED, TaskStatus.CANCELLED})


class UnitStatus(StrEnum):
    """The statuses of an execution unit."""

    AVAILABLE = "AVAILABLE"
    BUSY = "BUSY"
    OFFLINE = "OFFLINE"

    @classmethod
    def of(cls, number: int) -> Self:
        """Return the member for protobuf's number. Raises ValueError for a number that has none, such as 0."""
        name = execution_unit_pb2.ExecutionUnitStatus.Name(
            cast("execution_unit_pb2.ExecutionUnitStatus.ValueType", number)
        )
        return cls(name.removeprefix("EXECUTION_UNIT_STATUS_"))


class Verb(StrEnum):
    """The verbs of tasks."""

    START = "START"
    PAUSE = "PAUSE"
    RESUME = "RESUME"
    CANCEL = "CANCEL"
    RESTART = "RESTART"
    DELETE = "DELETE"


@overload
def status_of(message: Task | TaskTransition | StatusCount) -> TaskStatus: ...
@overload
def status_of(message: ExecutionUnit) -> UnitStatus: ...
def status_of(message: Task | TaskTransition | StatusCount | ExecutionUnit) -> TaskStatus | UnitStatus:
    """Return the status in a message; of a transition, the status after the change.

    Raises ValueError for a message without a status.
    """
    if isinstance(message, ExecutionUnit):
        return UnitStatus.of(message.status)
    return TaskStatus.of(message.to_status if isinstance(message, TaskTransition) else message.status)


def verb_of(command: PendingCommand | TaskCommand) -> Verb:
    """Return the verb of a command. Raises ValueError for a command without a verb."""
    return Verb(task_pb2.CommandVerb.Name(command.verb).removeprefix("COMMAND_VERB_"))


def task_status_number(status: AnyTaskStatus) -> task_pb2.TaskStatus.ValueType:
    """Return protobuf's number for a task's status. Raises ValueError for an unknown name."""
    return task_pb2.TaskStatus.Value(f"TASK_STATUS_{status}") if isinstance(status, str) else status


def unit_status_number(status: AnyUnitStatus) -> execution_unit_pb2.ExecutionUnitStatus.ValueType:
    """Return protobuf's number for a unit's status. Raises ValueError for an unknown name."""
    if isinstance(status, str):
        return execution_unit_pb2.ExecutionUnitStatus.Value(f"EXECUTION_UNIT_STATUS_{status}")
    return status


def verb_number(verb: AnyVerb) -> task_service_pb2.BatchVerb.ValueType:
    """Return protobuf's number for a verb. Raises ValueError for an unknown name."""
    return task_service_pb2.BatchVerb.Value(f"BATCH_VERB_{verb}") if isinstance(verb, str) else verb


FINAL_STATUS_NUMBERS = frozenset(task_status_number(each) for each in FINAL_STATUSES)
