from itertools import islice

import pytest
from client.conftest import FakeServer, in_background

from taskplane.client import Client
from taskplane.v1.execution_unit_pb2 import ExecutionUnit
from taskplane.v1.operations_service_pb2 import ListUnitsResponse
from taskplane.v1.task_pb2 import TASK_STATUS_PAUSED, TASK_STATUS_RUNNING, Task, TaskTransition
from taskplane.v1.task_service_pb2 import (
    TASK_ORDER_OLDEST_FIRST,
    ListTaskCommandsResponse,
    ListTasksResponse,
    ListTaskTransitionsResponse,
    TaskCommand,
)


def test_a_list_goes_over_all_pages(client: Client, server: FakeServer) -> None:
    listing = in_background(lambda: list(client.list_tasks(statuses=["RUNNING"], page_size=2, oldest_first=True)))
    first = server.take("ListTasks")
    assert first.request.page_token == ""
    first.answer(ListTasksResponse(tasks=[Task(id=1), Task(id=2)], next_page_token="two"))
    second = server.take("ListTasks")
    second.answer(ListTasksResponse(tasks=[Task(id=3)]))
    assert [task.id for task in listing.result(20)] == [1, 2, 3]
    assert second.request.page_token == "two"
    assert second.request.filter.statuses == [TASK_STATUS_RUNNING]
    assert (second.request.page_size, second.request.order) == (2, TASK_ORDER_OLDEST_FIRST)


def test_a_page_is_fetched_only_when_it_is_needed(client: Client, server: FakeServer) -> None:
    listing = in_background(lambda: [task.id for task in islice(client.list_tasks(), 2)])
    server.take("ListTasks").answer(ListTasksResponse(tasks=[Task(id=1), Task(id=2)], next_page_token="two"))
    assert listing.result(20) == [1, 2]


def test_an_empty_page_is_not_the_last_one(client: Client, server: FakeServer) -> None:
    listing = in_background(lambda: list(client.list_tasks()))
    server.take("ListTasks").answer(ListTasksResponse(next_page_token="two"))
    server.take("ListTasks").answer(ListTasksResponse(tasks=[Task(id=1)]))
    assert len(listing.result(20)) == 1


def test_a_single_page_tells_the_total_and_the_next_token(client: Client, server: FakeServer) -> None:
    listing = in_background(client.list_tasks_page, page_size=1, page_token="two", include_total=True)
    call = server.take("ListTasks")
    assert (call.request.page_token, call.request.include_total) == ("two", True)
    call.answer(ListTasksResponse(tasks=[Task(id=1)], next_page_token="three", total=9))
    page = listing.result(20)
    assert (page.total, page.next_page_token) == (9, "three")


def test_a_filter_takes_statuses_by_number_and_by_name(client: Client, server: FakeServer) -> None:
    listing = in_background(
        client.list_tasks_page, statuses=[TASK_STATUS_PAUSED, "RUNNING"], labels={"a": "b"}, min_priority=0
    )
    call = server.take("ListTasks")
    call.answer(ListTasksResponse())
    listing.result(20)
    assert call.request.filter.statuses == [TASK_STATUS_PAUSED, TASK_STATUS_RUNNING]
    assert call.request.filter.labels == {"a": "b"}
    assert call.request.filter.HasField("min_priority")
    assert not call.request.filter.HasField("max_priority")


def test_a_status_that_does_not_exist_is_refused_before_the_call(client: Client) -> None:
    with pytest.raises(ValueError, match="TASK_STATUS_DONE"):
        client.list_tasks_page(statuses=["DONE"])


def test_history_commands_and_units_go_over_all_pages(client: Client, server: FakeServer) -> None:
    history = in_background(lambda: list(client.list_task_transitions(7)))
    server.take("ListTaskTransitions").answer(
        ListTaskTransitionsResponse(transitions=[TaskTransition(revision=1)], next_page_token="two")
    )
    server.take("ListTaskTransitions").answer(ListTaskTransitionsResponse(transitions=[TaskTransition(revision=2)]))
    assert [entry.revision for entry in history.result(20)] == [1, 2]

    commands = in_background(lambda: list(client.list_task_commands(7)))
    server.take("ListTaskCommands").answer(
        ListTaskCommandsResponse(commands=[TaskCommand(command_id="b")], next_page_token="two")
    )
    server.take("ListTaskCommands").answer(ListTaskCommandsResponse(commands=[TaskCommand(command_id="a")]))
    assert [command.command_id for command in commands.result(20)] == ["b", "a"]

    units = in_background(lambda: list(client.list_units(unit_type="T")))
    server.take("ListUnits").answer(ListUnitsResponse(units=[ExecutionUnit(id="u1")], next_page_token="two"))
    server.take("ListUnits").answer(ListUnitsResponse(units=[ExecutionUnit(id="u2")]))
    assert [unit.id for unit in units.result(20)] == ["u1", "u2"]
