"""The client of taskplane: tasks, their control, watches, units and statistics.

    with Client("127.0.0.1:50051") as client:
        task = client.run("DATA_PROCESSING", "users", {"inputPath": "users.csv"}, timeout=600)
        print(to_dict(task.result))

Needs grpcio, protobuf and googleapis-common-protos. Calls return the messages of `taskplane.v1` and raise
the errors in `errors`. Statuses and verbs are enums of strings: see `enums`.
"""

from taskplane.client.client import Client
from taskplane.client.convert import to_dict, to_struct
from taskplane.client.enums import FINAL_STATUSES, TaskStatus, UnitStatus, Verb, status_of, verb_of
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
    TaskCancelledError,
    TaskFailedError,
    TaskplaneError,
    UnavailableError,
    UnimplementedError,
    UnitCannotPauseError,
    WaitTimeoutError,
)
from taskplane.client.messages import task_filter, task_spec
from taskplane.client.retry import RetryPolicy
from taskplane.protocol.errors import FieldViolation

__all__ = [
    "FINAL_STATUSES",
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
    "TaskCancelledError",
    "TaskFailedError",
    "TaskStatus",
    "TaskplaneError",
    "UnavailableError",
    "UnimplementedError",
    "UnitCannotPauseError",
    "UnitStatus",
    "Verb",
    "WaitTimeoutError",
    "status_of",
    "task_filter",
    "task_spec",
    "to_dict",
    "to_struct",
    "verb_of",
]
