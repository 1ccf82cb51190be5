"""The order of commands to a unit, and commands that cancel each other."""

import pytest
from support.builders import a_command, a_task

from taskplane.server.core.command import Command, Dispatch, control_command, dispatch_command, drop_command
from taskplane.server.core.errors import DropReason
from taskplane.server.core.task import TaskStatus, Verb
from taskplane.server.execution_units.links.command_queue import CommandQueue


def start(task_id: int, attempt: int = 1) -> Command:
    return dispatch_command(Dispatch(a_task(TaskStatus.RUNNING, id=task_id, attempt=attempt)))


def cancel(task_id: int, attempt: int = 1) -> Command:
    return control_command(a_task(TaskStatus.RUNNING, id=task_id, attempt=attempt), a_command(Verb.CANCEL))


def drop(task_id: int, attempt: int = 1) -> Command:
    return drop_command(task_id, attempt, DropReason.SUPERSEDED)


@pytest.fixture
def queue() -> CommandQueue:
    return CommandQueue()


def test_what_controls_goes_ahead_of_starts_and_each_kind_keeps_its_order(queue: CommandQueue) -> None:
    queue.put([start(1), cancel(3)])
    queue.put([start(2), drop(4)])
    assert queue.take() == [cancel(3), drop(4), start(1), start(2)]
    assert queue.take() == []


def test_what_controls_an_attempt_goes_behind_its_start(queue: CommandQueue) -> None:
    queue.put([start(1), start(2), cancel(1), cancel(3)])
    assert queue.take() == [cancel(3), start(1), cancel(1), start(2)]


def test_what_controls_an_older_attempt_does_not_wait(queue: CommandQueue) -> None:
    queue.put([start(1, attempt=2), drop(1, attempt=1)])
    assert queue.take() == [drop(1, attempt=1), start(1, attempt=2)]


def test_a_drop_withdraws_a_start_that_was_not_sent(queue: CommandQueue) -> None:
    queue.put([start(1), cancel(1), start(2)])
    queue.put([drop(1)])
    assert queue.take() == [start(2)]
    queue.put([drop(2)])
    assert queue.take() == [drop(2)]
