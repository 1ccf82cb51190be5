"""Pause and resume at safe points."""

import threading
from typing import Any

from unit_sdk.steps import Connect, Steps, both_kinds

from taskplane.protocol.structs import to_dict
from taskplane.unit import (
    SyncTaskContext,
    TaskContext,
    Unit,
)
from taskplane.unit.testing import ScriptedServer
from taskplane.v1.execution_unit_control_pb2 import RejectReason


@both_kinds
def test_a_pause_is_accepted_and_then_answered_with_the_checkpoint(unit: Unit, connect: Connect, kind: str) -> None:
    Steps(unit)
    session = connect(unit)
    session.start(1, 1, kind, last_checkpoint_number=4)
    session.pause(1, 1)

    paused = session.expect("paused").paused

    assert session.kinds(1) == ["accepted", "accepted", "paused"]
    assert (paused.checkpoint.number, to_dict(paused.checkpoint.data)) == (5, {"step": 1})


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
    assert to_dict(succeeded.succeeded.result)["steps"] <= 2
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
    assert (paused.progress.fraction, to_dict(paused.checkpoint.data)) == (0.25, {"row": 1})
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
