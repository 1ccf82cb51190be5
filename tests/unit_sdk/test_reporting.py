"""Reports of `report` and `safe_point`, and refused values."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from taskplane.protocol.structs import to_dict
from taskplane.unit import SyncTaskContext, TaskContext, Unit
from taskplane.unit.testing import ScriptedSession

Connect = Callable[[Unit], ScriptedSession]


def test_progress_message_and_checkpoint_are_sent(unit: Unit, connect: Connect) -> None:
    @unit.task("WORK")
    async def work(task: TaskContext, config: dict[str, Any]) -> None:
        await task.report(0.5, "half", {"row": 5})

    session = connect(unit)
    session.start(1, 1, "WORK", last_checkpoint_number=7)

    progress = session.expect("progress").progress
    assert (progress.fraction, progress.message) == (0.5, "half")
    checkpoint = session.expect("checkpoint").checkpoint
    assert (checkpoint.number, to_dict(checkpoint.data)) == (8, {"row": 5})


def test_what_is_not_given_stays_as_it_was(unit: Unit, connect: Connect) -> None:
    gate = threading.Event()

    @unit.task("WORK")
    def work(task: SyncTaskContext, config: dict[str, Any]) -> None:
        task.report(0.5, "half")
        gate.wait()
        task.report(message="still half")

    session = connect(unit)
    session.start(1, 1, "WORK")
    session.expect("progress")
    gate.set()

    progress = session.expect("progress").progress
    assert (progress.fraction, progress.message) == (0.5, "still half")


def test_the_callable_of_a_safe_point_is_not_called_while_nothing_is_asked(unit: Unit, connect: Connect) -> None:
    calls: list[str] = []

    def checkpoint() -> dict[str, Any]:
        calls.append("called")
        return {}

    @unit.task("WORK")
    async def work(task: TaskContext, config: dict[str, Any]) -> None:
        await task.safe_point(checkpoint)
        await task.safe_point({"row": 1})

    session = connect(unit)
    session.start(1, 1, "WORK")
    session.expect("succeeded")

    assert calls == []
    assert session.kinds(1) == ["accepted", "succeeded"]


@pytest.mark.parametrize(
    ("report", "message"),
    [
        ({"progress": 1.01}, "ValueError: progress: must be a fraction from 0 to 1, not 1.01"),
        ({"progress": -0.1}, "ValueError: progress: must be a fraction from 0 to 1, not -0.1"),
        ({"progress": float("nan")}, "ValueError: progress: must be a fraction from 0 to 1, not nan"),
        ({"checkpoint": {"a": {1}}}, "DocumentTypeError: checkpoint.a: set is not a JSON type"),
        (
            {"checkpoint": {"a": "x" * (1 << 20)}},
            "ValueError: checkpoint: 1048591 bytes on the wire, which is above",
        ),
    ],
)
def test_what_cannot_be_reported_is_an_error_in_the_executor(
    unit: Unit, connect: Connect, report: dict[str, Any], message: str
) -> None:
    @unit.task("WORK")
    async def work(task: TaskContext, config: dict[str, Any]) -> None:
        await task.report(**report)

    session = connect(unit)
    session.start(1, 1, "WORK")

    assert session.expect("failed").failed.message.startswith(message)
    assert session.kinds(1) == ["accepted", "failed"]


@pytest.mark.parametrize(("given", "sent"), [(1.0000000000000002, 1.0), (1.0005, 1.0), (-0.0005, 0.0)])
def test_a_fraction_just_beyond_its_bounds_is_clamped(unit: Unit, connect: Connect, given: float, sent: float) -> None:
    @unit.task("WORK")
    async def work(task: TaskContext, config: dict[str, Any]) -> None:
        await task.report(given)

    session = connect(unit)
    session.start(1, 1, "WORK")

    assert session.expect("progress").progress.fraction == sent


def test_the_largest_checkpoint_arrives(unit: Unit, connect: Connect) -> None:
    ones = [1] * ((768 << 10) // 11 - 10)

    @unit.task("WORK")
    async def work(task: TaskContext, config: dict[str, Any]) -> None:
        await task.report(checkpoint={"": ones})

    session = connect(unit)
    session.start(1, 1, "WORK")

    checkpoint = session.expect("checkpoint")
    assert 767 << 10 < checkpoint.checkpoint.data.ByteSize() <= 768 << 10
    assert len(checkpoint.checkpoint.data.fields[""].list_value.values) == len(ones)


def test_a_coroutine_that_only_reports_lets_others_have_their_turn(unit: Unit, connect: Connect) -> None:
    is_done = False

    @unit.task("BUSY")
    async def busy(task: TaskContext, config: dict[str, Any]) -> None:
        while not is_done:
            await task.report(0.5)

    @unit.task("SHORT")
    async def short(task: TaskContext, config: dict[str, Any]) -> None:
        nonlocal is_done
        is_done = True

    session = connect(unit)
    session.start(1, 1, "BUSY")
    session.expect("progress")
    session.start(2, 1, "SHORT")

    session.expect("succeeded", task_id=2)
    session.expect("succeeded", task_id=1)


def test_what_gathers_while_a_message_is_sent_goes_in_one(unit: Unit, connect: Connect) -> None:
    @unit.task("WORK")
    async def work(task: TaskContext, config: dict[str, Any]) -> None:
        for row in range(200):
            await task.report(row / 200, checkpoint={"row": row})

    session = connect(unit)
    session.start(1, 1, "WORK")
    session.expect("succeeded")

    numbers = [report.checkpoint.number for report in session.reports if report.HasField("checkpoint")]
    assert numbers == list(range(1, 201))
    assert [report.sequence for report in session.reports] == list(range(1, len(session.reports) + 1))
    assert len(session.batches) < len(session.reports)
