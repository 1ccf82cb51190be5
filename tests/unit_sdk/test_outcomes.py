"""The outcome of an attempt, by the result or the exception of the executor."""

import asyncio
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from taskplane.protocol.structs import to_dict
from taskplane.unit import SyncTaskContext, TaskCancelled, TaskContext, TaskFailed, Unit
from taskplane.unit.testing import ScriptedSession
from taskplane.v1.execution_unit_control_pb2 import FailedReport

Connect = Callable[[Unit], ScriptedSession]


def failure_of(unit: Unit, connect: Connect, code: Callable[..., Any], **options: Any) -> FailedReport:
    """Run one failing attempt, and return the report."""
    unit.task("WORK", **options)(code)
    session = connect(unit)
    session.start(1, 1, "WORK")
    session.expect("accepted")
    return session.expect("failed").failed


def raising(error: BaseException) -> Callable[..., Any]:
    def work(task: SyncTaskContext, config: dict[str, Any]) -> None:
        raise error

    return work


def test_what_a_coroutine_returns_is_the_result(unit: Unit, connect: Connect) -> None:
    @unit.task("WORK")
    async def work(task: TaskContext, config: dict[str, Any]) -> dict[str, Any]:
        return {"config": config, "task": task.task_id, "attempt": task.attempt, "name": task.task_name}

    session = connect(unit)
    session.start(7, 3, "WORK", {"a": 1})

    result = to_dict(session.expect("succeeded").succeeded.result)
    assert result == {"config": {"a": 1}, "task": 7, "attempt": 3, "name": "task 7"}


def test_what_a_function_returns_is_the_result(unit: Unit, connect: Connect) -> None:
    @unit.task("WORK")
    def work(task: SyncTaskContext, config: dict[str, Any]) -> dict[str, Any]:
        return {"thread": threading.current_thread().name, "from": task.checkpoint, "max": task.max_retries}

    session = connect(unit)
    session.start(7, 3, "WORK", checkpoint={"row": 5}, last_checkpoint_number=2)

    result = to_dict(session.expect("succeeded").succeeded.result)
    assert result == {"thread": "task_id=7 attempt=3", "from": {"row": 5}, "max": 3}


def test_an_executor_need_not_return_anything(unit: Unit, connect: Connect) -> None:
    @unit.task("WORK")
    async def work(task: TaskContext, config: dict[str, Any]) -> None:
        assert task.checkpoint is None

    session = connect(unit)
    session.start(1, 1, "WORK")

    assert not session.expect("succeeded").succeeded.HasField("result")


@pytest.mark.parametrize("result", [[1], {"a": float("nan")}, {"a": object()}, {"a": "x" * (1 << 20)}])
def test_a_result_that_a_task_cannot_hold_is_not_tried_again(unit: Unit, connect: Connect, result: Any) -> None:
    failure = failure_of(unit, connect, lambda task, config: result)

    assert failure.message.startswith("result")
    assert failure.not_retryable


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("no luck"), "RuntimeError: no luck"),
        (StopIteration("over"), "RuntimeError: coroutine raised StopIteration"),
        (SystemExit(3), "SystemExit: 3"),
        (TaskCancelled("by myself"), "TaskCancelled: by myself"),
        (FileNotFoundError(2, "missing", "\udcff"), "FileNotFoundError: [Errno 2] missing: '\\udcff'"),
        (ValueError("\udcff"), "ValueError: ?"),
    ],
)
def test_any_exception_is_a_failure_that_may_be_tried_again(
    unit: Unit, connect: Connect, error: BaseException, message: str
) -> None:
    failure = failure_of(unit, connect, raising(error))

    assert failure.message == message
    assert not failure.not_retryable


def test_a_coroutine_that_cancels_itself_has_failed(unit: Unit, connect: Connect) -> None:
    async def work(task: TaskContext, config: dict[str, Any]) -> None:
        raise asyncio.CancelledError

    assert failure_of(unit, connect, work).message == "CancelledError: "


def test_task_failed_speaks_for_itself(unit: Unit, connect: Connect) -> None:
    error = TaskFailed("disk full", retryable=True, retry_delay=timedelta(seconds=90), checkpoint={"row": 9})

    failure = failure_of(unit, connect, raising(error))

    assert failure.message == "disk full"
    assert not failure.not_retryable
    assert failure.retry_delay.seconds == 90
    assert (failure.checkpoint.number, to_dict(failure.checkpoint.data)) == (1, {"row": 9})


def test_task_failed_is_not_retryable_unless_it_says_so(unit: Unit, connect: Connect) -> None:
    failure = failure_of(unit, connect, raising(TaskFailed("no such file")))

    assert failure.not_retryable
    assert not failure.HasField("retry_delay")
    assert not failure.HasField("checkpoint")


def test_a_delay_may_be_given_in_seconds(unit: Unit, connect: Connect) -> None:
    failure = failure_of(unit, connect, raising(TaskFailed("later", retryable=True, retry_delay=1.5)))

    assert failure.retry_delay.ToMilliseconds() == 1500


def test_a_checkpoint_of_task_failed_that_is_not_json_is_told(unit: Unit, connect: Connect) -> None:
    failure = failure_of(unit, connect, raising(TaskFailed("x", checkpoint={"a": object()})))

    assert failure.message == "DocumentTypeError: checkpoint.a: object is not a JSON type"


def test_a_very_long_message_is_cut(unit: Unit, connect: Connect) -> None:
    assert len(failure_of(unit, connect, raising(RuntimeError("x" * 20_000))).message) == 10_000


def test_a_bad_config_fails_before_the_executor_begins(unit: Unit, connect: Connect) -> None:
    @dataclass
    class Config:
        path: str

    failure = failure_of(unit, connect, lambda task, config: sys.exit("begun"), config=Config)

    assert failure.message == "bad config: path: missing"
    assert failure.not_retryable
