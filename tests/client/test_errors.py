import grpc
import pytest
from client.conftest import FakeServer, because, in_background
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, RetryInfo

from taskplane import client as api
from taskplane.client import Client, FieldViolation, IllegalTransitionError, InvalidArgumentError, TaskplaneError
from taskplane.client.errors import BY_CODE, BY_REASON

Code = grpc.StatusCode


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (Code.NOT_FOUND, "TASK_NOT_FOUND", api.NotFoundError),
        (Code.INVALID_ARGUMENT, "INVALID_FIELDS", api.InvalidArgumentError),
        (Code.ALREADY_EXISTS, "UNIT_EXISTS", api.AlreadyExistsError),
        (Code.FAILED_PRECONDITION, "TASK_NOT_FINAL", api.FailedPreconditionError),
        (Code.FAILED_PRECONDITION, "ILLEGAL_TRANSITION", api.IllegalTransitionError),
        (Code.FAILED_PRECONDITION, "UNIT_CANNOT_PAUSE", api.UnitCannotPauseError),
        (Code.ABORTED, "STALE_REVISION", api.StaleRevisionError),
        (Code.ABORTED, "CONFLICT", api.AbortedError),
        (Code.OUT_OF_RANGE, "REVISION_TOO_OLD", api.OutOfRangeError),
        (Code.DEADLINE_EXCEEDED, "COMMAND_PENDING", api.CommandPendingError),
        (Code.RESOURCE_EXHAUSTED, "OVERLOADED", api.ResourceExhaustedError),
        (Code.RESOURCE_EXHAUSTED, "SLOW_READER", api.SlowReaderError),
        (Code.UNIMPLEMENTED, "NOT_YET", api.UnimplementedError),
        (Code.INTERNAL, "INTERNAL", TaskplaneError),
        (Code.PERMISSION_DENIED, "NOT_YOURS", TaskplaneError),
    ],
)
def test_an_error_has_the_class_of_its_code_and_reason(
    client: Client, server: FakeServer, code: grpc.StatusCode, reason: str, expected: type[TaskplaneError]
) -> None:
    getting = in_background(client.get_task, 7)
    server.take("GetTask").fail(code, "no", because(reason))
    error = getting.exception(20)
    assert type(error) is expected
    assert (error.code, error.reason, error.message) == (code, reason, "no")


def test_an_illegal_transition_names_the_allowed_statuses(client: Client, server: FakeServer) -> None:
    pausing = in_background(client.pause_task, 7)
    server.take("PauseTask").fail(
        Code.FAILED_PRECONDITION, "cannot pause", because("ILLEGAL_TRANSITION", **{"from": "SUCCESS", "allowed": ""})
    )
    with pytest.raises(IllegalTransitionError, match=r"cannot pause \(ILLEGAL_TRANSITION\)") as caught:
        pausing.result(20)
    assert caught.value.metadata == {"from": "SUCCESS", "allowed": ""}


def test_bad_fields_are_named(client: Client, server: FakeServer) -> None:
    creating = in_background(client.create_task, "T", "")
    bad = BadRequest.FieldViolation(field="task.task_name", description="must not be empty")
    server.take("CreateTask").fail(
        Code.INVALID_ARGUMENT, "bad", because("INVALID_FIELDS"), BadRequest(field_violations=[bad])
    )
    with pytest.raises(
        InvalidArgumentError, match=r"bad \(INVALID_FIELDS\): task.task_name: must not be empty"
    ) as caught:
        creating.result(20)
    assert caught.value.field_violations == (FieldViolation("task.task_name", "must not be empty"),)


def test_the_servers_retry_delay_is_in_seconds(client: Client, server: FakeServer) -> None:
    getting = in_background(client.get_task, 7)
    delay = RetryInfo(retry_delay=Duration(seconds=1, nanos=500_000_000))
    server.take("GetTask").fail(Code.RESOURCE_EXHAUSTED, "busy", because("OVERLOADED"), delay)
    error = getting.exception(20)
    assert isinstance(error, TaskplaneError)
    assert error.retry_delay == 1.5


def test_an_error_without_details_has_the_name_of_its_code(client: Client, server: FakeServer) -> None:
    getting = in_background(client.get_task, 7)
    server.take("GetTask").fail(Code.DEADLINE_EXCEEDED)
    error = getting.exception(20)
    assert isinstance(error, TaskplaneError)
    assert (error.reason, error.message, error.metadata) == ("DEADLINE_EXCEEDED", "deadline exceeded", {})


def test_the_table_in_the_docstring_is_the_table_in_the_code() -> None:
    documented = api.errors.__doc__ or ""
    for kind in (*BY_CODE.values(), *BY_REASON.values()):
        assert kind.__name__ in documented
        assert kind.__name__ in api.__all__
