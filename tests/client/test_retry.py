import grpc
import pytest
from client.conftest import FakeServer, because, in_background
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from hypothesis import given
from hypothesis import strategies as st

from taskplane.client import Client, RetryPolicy, TaskplaneError, UnavailableError
from taskplane.v1.operations_service_pb2 import DeleteUnitResponse
from taskplane.v1.task_pb2 import Task
from taskplane.v1.task_service_pb2 import CreateTaskResponse, GetTaskResponse

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def unavailable(retry_delay: float | None = None) -> UnavailableError:
    return UnavailableError(UNAVAILABLE, "UNAVAILABLE", "away", retry_delay=retry_delay)


def test_a_read_is_repeated_when_the_server_is_away(client: Client, server: FakeServer) -> None:
    getting = in_background(client.get_task, 7)
    server.take("GetTask").fail(UNAVAILABLE)
    server.take("GetTask").answer(GetTaskResponse(task=Task(id=7)))
    assert getting.result(20).id == 7


def test_a_changing_call_is_repeated_under_the_same_request_id(client: Client, server: FakeServer) -> None:
    creating = in_background(client.create_task, "T", "n")
    first = server.take("CreateTask")
    first.fail(UNAVAILABLE)
    second = server.take("CreateTask")
    second.answer(CreateTaskResponse(task=Task(id=7)))
    assert creating.result(20).id == 7
    assert first.request == second.request
    assert len(first.request.context.request_id) == 32


def test_a_call_that_a_stopping_server_cancels_is_repeated(client: Client, server: FakeServer) -> None:
    getting = in_background(client.get_task, 7)
    server.take("GetTask").fail(grpc.StatusCode.CANCELLED, "CANCELLED")
    server.take("GetTask").answer(GetTaskResponse(task=Task(id=7)))
    assert getting.result(20).id == 7


def test_a_call_that_ends_with_its_own_client_is_not_repeated(client: Client, server: FakeServer) -> None:
    getting = in_background(client.get_task, 7)
    server.take("GetTask").fail(grpc.StatusCode.CANCELLED, "Channel closed!")
    error = getting.exception(20)
    assert isinstance(error, TaskplaneError)
    assert not isinstance(error, UnavailableError)


def test_two_calls_have_two_request_ids(client: Client, server: FakeServer) -> None:
    requests = []
    for _ in range(2):
        creating = in_background(client.create_task, "T", "n")
        call = server.take("CreateTask")
        call.answer(CreateTaskResponse())
        creating.result(20)
        requests.append(call.request.context.request_id)
    assert requests[0] != requests[1]


def test_a_request_id_of_the_callers_own_is_kept(client: Client, server: FakeServer) -> None:
    creating = in_background(client.create_task, "T", "n", request_id="mine")
    call = server.take("CreateTask")
    call.answer(CreateTaskResponse())
    creating.result(20)
    assert call.request.context.request_id == "mine"


def test_after_the_last_attempt_the_error_is_raised(client: Client, server: FakeServer) -> None:
    getting = in_background(client.get_task, 7)
    for _ in range(3):
        server.take("GetTask").fail(UNAVAILABLE, "gone")
    with pytest.raises(UnavailableError, match="gone"):
        getting.result(20)


def test_any_other_error_is_raised_at_once(client: Client, server: FakeServer) -> None:
    getting = in_background(client.get_task, 7)
    server.take("GetTask").fail(grpc.StatusCode.INTERNAL, "broken")
    assert "broken" in str(getting.exception(20))


def test_deleting_a_unit_is_not_repeated_when_its_outcome_is_unknown(client: Client, server: FakeServer) -> None:
    deleting = in_background(client.delete_unit, "u1")
    server.take("DeleteUnit").fail(UNAVAILABLE)
    assert isinstance(deleting.exception(20), UnavailableError)


def test_deleting_a_unit_is_repeated_when_the_server_asks_for_it(client: Client, server: FakeServer) -> None:
    deleting = in_background(client.delete_unit, "u1")
    server.take("DeleteUnit").fail(
        UNAVAILABLE, "no database", because("DATABASE_UNAVAILABLE"), RetryInfo(retry_delay=Duration())
    )
    server.take("DeleteUnit").answer(DeleteUnitResponse())
    deleting.result(20)


def test_no_try_is_made_that_would_come_too_late(client: Client, server: FakeServer) -> None:
    getting = in_background(client.get_task, 7, timeout=60)
    server.take("GetTask").fail(
        UNAVAILABLE, "no database", because("DATABASE_UNAVAILABLE"), RetryInfo(retry_delay=Duration(seconds=61))
    )
    assert isinstance(getting.exception(20), UnavailableError)


@given(failures=st.integers(1, 2000), retry_delay=st.none() | st.floats(0, 60))
def test_a_pause_is_between_the_servers_wish_and_that_plus_the_bound(failures: int, retry_delay: float | None) -> None:
    policy = RetryPolicy(first_bound_seconds=0.2, last_bound_seconds=5)
    bound = min(0.2 * 2.0 ** min(failures - 1, 1000), 5)
    least = retry_delay or 0
    assert least <= policy.pause_seconds(failures, unavailable(retry_delay)) <= least + bound


def test_pauses_are_spread_over_the_whole_range() -> None:
    pauses = [RetryPolicy().pause_seconds(10, unavailable()) for _ in range(500)]
    assert min(pauses) < 1
    assert max(pauses) > 4
