"""Cancel and drop at safe points, and the reactions of executors."""

import asyncio
import threading
from typing import Any

import pytest
from unit_sdk.steps import Connect, Steps, both_kinds

from taskplane.unit import (
    Interrupted,
    SyncTaskContext,
    TaskCancelled,
    TaskContext,
    TaskDropped,
    Unit,
    executors,
)
from taskplane.v1.execution_unit_control_pb2 import DropReason, RejectReason


@both_kinds
def test_a_cancelled_attempt_is_told_of_after_its_clean_up(unit: Unit, connect: Connect, kind: str) -> None:
    steps = Steps(unit)
    session = connect(unit)
    session.start(1, 1, kind)
    session.cancel(1, 1)

    assert session.expect("cancelled").cancelled.message == ""
    assert steps.ended_by is TaskCancelled
    assert session.kinds(1) == ["accepted", "accepted", "cancelled"]


@both_kinds
def test_a_paused_attempt_can_be_cancelled(unit: Unit, connect: Connect, kind: str) -> None:
    steps = Steps(unit)
    session = connect(unit)
    session.start(1, 1, kind)
    session.pause(1, 1)
    session.expect("paused")
    session.cancel(1, 1)

    session.expect("cancelled")
    assert steps.ended_by is TaskCancelled


def test_a_cancel_goes_before_a_pending_pause(unit: Unit, connect: Connect) -> None:
    go = threading.Event()

    @unit.task("WORK")
    def work(task: SyncTaskContext, config: dict[str, Any]) -> None:
        go.wait()
        task.safe_point()

    session = connect(unit)
    session.start(1, 1, "WORK")
    session.pause(1, 1)
    cancel = session.cancel(1, 1)
    session.expect("accepted", command_id=cancel)
    go.set()

    session.expect("cancelled")
    assert "paused" not in session.kinds(1)


def test_a_clean_up_that_fails_is_told_with_the_cancellation(unit: Unit, connect: Connect) -> None:
    @unit.task("WORK")
    async def work(task: TaskContext, config: dict[str, Any]) -> None:
        try:
            while True:
                await task.safe_point()
        except TaskCancelled:
            raise OSError("cannot remove it") from None

    session = connect(unit)
    session.start(1, 1, "WORK")
    session.cancel(1, 1)

    assert session.expect("cancelled").cancelled.message == "clean-up failed: OSError: cannot remove it"


def test_an_executor_that_swallows_the_interruption_is_cancelled_all_the_same(unit: Unit, connect: Connect) -> None:
    raised: list[type[Interrupted]] = []

    @unit.task("WORK")
    async def work(task: TaskContext, config: dict[str, Any]) -> dict[str, Any]:
        while len(raised) < 2:
            try:
                await task.report(0.5)
            except Interrupted as interruption:
                raised.append(type(interruption))
        return {"done": True}

    session = connect(unit)
    session.start(1, 1, "WORK")
    session.cancel(1, 1)

    session.expect("cancelled")
    assert raised == [TaskCancelled, TaskCancelled]


def test_an_interruption_that_comes_out_of_a_task_group_is_a_clean_cancellation(unit: Unit, connect: Connect) -> None:
    @unit.task("WORK")
    async def work(task: TaskContext, config: dict[str, Any]) -> None:
        async with asyncio.TaskGroup():
            while True:
                await task.safe_point()

    session = connect(unit)
    session.start(1, 1, "WORK")
    session.cancel(1, 1)

    assert session.expect("cancelled").cancelled.message == ""


def test_a_coroutine_that_waits_for_long_is_cancelled_after_a_grace(
    unit: Unit, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "CANCEL_GRACE_SECONDS", 0.01)
    ended_by: list[type[BaseException]] = []

    @unit.task("WORK")
    async def work(task: TaskContext, config: dict[str, Any]) -> None:
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            ended_by.append(type(error))
            raise

    session = connect(unit)
    session.start(1, 1, "WORK")
    session.cancel(1, 1)

    assert session.expect("cancelled").cancelled.message == ""
    assert ended_by == [asyncio.CancelledError]


def test_a_pause_leaves_a_coroutine_that_waits_for_long_alone(
    unit: Unit, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "CANCEL_GRACE_SECONDS", 0.0)
    go = threading.Event()

    @unit.task("WORK")
    async def work(task: TaskContext, config: dict[str, Any]) -> None:
        await asyncio.to_thread(go.wait)

    session = connect(unit)
    session.start(1, 1, "WORK")
    session.pause(1, 1)
    session.expect("accepted")
    session.expect("accepted")
    session.start(2, 1, "WORK")
    session.expect("accepted", task_id=2)
    go.set()

    session.expect("succeeded", task_id=1)


@pytest.mark.parametrize(
    ("reason", "interruption"),
    [
        (DropReason.DROP_REASON_SUPERSEDED, TaskDropped),
        (DropReason.DROP_REASON_FINISHED, TaskDropped),
        (DropReason.DROP_REASON_CANCELLED, TaskCancelled),
        (DropReason.DROP_REASON_DELETED, TaskCancelled),
    ],
)
@both_kinds
def test_a_dropped_attempt_stops_and_says_nothing_more(
    unit: Unit, connect: Connect, kind: str, reason: DropReason.ValueType, interruption: type[Interrupted]
) -> None:
    steps = Steps(unit)
    session = connect(unit)
    session.start(1, 1, kind)
    session.expect("accepted")
    session.drop(1, 1, reason)
    session.expect("accepted")
    assert steps.has_ended.wait(20)
    gone = session.get_status(1, 1)
    session.expect("rejected", command_id=gone)

    assert steps.ended_by is interruption
    assert session.kinds(1) == ["accepted", "accepted", "rejected"]


def test_dropping_an_attempt_that_is_not_held_is_accepted(unit: Unit, connect: Connect) -> None:
    Steps(unit)
    session = connect(unit)
    session.drop(1, 1, DropReason.DROP_REASON_FINISHED)

    session.expect("accepted")


def test_a_newer_attempt_of_a_task_begins_when_the_dropped_one_has_ended(unit: Unit, connect: Connect) -> None:
    go = threading.Event()
    at_work: list[int] = []

    @unit.task("WORK")
    def work(task: SyncTaskContext, config: dict[str, Any]) -> None:
        at_work.append(task.attempt)
        if task.attempt == 1:
            task.report(0.1)
            go.wait()
            task.safe_point()
        task.report(0.2)

    session = connect(unit)
    session.start(1, 1, "WORK")
    session.expect("progress")
    session.start(1, 2, "WORK")
    session.expect("accepted")
    session.expect("accepted")
    assert at_work == [1]
    go.set()

    assert session.expect("succeeded").attempt == 2


def test_an_attempt_that_is_being_cancelled_cannot_be_resumed(unit: Unit, connect: Connect) -> None:
    go = threading.Event()

    @unit.task("WORK")
    def work(task: SyncTaskContext, config: dict[str, Any]) -> None:
        go.wait()
        task.safe_point()

    session = connect(unit)
    session.start(1, 1, "WORK")
    session.cancel(1, 1)
    resume = session.resume(1, 2, held_attempt=1)
    refused = session.expect("rejected", command_id=resume)
    go.set()

    assert refused.rejected.reason == RejectReason.REJECT_REASON_OTHER
    session.expect("cancelled")
