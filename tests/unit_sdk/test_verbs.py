"""Pause, resume, cancel and drop, met at safe points."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from taskplane.unit import (
    Interrupted,
    SyncTaskContext,
    TaskCancelled,
    TaskContext,
    TaskDropped,
    Unit,
    commands,
    executors,
)
from taskplane.unit.structs import from_struct
from taskplane.unit.testing import ScriptedServer, ScriptedSession
from taskplane.v1.execution_unit_control_pb2 import AttemptState, Command, DropReason, RejectReason

Connect = Callable[[Unit], ScriptedSession]


class Steps:
    """An executor that works until it is let finish, with a safe point at each step, and notes what ended it."""

    def __init__(self, unit: Unit, *, can_pause: bool = True) -> None:
        self.may_finish = threading.Event()
        self.has_ended = threading.Event()
        self.ended_by: type[BaseException] | None = None
        self.steps = 0
        self.attempts: list[int] = []
        unit.task("FUNCTION", can_pause=can_pause)(self.function)
        unit.task("COROUTINE", can_pause=can_pause)(self.coroutine)

    def function(self, task: SyncTaskContext, config: dict[str, Any]) -> dict[str, Any]:
        try:
            while not self.may_finish.wait(0.001):
                task.safe_point(self.checkpoint)
                self.attempts.append(task.attempt)
        except BaseException as error:
            self.end(error)
            raise
        return {"steps": self.steps}

    async def coroutine(self, task: TaskContext, config: dict[str, Any]) -> dict[str, Any]:
        try:
            while not self.may_finish.is_set():
                await asyncio.sleep(0.001)
                await task.safe_point(self.checkpoint)
                self.attempts.append(task.attempt)
        except BaseException as error:
            self.end(error)
            raise
        return {"steps": self.steps}

    def checkpoint(self) -> dict[str, Any]:
        self.steps += 1
        return {"step": self.steps}

    def end(self, error: BaseException) -> None:
        self.ended_by = type(error)
        self.has_ended.set()


both_kinds = pytest.mark.parametrize("kind", ["FUNCTION", "COROUTINE"])


@both_kinds
def test_a_pause_is_accepted_and_then_answered_with_the_checkpoint(unit: Unit, connect: Connect, kind: str) -> None:
    Steps(unit)
    session = connect(unit)
    session.start(1, 1, kind, last_checkpoint_number=4)
    session.pause(1, 1)

    paused = session.expect("paused").paused

    assert session.kinds(1) == ["accepted", "accepted", "paused"]
    assert (paused.checkpoint.number, from_struct(paused.checkpoint.data)) == (5, {"step": 1})


@both_kinds
def test_a_paused_attempt_goes_on_under_a_new_number_where_it_stood(unit: Unit, connect: Connect, kind: str) -> None:
    steps = Steps(unit)
    session = connect(unit)
    session.start(1, 1, kind)
    session.pause(1, 1)
    session.expect("paused")
    session.resume(1, 2, held_attempt=1, last_checkpoint_number=10)
    session.pause(1, 2)

    paused = session.expect("paused")
    session.resume(1, 3, held_attempt=2)
    steps.may_finish.set()
    succeeded = session.expect("succeeded")

    assert paused.attempt == 2
    assert succeeded.attempt == 3
    assert from_struct(succeeded.succeeded.result)["steps"] <= 2
    assert set(steps.attempts) <= {1, 2, 3}


def test_checkpoints_are_numbered_on_from_what_a_resume_says(unit: Unit, connect: Connect) -> None:
    go = threading.Semaphore(0)

    @unit.task("WORK")
    def work(task: SyncTaskContext, config: dict[str, Any]) -> None:
        for row in range(2):
            go.acquire()
            task.report(0.5 * row, "a row", {"row": row})

    session = connect(unit)
    session.start(1, 1, "WORK", last_checkpoint_number=3)
    session.pause(1, 1, command_id="pause")
    session.expect("accepted", command_id="pause")
    go.release()
    paused = session.expect("paused").paused
    session.resume(1, 2, held_attempt=1, last_checkpoint_number=10, command_id="resume")
    session.expect("accepted", command_id="resume")
    go.release()

    assert (paused.checkpoint.number, paused.progress.message) == (4, "a row")
    assert session.expect("checkpoint").checkpoint.number == 11


def test_a_report_that_meets_a_pause_is_told_once_in_the_paused_report(unit: Unit, connect: Connect) -> None:
    go = threading.Event()

    @unit.task("WORK")
    def work(task: SyncTaskContext, config: dict[str, Any]) -> None:
        go.wait()
        task.report(0.25, "row 1", {"row": 1})

    session = connect(unit)
    session.start(1, 1, "WORK")
    session.pause(1, 1, command_id="pause")
    session.expect("accepted", command_id="pause")
    go.set()

    paused = session.expect("paused").paused
    assert (paused.progress.fraction, from_struct(paused.checkpoint.data)) == (0.25, {"row": 1})
    assert session.kinds(1) == ["accepted", "accepted", "paused"]


def test_a_paused_attempt_holds_no_slot_and_a_resume_needs_one(server: ScriptedServer, connect: Connect) -> None:
    small = Unit(name="small", type="TEST", capacity=1, server=server.address, drain_seconds=0.1)
    Steps(small)
    session = connect(small)
    session.start(1, 1, "COROUTINE")
    refused = session.start(2, 1, "COROUTINE")
    assert session.expect("rejected", command_id=refused).rejected.reason == RejectReason.REJECT_REASON_NO_SLOT

    session.pause(1, 1)
    session.expect("paused")
    begun = session.start(2, 2, "COROUTINE")
    session.expect("accepted", command_id=begun)
    refused = session.resume(1, 2, held_attempt=1)
    assert session.expect("rejected", command_id=refused).rejected.reason == RejectReason.REJECT_REASON_NO_SLOT

    session.pause(2, 2)
    session.expect("paused", task_id=2)
    resumed = session.resume(1, 3, held_attempt=1)
    session.expect("accepted", command_id=resumed)


def test_an_ended_attempt_gives_its_slot_back_before_it_is_told(server: ScriptedServer, connect: Connect) -> None:
    small = Unit(name="small", type="TEST", capacity=1, server=server.address, drain_seconds=0.1)

    @small.task("WORK")
    async def work(task: TaskContext, config: dict[str, Any]) -> None:
        return

    session = connect(small)
    for task_id in range(1, 20):
        session.start(task_id, 1, "WORK")
        session.expect("succeeded", task_id=task_id)

    assert "rejected" not in {report.WhichOneof("kind") for report in session.reports}


def test_a_type_that_cannot_pause_refuses_to(unit: Unit, connect: Connect) -> None:
    Steps(unit, can_pause=False)
    session = connect(unit)
    session.start(1, 1, "COROUTINE")
    pause = session.pause(1, 1)

    assert session.expect("rejected", command_id=pause).rejected.reason == RejectReason.REJECT_REASON_UNSUPPORTED


def test_an_attempt_that_ends_in_spite_of_a_pause_has_succeeded(unit: Unit, connect: Connect) -> None:
    go = threading.Event()

    @unit.task("WORK")
    def work(task: SyncTaskContext, config: dict[str, Any]) -> dict[str, Any]:
        go.wait()
        return {"done": True}

    session = connect(unit)
    session.start(1, 1, "WORK")
    pause = session.pause(1, 1)
    session.expect("accepted", command_id=pause)
    go.set()

    session.expect("succeeded")


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


@pytest.mark.parametrize("verb", ["pause", "cancel", "resume", "get_status"])
def test_what_is_not_held_is_refused(unit: Unit, connect: Connect, verb: str) -> None:
    Steps(unit)
    session = connect(unit)
    more = {"held_attempt": 1} if verb == "resume" else {}
    getattr(session, verb)(1, 2, **more)

    assert session.expect("rejected").rejected.reason == RejectReason.REJECT_REASON_UNKNOWN_ATTEMPT


def test_an_unknown_type_is_refused(unit: Unit, connect: Connect) -> None:
    Steps(unit)
    session = connect(unit)
    session.start(1, 1, "OTHER")

    assert session.expect("rejected").rejected.reason == RejectReason.REJECT_REASON_UNKNOWN_TASK_TYPE


def test_status_is_told(unit: Unit, connect: Connect) -> None:
    @unit.task("WORK")
    def work(task: SyncTaskContext, config: dict[str, Any]) -> None:
        task.report(0.5, "half", {"row": 1})
        while True:
            task.safe_point()

    session = connect(unit)
    session.start(1, 1, "WORK", last_checkpoint_number=2)
    session.expect("checkpoint")
    asked = session.get_status(1, 1)
    running = session.expect("attempt_status", command_id=asked).attempt_status
    session.pause(1, 1)
    session.expect("paused")
    session.get_status(1, 1)
    paused = session.expect("attempt_status").attempt_status

    assert (running.state, running.progress.message) == (AttemptState.ATTEMPT_STATE_RUNNING, "half")
    assert (paused.state, paused.checkpoint_number) == (AttemptState.ATTEMPT_STATE_PAUSED, 3)


def test_a_repeated_command_is_answered_again_as_before_and_not_carried_out_again(unit: Unit, connect: Connect) -> None:
    steps = Steps(unit)
    session = connect(unit)
    for _ in range(2):
        session.start(1, 1, "FUNCTION", command_id="start")
        session.expect("accepted", command_id="start")
    for _ in range(2):
        session.pause(1, 1, command_id="pause")
        session.expect("accepted", command_id="pause")
    session.expect("paused")
    for _ in range(2):
        session.resume(1, 2, held_attempt=1, command_id="resume")
        session.expect("accepted", command_id="resume")
    session.pause(9, 1, command_id="unknown")
    session.expect("rejected", command_id="unknown")
    session.start(9, 1, "FUNCTION")
    session.pause(9, 1, command_id="unknown")
    session.expect("rejected", command_id="unknown")
    steps.may_finish.set()
    session.expect("succeeded", task_id=1)

    assert session.kinds(1).count("paused") == 1


def test_an_attempt_is_begun_once_whatever_the_command_is_called(unit: Unit, connect: Connect) -> None:
    begun: list[int] = []

    @unit.task("WORK")
    async def work(task: TaskContext, config: dict[str, Any]) -> None:
        begun.append(task.attempt)

    session = connect(unit)
    session.start(1, 1, "WORK", command_id="first")
    session.expect("succeeded")
    session.acknowledge()
    session.start(1, 1, "WORK", command_id="second")
    session.expect("accepted", command_id="second")
    session.start(2, 7, "WORK")
    session.expect("succeeded", task_id=2)

    assert begun == [1, 7]


def test_only_so_many_answers_are_remembered(unit: Unit, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "_REMEMBERED", 2)
    Steps(unit)
    session = connect(unit)
    session.pause(1, 1, command_id="early")
    session.expect("rejected", command_id="early")
    for number in range(2):
        session.pause(2, 1, command_id=f"later {number}")
    session.start(1, 1, "COROUTINE")
    session.pause(1, 1, command_id="early")

    session.expect("accepted", command_id="early")


def test_an_order_of_a_newer_server_is_refused(unit: Unit, connect: Connect) -> None:
    Steps(unit)
    session = connect(unit)
    session.command(Command(task_id=1, attempt=1), "strange")

    assert session.expect("rejected").rejected.reason == RejectReason.REJECT_REASON_UNSUPPORTED


@both_kinds
def test_a_second_pause_of_a_paused_attempt_is_answered_as_the_first(unit: Unit, connect: Connect, kind: str) -> None:
    Steps(unit)
    session = connect(unit)
    session.start(1, 1, kind)
    session.pause(1, 1)
    first = session.expect("paused").paused
    session.pause(1, 1)

    assert session.expect("paused").paused == first


def test_a_resume_that_overtakes_its_pause_undoes_it(unit: Unit, connect: Connect) -> None:
    go = threading.Event()

    @unit.task("WORK")
    def work(task: SyncTaskContext, config: dict[str, Any]) -> None:
        go.wait()
        task.safe_point()

    session = connect(unit)
    session.start(1, 1, "WORK")
    session.pause(1, 1)
    resume = session.resume(1, 2, held_attempt=1)
    session.expect("accepted", command_id=resume)
    go.set()

    assert session.expect("succeeded").attempt == 2
    assert "paused" not in session.kinds(1)


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


def test_a_resume_that_was_carried_out_is_accepted_again_under_another_id(unit: Unit, connect: Connect) -> None:
    Steps(unit)
    session = connect(unit)
    session.start(1, 1, "FUNCTION")
    session.pause(1, 1)
    session.expect("paused")
    for command_id in ("first", "second"):
        session.resume(1, 2, held_attempt=1, command_id=command_id)
        session.expect("accepted", command_id=command_id)


def test_an_attempt_that_has_ended_cannot_be_paused(unit: Unit, connect: Connect) -> None:
    steps = Steps(unit)
    steps.may_finish.set()
    session = connect(unit)
    session.start(1, 1, "FUNCTION")
    session.expect("succeeded")
    session.pause(1, 1)

    assert session.expect("rejected").rejected.message == "it has ended, as was reported"


def test_a_unit_without_slots_is_quiet(server: ScriptedServer, connect: Connect) -> None:
    quiet = Unit(name="quiet", type="TEST", capacity=0, server=server.address, drain_seconds=0.1)
    Steps(quiet)
    session = connect(quiet)
    session.start(1, 1, "FUNCTION")

    assert session.expect("rejected").rejected.reason == RejectReason.REJECT_REASON_NO_SLOT
