from typing import Any

import pytest

from taskplane.unit import Interrupted, TaskContext, Unit


async def work(task: TaskContext, config: dict[str, Any]) -> None: ...


def test_a_type_has_one_executor(unit: Unit) -> None:
    unit.task("WORK")(work)

    with pytest.raises(ValueError, match="an executor for WORK already"):
        unit.task("WORK")


def test_the_decorated_stays_what_it_is(unit: Unit) -> None:
    assert unit.task("WORK")(work) is work


def test_a_unit_without_executors_does_not_run(unit: Unit) -> None:
    with pytest.raises(ValueError, match="runs no task type"):
        unit.run()


def test_a_step_that_catches_every_exception_does_not_swallow_an_interruption() -> None:
    assert not issubclass(Interrupted, Exception)
