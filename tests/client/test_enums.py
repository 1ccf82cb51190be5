import pytest
from client.conftest import FakeServer, in_background

from taskplane.client import FINAL_STATUSES, Client, TaskStatus, UnitStatus, Verb, status_of, task_filter, verb_of
from taskplane.client.enums import task_status_number, unit_status_number, verb_number
from taskplane.v1 import execution_unit_pb2, task_pb2, task_service_pb2
from taskplane.v1.execution_unit_pb2 import EXECUTION_UNIT_STATUS_BUSY, ExecutionUnit
from taskplane.v1.operations_service_pb2 import ListUnitsResponse, StatusCount
from taskplane.v1.task_pb2 import TASK_STATUS_FAILED, TASK_STATUS_RUNNING, PendingCommand, Task, TaskTransition
from taskplane.v1.task_service_pb2 import BATCH_VERB_RESTART, BatchControlTasksResponse, TaskCommand


def test_statuses_and_verbs_are_texts() -> None:
    assert TaskStatus.RUNNING == "RUNNING"
    assert f"{UnitStatus.BUSY} {Verb.DELETE}" == "BUSY DELETE"
    assert {"SUCCESS", "FAILED", "CANCELLED"} == FINAL_STATUSES
    assert [status for status in TaskStatus if status.is_final] == ["SUCCESS", "FAILED", "CANCELLED"]


def test_the_enums_have_all_that_the_protocol_has() -> None:
    assert {f"TASK_STATUS_{each}" for each in [*TaskStatus, "UNSPECIFIED"]} == set(task_pb2.TaskStatus.keys())
    assert {f"EXECUTION_UNIT_STATUS_{each}" for each in [*UnitStatus, "UNSPECIFIED"]} == set(
        execution_unit_pb2.ExecutionUnitStatus.keys()
    )
    assert {f"BATCH_VERB_{each}" for each in [*Verb, "UNSPECIFIED"]} == set(task_service_pb2.BatchVerb.keys())


def test_a_status_comes_from_a_message_or_from_protobufs_number() -> None:
    assert status_of(Task(status=TASK_STATUS_RUNNING)) is TaskStatus.RUNNING
    assert status_of(ExecutionUnit(status=EXECUTION_UNIT_STATUS_BUSY)) is UnitStatus.BUSY
    assert status_of(TaskTransition(from_status=TASK_STATUS_RUNNING, to_status=TASK_STATUS_FAILED)) == "FAILED"
    assert status_of(StatusCount(status=TASK_STATUS_FAILED, count=3)) == "FAILED"
    assert TaskStatus.of(TASK_STATUS_FAILED) is TaskStatus.FAILED
    with pytest.raises(ValueError, match="UNSPECIFIED"):
        TaskStatus.of(0)


@pytest.mark.parametrize("number", task_pb2.CommandVerb.values()[1:])
def test_every_verb_of_a_command_has_a_member(number: task_pb2.CommandVerb.ValueType) -> None:
    verbs = [verb_of(PendingCommand(verb=number)), verb_of(TaskCommand(verb=number))]
    assert {f"COMMAND_VERB_{each}" for each in verbs} == {task_pb2.CommandVerb.Name(number)}


@pytest.mark.parametrize("status", [TaskStatus.FAILED, "FAILED", TASK_STATUS_FAILED])
def test_a_status_is_given_as_member_name_or_number(status: TaskStatus) -> None:
    assert task_filter(statuses=[status]).statuses == [TASK_STATUS_FAILED]


def test_an_unknown_name_is_refused() -> None:
    for number in (task_status_number, unit_status_number, verb_number):
        with pytest.raises(ValueError, match="DONE"):
            number("DONE")


@pytest.mark.parametrize("verb", [Verb.RESTART, "RESTART", BATCH_VERB_RESTART])
def test_a_verb_is_given_as_member_name_or_number(client: Client, server: FakeServer, verb: Verb) -> None:
    controlling = in_background(client.batch_control_tasks, verb, [1])
    call = server.take("BatchControlTasks")
    call.answer(BatchControlTasksResponse())
    controlling.result(20)
    assert call.request.verb == BATCH_VERB_RESTART


def test_units_are_listed_by_status(client: Client, server: FakeServer) -> None:
    listing = in_background(lambda: list(client.list_units(statuses=["BUSY"], unit_type="U", task_type="T")))
    call = server.take("ListUnits")
    call.answer(ListUnitsResponse(units=[ExecutionUnit(id="u1")]))
    assert [unit.id for unit in listing.result(20)] == ["u1"]
    assert (call.request.statuses, call.request.unit_type, call.request.task_type) == (
        [EXECUTION_UNIT_STATUS_BUSY],
        "U",
        "T",
    )
