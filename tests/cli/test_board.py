import pytest

from taskplane.cli.board import Board, Row
from taskplane.v1.task_pb2 import (
    COMMAND_VERB_PAUSE,
    TASK_STATUS_CANCELLED,
    TASK_STATUS_FAILED,
    TASK_STATUS_PAUSED,
    TASK_STATUS_RUNNING,
    TASK_STATUS_SUCCESS,
    PendingCommand,
    Progress,
    Task,
    TaskStatus,
)
from taskplane.v1.task_service_pb2 import ProgressEvent, TaskDeleted, TransitionEvent, WatchTasksResponse


def running(fraction: float, attempt: int = 1, pending_command: PendingCommand | None = None) -> Task:
    return Task(
        id=1,
        status=TASK_STATUS_RUNNING,
        attempt=attempt,
        progress=Progress(fraction=fraction),
        pending_command=pending_command,
    )


def snapshot(task_id: int, status: TaskStatus.ValueType = TASK_STATUS_RUNNING) -> WatchTasksResponse:
    return WatchTasksResponse(snapshot=Task(id=task_id, status=status, attempt=1))


def transition(task_id: int, status: TaskStatus.ValueType) -> WatchTasksResponse:
    return WatchTasksResponse(transition=TransitionEvent(task=Task(id=task_id, status=status, attempt=1)))


def progress(task_id: int, fraction: float, attempt: int = 1) -> WatchTasksResponse:
    event = ProgressEvent(task_id=task_id, attempt=attempt, progress=Progress(fraction=fraction))
    return WatchTasksResponse(progress=event)


def deleted(task_id: int) -> WatchTasksResponse:
    return WatchTasksResponse(deleted=TaskDeleted(task_id=task_id))


def test_the_rate_is_that_of_the_last_seconds() -> None:
    row = Row(running(0.0), at=0)
    assert row.rate() is None
    row.progress(0.1, "", at=10)
    assert row.rate() == pytest.approx(0.01)
    assert row.seconds_left() == pytest.approx(90)
    row.progress(0.2, "", at=100)
    assert row.rate() is None
    row.progress(0.4, "", at=110)
    assert row.rate() == pytest.approx(0.02)
    assert row.seconds_left() == pytest.approx(30)


def test_without_progress_there_is_no_rate() -> None:
    row = Row(running(0.5), at=0)
    row.progress(0.5, "", at=10)
    assert row.rate() is None
    assert row.seconds_left() is None


def test_a_task_that_is_about_to_pause_has_no_time_left() -> None:
    row = Row(running(0.0), at=0)
    row.update(running(0.1, pending_command=PendingCommand(verb=COMMAND_VERB_PAUSE)), at=10)
    assert row.rate() is not None
    assert row.seconds_left() is None


def test_a_pause_does_not_count_in_the_rate() -> None:
    row = Row(running(0.0), at=0)
    row.progress(0.1, "", at=10)
    row.update(Task(id=1, status=TASK_STATUS_PAUSED, attempt=1, progress=Progress(fraction=0.1)), at=11)
    assert row.rate() is None
    row.update(running(0.1, attempt=2), at=15)
    assert row.rate() is None
    row.progress(0.2, "", at=20)
    assert row.rate() == pytest.approx(0.02)


def test_a_new_attempt_has_its_own_rate() -> None:
    row = Row(running(0.5), at=0)
    row.update(running(0.1, attempt=2), at=10)
    row.progress(0.2, "", at=20)
    assert row.rate() == pytest.approx(0.01)


def test_a_board_is_a_success_if_every_task_is() -> None:
    board = Board([1, 2])
    board.apply(snapshot(1, TASK_STATUS_SUCCESS), at=0)
    board.apply(snapshot(2), at=0)
    assert not board.is_success()
    board.apply(transition(2, TASK_STATUS_CANCELLED), at=1)
    assert not board.is_success()
    board.apply(transition(2, TASK_STATUS_SUCCESS), at=2)
    assert board.is_success()


def test_a_restart_opens_a_row_again() -> None:
    board = Board([1])
    board.apply(transition(1, TASK_STATUS_FAILED), at=0)
    assert board.rows[1].is_over
    board.apply(transition(1, TASK_STATUS_RUNNING), at=1)
    assert not board.rows[1].is_over


def test_a_deleted_task_is_over_with_its_last_status() -> None:
    board = Board([1])
    board.apply(snapshot(1, TASK_STATUS_SUCCESS), at=0)
    board.apply(deleted(1), at=1)
    assert board.rows[1].is_over
    assert board.is_success()


def test_progress_of_another_attempt_is_not_the_tasks() -> None:
    board = Board([1])
    board.apply(snapshot(1), at=0)
    assert board.apply(progress(1, 0.3, attempt=2), at=1) is None
    assert board.apply(progress(7, 0.3), at=1) is None
    row = board.apply(progress(1, 0.2), at=1)
    assert row is not None
    assert row.task.progress.fraction == pytest.approx(0.2)


def test_a_board_of_all_tasks_keeps_live_ones() -> None:
    board = Board()
    assert board.apply(snapshot(1, TASK_STATUS_SUCCESS), at=0) is None
    board.apply(snapshot(2), at=0)
    row = board.apply(transition(2, TASK_STATUS_FAILED), at=1)
    assert row is not None
    assert row.is_over
    board.forget_ended()
    assert board.rows == {}
