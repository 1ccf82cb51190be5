"""Responses to commands: once, repeated, or with a rejection."""

from typing import Any

import pytest
from unit_sdk.steps import Connect, Steps

from taskplane.unit import (
    SyncTaskContext,
    TaskContext,
    Unit,
    command_handler,
)
from taskplane.unit.testing import ScriptedServer
from taskplane.v1.execution_unit_control_pb2 import AttemptState, Command, RejectReason


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
    monkeypatch.setattr(command_handler, "_REMEMBERED", 2)
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


def test_a_unit_without_slots_is_quiet(server: ScriptedServer, connect: Connect) -> None:
    quiet = Unit(name="quiet", type="TEST", capacity=0, server=server.address, drain_seconds=0.1)
    Steps(quiet)
    session = connect(quiet)
    session.start(1, 1, "FUNCTION")

    assert session.expect("rejected").rejected.reason == RejectReason.REJECT_REASON_NO_SLOT
