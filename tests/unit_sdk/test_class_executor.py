"""Class-based executors: commands call their methods."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from taskplane.protocol.structs import to_dict
from taskplane.unit import SyncTaskContext, TaskCancelled, TaskContext, Unit, class_executor
from taskplane.unit.testing import ScriptedServer, ScriptedSession
from taskplane.v1.execution_unit_control_pb2 import AttemptState, DropReason, RejectReason

Connect = Callable[[Unit], ScriptedSession]


class Calls:
    """The calls of all instances, in order."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.paused = threading.Event()
        self.resumed = threading.Event()
        self.may_finish = threading.Event()


def threaded(calls: Calls) -> type:
    class Threaded:
        def __init__(self) -> None:
            self.is_cancelled = threading.Event()

        def start(self, task: SyncTaskContext, config: dict[str, Any]) -> dict[str, Any]:
            while not calls.may_finish.is_set() and not self.is_cancelled.wait(0.001):
                task.report(0.5, "working")
            return {"calls": calls.names}

        def pause(self) -> dict[str, Any]:
            calls.names.append("pause")
            calls.paused.set()
            return {"row": 1}

        def resume(self) -> None:
            calls.names.append("resume")
            calls.resumed.set()

        def cancel(self) -> None:
            calls.names.append("cancel")
            self.is_cancelled.set()

        def get_status(self) -> dict[str, Any]:
            return {"progress": 0.75, "message": "asked", "checkpoint": {"row": 2}}

    return Threaded


def asynchronous(calls: Calls) -> type:
    class Asynchronous:
        def __init__(self) -> None:
            self.is_cancelled = asyncio.Event()

        async def start(self, task: TaskContext, config: dict[str, Any]) -> dict[str, Any]:
            while not calls.may_finish.is_set() and not self.is_cancelled.is_set():
                await asyncio.sleep(0.001)
                await task.report(0.5, "working")
            return {"calls": calls.names}

        async def pause(self) -> dict[str, Any]:
            calls.names.append("pause")
            calls.paused.set()
            return {"row": 1}

        async def resume(self) -> None:
            calls.names.append("resume")
            calls.resumed.set()

        async def cancel(self) -> None:
            calls.names.append("cancel")
            self.is_cancelled.set()

        async def get_status(self) -> dict[str, Any]:
            return {"progress": 0.75, "message": "asked", "checkpoint": {"row": 2}}

    return Asynchronous


both_kinds = pytest.mark.parametrize("make", [threaded, asynchronous])
Make = Callable[[Calls], type]


@pytest.fixture
def calls() -> Calls:
    return Calls()


@both_kinds
def test_pause_and_resume_go_to_the_instance(unit: Unit, connect: Connect, calls: Calls, make: Make) -> None:
    unit.task("WORK")(make(calls))
    session = connect(unit)
    session.start(1, 1, "WORK", last_checkpoint_number=4)
    session.expect("progress")
    session.pause(1, 1)
    paused = session.expect("paused").paused
    session.resume(1, 2, held_attempt=1)
    assert calls.resumed.wait(20)
    calls.may_finish.set()
    succeeded = session.expect("succeeded")

    assert (paused.checkpoint.number, to_dict(paused.checkpoint.data)) == (5, {"row": 1})
    assert paused.progress.message == "working"
    assert succeeded.attempt == 2
    assert to_dict(succeeded.succeeded.result) == {"calls": ["pause", "resume"]}


@both_kinds
def test_cancel_goes_to_the_instance_and_is_told_when_start_has_ended(
    unit: Unit, connect: Connect, calls: Calls, make: Make
) -> None:
    unit.task("WORK")(make(calls))
    session = connect(unit)
    session.start(1, 1, "WORK")
    session.expect("progress")
    session.cancel(1, 1)
    session.expect("cancelled")

    assert calls.names == ["cancel"]


@both_kinds
def test_a_paused_instance_can_be_cancelled(unit: Unit, connect: Connect, calls: Calls, make: Make) -> None:
    unit.task("WORK")(make(calls))
    session = connect(unit)
    session.start(1, 1, "WORK")
    session.pause(1, 1)
    session.expect("paused")
    session.cancel(1, 1)
    session.expect("cancelled")

    assert calls.names == ["pause", "cancel"]


@both_kinds
def test_status_is_asked_of_the_instance(unit: Unit, connect: Connect, calls: Calls, make: Make) -> None:
    unit.task("WORK")(make(calls))
    session = connect(unit)
    session.start(1, 1, "WORK")
    session.expect("progress")
    session.get_status(1, 1)
    status = session.expect("attempt_status").attempt_status

    assert status.state == AttemptState.ATTEMPT_STATE_RUNNING
    assert status.checkpoint_number == 1
    assert to_dict(session.expect("checkpoint").checkpoint.data) == {"row": 2}


