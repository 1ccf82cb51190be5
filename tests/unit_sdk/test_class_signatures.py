"""Classes in the form of the requirements: methods take the task's id, and `get_status` returns the progress."""

# ruff: noqa: N803 - parameters are called as in the requirements

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from taskplane.protocol.structs import to_dict
from taskplane.unit import SyncTaskContext, Unit, class_executor
from taskplane.unit.testing import ScriptedServer, ScriptedSession
from taskplane.v1.execution_unit_control_pb2 import AttemptState, DropReason

Connect = Callable[[Unit], ScriptedSession]
Calls = list[tuple[Any, ...]]
TASK_ID = 7


@pytest.fixture(autouse=True)
def _asked_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_executor, "STATUS_SECONDS", 0.01)


class Controls:
    """The switches and the observations of a test's executor."""

    def __init__(self) -> None:
        self.calls: Calls = []
        self.may_finish = threading.Event()
        self.resumed = threading.Event()
        self.rows = 1


def in_threads(controls: Controls) -> type:
    class Work:
        def start(
            self, task_id: int, config: dict[str, Any], checkpoint: dict[str, Any] | None = None
        ) -> dict[str, Any]:
            controls.calls.append(("start", task_id, config, checkpoint))
            controls.may_finish.wait()
            return {"rows": controls.rows}

        def pause(self, task_id: int) -> None:
            controls.calls.append(("pause", task_id))

        def resume(self, task_id: int) -> None:
            controls.calls.append(("resume", task_id))
            controls.resumed.set()

        def cancel(self, task_id: int) -> None:
            controls.calls.append(("cancel", task_id))
            controls.may_finish.set()

        def get_status(self, task_id: int) -> dict[str, Any]:
            assert task_id == TASK_ID
            return {"progress": controls.rows / 10, "message": "asked", "checkpoint": {"row": controls.rows}}

    return Work


def as_coroutines(controls: Controls) -> type:
    class Work:
        async def start(self, taskId: int, config: dict[str, Any], checkpoint: Any = None) -> dict[str, Any]:
            controls.calls.append(("start", taskId, config, checkpoint))
            await asyncio.to_thread(controls.may_finish.wait)
            return {"rows": controls.rows}

        async def pause(self, taskId: int) -> None:
            controls.calls.append(("pause", taskId))

        async def resume(self, taskId: int) -> None:
            controls.calls.append(("resume", taskId))
            controls.resumed.set()

        async def cancel(self, taskId: int) -> None:
            controls.calls.append(("cancel", taskId))
            controls.may_finish.set()

        async def getStatus(self, taskId: int) -> dict[str, Any]:
            assert taskId == TASK_ID
            return {"progress": controls.rows / 10, "message": "asked", "checkpoint": {"row": controls.rows}}

    return Work


both_kinds = pytest.mark.parametrize("make", [in_threads, as_coroutines])
Make = Callable[[Controls], type]


@pytest.fixture
def controls() -> Controls:
    return Controls()


@both_kinds
def test_every_method_gets_the_id_of_the_task(unit: Unit, connect: Connect, controls: Controls, make: Make) -> None:
    unit.task("WORK")(make(controls))
    session = connect(unit)
    session.start(TASK_ID, 1, "WORK", {"a": 1}, checkpoint={"row": 0}, last_checkpoint_number=3)
    session.expect("progress")
    session.pause(TASK_ID, 1)
    paused = session.expect("paused").paused
    session.resume(TASK_ID, 2, held_attempt=1)
    assert controls.resumed.wait(20)
    session.get_status(TASK_ID, 2)
    status = session.expect("attempt_status").attempt_status
    session.cancel(TASK_ID, 2)
    session.expect("cancelled")

    # `pause` returns no checkpoint, so `get_status` is called for one.
    assert to_dict(paused.checkpoint.data) == {"row": 1}
    assert (status.state, status.progress.message) == (AttemptState.ATTEMPT_STATE_RUNNING, "asked")
    assert controls.calls == [
        ("start", TASK_ID, {"a": 1}, {"row": 0}),
        ("pause", TASK_ID),
        ("resume", TASK_ID),
        ("cancel", TASK_ID),
    ]


@both_kinds
def test_what_start_returns_is_the_result(unit: Unit, connect: Connect, controls: Controls, make: Make) -> None:
    unit.task("WORK")(make(controls))
    session = connect(unit)
    session.start(TASK_ID, 1, "WORK")
    controls.may_finish.set()

    assert to_dict(session.expect("succeeded").succeeded.result) == {"rows": 1}


@both_kinds
def test_a_drained_instance_is_given_back_with_its_checkpoint(
    server: ScriptedServer, connect: Connect, controls: Controls, make: Make
) -> None:
    unit = Unit(name="leaver", type="TEST", server=server.address, drain_seconds=20)
    unit.task("WORK")(make(controls))
    session = connect(unit)
    session.start(TASK_ID, 1, "WORK")
    session.expect("progress")
    unit.stop()

    assert to_dict(session.expect("released").released.checkpoint.data) == {"row": 1}
    session.acknowledge()
    session.expect_goodbye()
    controls.may_finish.set()


