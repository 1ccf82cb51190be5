"""The client of taskplane: creates tasks, controls them, watches them, and tells about units.

    with Client("127.0.0.1:50051") as client:
        task = client.create_task("DATA_PROCESSING", "users", {"inputPath": "users.csv"}, start=True)
        client.pause_task(task.id, reason="the disk is full")

Needs grpcio and protobuf only. What calls return are the messages of `taskplane.v1`, what they raise is in `errors`.
"""

from taskplane.client.client import Client
from taskplane.client.convert import to_dict, to_struct
from taskplane.client.errors import (
    AbortedError,
    AlreadyExistsError,
    CommandPendingError,
    DeadlineExceededError,
    FailedPreconditionError,
    IllegalTransitionError,
    InvalidArgumentError,
    NotFoundError,
    NotJsonError,
    OutOfRangeError,
    ResourceExhaustedError,
    SlowReaderError,
    StaleRevisionError,
    TaskplaneError,
    UnavailableError,
    UnimplementedError,
    UnitCannotPauseError,
)
from taskplane.client.messages import task_filter, task_spec
from taskplane.client.retry import RetryPolicy
from taskplane.protocol.errors import FieldViolation

__all__ = [
    "AbortedError",
    "AlreadyExistsError",
    "Client",
    "CommandPendingError",
    "DeadlineExceededError",
    "FailedPreconditionError",
    "FieldViolation",
    "IllegalTransitionError",
    "InvalidArgumentError",
    "NotFoundError",
    "NotJsonError",
    "OutOfRangeError",
    "ResourceExhaustedError",
    "RetryPolicy",
    "SlowReaderError",
    "StaleRevisionError",
    "TaskplaneError",
    "UnavailableError",
    "UnimplementedError",
    "UnitCannotPauseError",
    "task_filter",
    "task_spec",
    "to_dict",
    "to_struct",
]
