"""Progress of each task is sent at a limited rate, and its newest value always in the end."""

from dataclasses import replace

import pytest
from support.builders import NOW, a_task

from taskplane.server.core.task import Progress, TaskStatus, Transition
from taskplane.server.services import pacing
from taskplane.server.services.pacing import ProgressPacer
from taskplane.server.tasks.unit_of_work import CommittedEvent
from taskplane.server.tasks.watch import Progressed


class Clock:
    """Stands in for the module `time`: the clock stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pacing, "time", clock)
    return clock


def progress(fraction: float, task_id: int = 1) -> Progressed:
    return Progressed(task_id, "WORK", 1, Progress(fraction, "", NOW))


def test_the_first_progress_is_due_at_once_and_the_next_after_the_interval(clock: Clock) -> None:
    pacer = ProgressPacer(per_second=4)
    pacer.take([progress(0.1)])
    assert pacer.due() == [progress(0.1)]
    pacer.take([progress(0.2)])
    assert pacer.due() == []
    assert pacer.seconds_to_next(15) == pytest.approx(0.25)
    clock.now += 0.25
    assert pacer.due() == [progress(0.2)]
    assert pacer.due() == []


def test_the_newest_value_wins(clock: Clock) -> None:
    pacer = ProgressPacer(per_second=1)
    pacer.take([progress(0.1)])
    pacer.due()
    for fraction in (0.2, 0.4, 0.3):
        pacer.take([progress(fraction)])
    clock.now += 1
    assert pacer.due() == [progress(0.3)]


def test_tasks_do_not_wait_for_each_other(clock: Clock) -> None:
    pacer = ProgressPacer(per_second=1)
    pacer.take([progress(0.1, task_id=1)])
    pacer.due()
    pacer.take([progress(0.2, task_id=1), progress(0.1, task_id=2)])
    assert pacer.due() == [progress(0.1, task_id=2)]


def test_a_quiet_pacer_lets_wait_as_long_as_is_allowed(clock: Clock) -> None:
    pacer = ProgressPacer(per_second=1)
    assert pacer.seconds_to_next(15) == 15
    pacer.take([progress(0.1)])
    assert pacer.seconds_to_next(15) == 0


def test_progress_from_before_a_change_of_status_is_dropped(clock: Clock) -> None:
    pacer = ProgressPacer(per_second=1)
    pacer.take([progress(0.1)])
    pacer.due()
    pacer.take([progress(0.2)])
    task = a_task(TaskStatus.PAUSED)
    transition = Transition(task.id, TaskStatus.RUNNING, TaskStatus.PAUSED, NOW, "alice", "", 1)
    pacer.changed(CommittedEvent(task))
    assert pacer.seconds_to_next(15) == pytest.approx(1)  # still delayed: the status is unchanged
    pacer.changed(CommittedEvent(replace(task, revision=7), transition))
    clock.now += 1
    assert pacer.due() == []