@both_kinds
def test_the_progress_of_a_start_that_does_not_report_is_asked_for_and_told_when_it_is_new(
    unit: Unit, connect: Connect, controls: Controls, make: Make
) -> None:
    unit.task("WORK")(make(controls))
    session = connect(unit)
    session.start(TASK_ID, 1, "WORK")
    first = session.expect("progress").progress
    checkpoint = session.expect("checkpoint").checkpoint
    controls.rows = 2
    second = session.expect("progress").progress
    controls.may_finish.set()
    session.expect("succeeded")

    assert (first.fraction, first.message, second.fraction) == (0.1, "asked", 0.2)
    assert to_dict(checkpoint.data) == {"row": 1}
    assert session.kinds(TASK_ID).count("progress") == 2


def test_a_start_that_reports_is_not_asked(unit: Unit, connect: Connect) -> None:
    asked = threading.Event()
    may_finish = threading.Event()

    @unit.task("WORK", can_pause=False)
    class Work:
        async def start(self, task: Any, config: dict[str, Any]) -> None:
            await task.report(0.5, "its own words")
            await asyncio.to_thread(may_finish.wait)
            # Long enough for several calls of get_status.
            await asyncio.sleep(20 * class_executor.STATUS_SECONDS)

        async def cancel(self) -> None: ...

        async def get_status(self) -> dict[str, Any]:
            asked.set()
            return {"progress": 0.1}

    session = connect(unit)
    session.start(TASK_ID, 1, "WORK")
    session.expect("progress")
    may_finish.set()
    session.expect("succeeded")

    assert not asked.is_set()


def test_a_status_that_is_no_dict_is_told_once_and_the_work_goes_on(
    unit: Unit, connect: Connect, controls: Controls, caplog: pytest.LogCaptureFixture
) -> None:
    executor = in_threads(controls)
    asked = threading.Event()

    def get_status(self: object, task_id: int) -> str:
        asked.set()
        return "all is well"

    executor.get_status = get_status  # type: ignore[attr-defined]  # the class is made above
    unit.task("WORK")(executor)
    session = connect(unit)
    session.start(TASK_ID, 1, "WORK")
    assert asked.wait(20)
    controls.may_finish.set()
    session.expect("succeeded")

    assert caplog.text.count("get_status must return a dict, not str") == 1


def test_an_id_that_is_annotated_as_a_text_is_one(unit: Unit, connect: Connect) -> None:
    calls: Calls = []

    @unit.task("WORK", can_pause=False)
    class Work:
        @staticmethod
        def start(task_id: str, config: dict[str, Any]) -> None:
            calls.append((task_id,))

        @classmethod
        def cancel(cls, some_task: str) -> None: ...

        def get_status(self, *args: str) -> dict[str, Any]:
            return {}

    session = connect(unit)
    session.start(TASK_ID, 1, "WORK")
    session.expect("succeeded")

    assert calls == [("7",)]


def test_a_method_that_cannot_be_called_is_refused_with_the_form_that_can(unit: Unit) -> None:
    def nothing(self: object) -> None: ...

    def one(self: object, task: SyncTaskContext) -> None: ...

    def three(self: object, a: int, b: int, c: int) -> None: ...

    methods = {"start": nothing, "cancel": nothing, "get_status": nothing, "pause": three, "resume": nothing}
    with pytest.raises(
        TypeError, match=r"Work.start\(.*: must be start\(self, task, config\) or start\(self, task_id, conf"
    ):
        unit.task("WORK")(type("Work", (), methods))
    methods["start"] = lambda self, task, config: None
    with pytest.raises(TypeError, match=r"Work.pause\(.*: must be pause\(self\) or pause\(self, task_id\)"):
        unit.task("WORK")(type("Work", (), methods))
    methods["pause"] = one
    with pytest.raises(TypeError, match="must be made without arguments"):
        unit.task("WORK")(type("Work", (), {**methods, "__init__": one}))


def test_a_dropped_instance_is_paused_and_left(unit: Unit, connect: Connect, controls: Controls) -> None:
    unit.task("WORK")(as_coroutines(controls))
    session = connect(unit)
    session.start(TASK_ID, 1, "WORK")
    session.expect("progress")
    session.drop(TASK_ID, 1, DropReason.DROP_REASON_SUPERSEDED)
    session.start(TASK_ID, 2, "WORK")  # begins after the end of the dropped attempt
    session.expect("progress")
    controls.may_finish.set()
    session.expect("succeeded")

    assert [each[0] for each in controls.calls] == ["start", "pause", "start"]


class _Instantiated:
    """An object that is no executor: an instance of a class."""


def _without_config(task: Any) -> None:
    """Lack a parameter."""


async def _with_more(task: Any, config: Any, more: Any) -> None:
    """Require an extra parameter."""


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (_Instantiated(), "not an instance"),
        (_without_config, r"_without_config\(task, config\)"),
        (_with_more, r"_with_more\(task, config\)"),
    ],
)
def test_a_function_that_cannot_be_called_is_refused_where_it_is_registered(code: Any, problem: str) -> None:
    unit = Unit(name="unit", type="WORKER")
    with pytest.raises(TypeError, match=problem):
        unit.task("WORK")(code)