def test_a_status_that_cannot_be_had_is_the_last_known(unit: Unit, connect: Connect, calls: Calls) -> None:
    executor = asynchronous(calls)

    async def get_status(self: object) -> dict[str, Any]:
        raise RuntimeError("no idea")

    executor.get_status = get_status  # type: ignore[attr-defined]  # the class is made above
    unit.task("WORK")(executor)
    session = connect(unit)
    session.start(1, 1, "WORK")
    session.expect("progress")
    session.get_status(1, 1)

    assert session.expect("attempt_status").attempt_status.progress.message == "working"


@both_kinds
def test_a_drained_instance_is_paused_and_given_back(
    server: ScriptedServer, connect: Connect, calls: Calls, make: Make
) -> None:
    unit = Unit(name="leaver", type="TEST", server=server.address, drain_seconds=20)
    unit.task("WORK")(make(calls))
    session = connect(unit)
    session.start(1, 1, "WORK")
    session.expect("progress")
    unit.stop()
    released = session.expect("released").released
    session.acknowledge()
    session.expect_goodbye()

    assert to_dict(released.checkpoint.data) == {"row": 1}
    assert calls.names == ["pause"]


@both_kinds
def test_a_dropped_instance_is_paused_and_nothing_is_cleaned_up(
    unit: Unit, connect: Connect, calls: Calls, make: Make
) -> None:
    unit.task("WORK")(make(calls))
    session = connect(unit)
    session.start(1, 1, "WORK")
    session.expect("progress")
    session.drop(1, 1, DropReason.DROP_REASON_SUPERSEDED)
    session.start(1, 2, "WORK")  # begins after the end of the dropped attempt
    assert calls.paused.wait(20)
    calls.may_finish.set()

    assert to_dict(session.expect("succeeded").succeeded.result) == {"calls": ["pause"]}


def test_start_that_reports_after_a_cancel_is_interrupted(unit: Unit, connect: Connect) -> None:
    ended_by: list[type[BaseException]] = []

    @unit.task("WORK", can_pause=False)
    class Work:
        def start(self, task: SyncTaskContext, config: dict[str, Any]) -> None:
            try:
                while True:
                    task.report(0.5)
            except TaskCancelled as error:
                ended_by.append(type(error))
                raise

        def cancel(self) -> None: ...

        def get_status(self) -> dict[str, Any]:
            return {}

    session = connect(unit)
    session.start(1, 1, "WORK")
    session.expect("progress")
    session.cancel(1, 1)
    session.expect("cancelled")

    assert ended_by == [TaskCancelled]


def test_an_asynchronous_start_that_ignores_a_cancel_is_cancelled_after_a_grace(
    unit: Unit, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(class_executor, "CANCEL_GRACE_SECONDS", 0.01)

    @unit.task("WORK", can_pause=False)
    class Work:
        async def start(self, task: TaskContext, config: dict[str, Any]) -> None:
            await task.report(0.5)
            await asyncio.Event().wait()

        async def cancel(self) -> None: ...

        async def get_status(self) -> dict[str, Any]:
            return {}

    session = connect(unit)
    session.start(1, 1, "WORK")
    session.expect("progress")
    session.cancel(1, 1)

    assert session.expect("cancelled").cancelled.message == ""


@both_kinds
def test_a_pause_that_fails_fails_the_attempt(unit: Unit, connect: Connect, calls: Calls, make: Make) -> None:
    def pause(self: object) -> None:
        raise OSError("cannot flush")

    executor = make(calls)
    executor.pause = pause  # type: ignore[attr-defined]  # the class is made above
    unit.task("WORK")(executor)
    session = connect(unit)
    session.start(1, 1, "WORK")
    session.expect("progress")
    session.pause(1, 1)

    assert session.expect("failed").failed.message == "OSError: cannot flush"
    calls.may_finish.set()


def test_every_attempt_gets_an_instance_of_its_own(unit: Unit, connect: Connect) -> None:
    instances: set[object] = set()

    @unit.task("WORK", can_pause=False)
    class Work:
        async def start(self, task: TaskContext, config: dict[str, Any]) -> None:
            instances.add(self)

        async def cancel(self) -> None: ...

        async def get_status(self) -> dict[str, Any]:
            return {}

    session = connect(unit)
    for attempt in (1, 2):
        session.start(1, attempt, "WORK")
        session.expect("succeeded")

    assert len(instances) == 2


def test_a_class_that_cannot_pause_refuses_to(unit: Unit, connect: Connect) -> None:
    @unit.task("WORK", can_pause=False)
    class Work:
        async def start(self, task: TaskContext, config: dict[str, Any]) -> None:
            await asyncio.Event().wait()

        async def cancel(self) -> None: ...

        async def get_status(self) -> dict[str, Any]:
            return {}

    session = connect(unit)
    session.start(1, 1, "WORK")
    session.pause(1, 1)

    assert session.expect("rejected").rejected.reason == RejectReason.REJECT_REASON_UNSUPPORTED


def test_a_class_that_lacks_a_method_is_refused_where_it_is_registered(unit: Unit) -> None:
    class Work:
        def start(self, task: SyncTaskContext, config: dict[str, Any]) -> None: ...

    with pytest.raises(TypeError, match="Work lacks cancel, get_status, pause, resume"):
        unit.task("WORK")(Work)
