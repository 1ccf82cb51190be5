"""The end of a verb's wait: the effect holds, may still come, or never will."""

from dataclasses import replace

import pytest
from support.builders import NOW, a_command, a_task

from taskplane.server.core.errors import CommandRejected, IllegalTransition
from taskplane.server.core.task import TaskStatus, Verb
from taskplane.server.services.verbs import is_cancelled, is_dispatched, is_paused

PAUSING = a_task(TaskStatus.RUNNING, pending_command=a_command(Verb.PAUSE))
CANCELLING = a_task(TaskStatus.RUNNING, pending_command=a_command(Verb.CANCEL))


def test_a_pause_holds_when_the_task_is_paused() -> None:
    assert not is_paused(PAUSING)
    assert is_paused(a_task(TaskStatus.PAUSED))


def test_a_cancel_holds_when_the_task_is_cancelled() -> None:
    assert not is_cancelled(CANCELLING)
    assert not is_cancelled(replace(CANCELLING, status=TaskStatus.PAUSED))
    assert is_cancelled(a_task(TaskStatus.CANCELLED))


@pytest.mark.parametrize("status", [TaskStatus.SUCCESS, TaskStatus.FAILED])
def test_a_task_that_ended_otherwise_will_not_be_paused_or_cancelled(status: TaskStatus) -> None:
    for effect in (is_paused, is_cancelled):
        with pytest.raises(IllegalTransition, match=f"it became {status} first") as caught:
            effect(a_task(status))
        assert caught.value.metadata["from"] == status


def test_a_pause_does_not_come_when_a_cancel_took_its_place() -> None:
    with pytest.raises(IllegalTransition, match="a cancel took its place"):
        is_paused(CANCELLING)


def test_a_rejected_pause_reports_the_units_reason() -> None:
    with pytest.raises(CommandRejected, match=r"refused by unit 'unit-1': not now"):
        is_paused(a_task(TaskStatus.RUNNING), "not now")


def test_a_start_holds_when_the_task_does_not_wait_any_more() -> None:
    assert not is_dispatched(a_task(queued_at=NOW))
    assert is_dispatched(a_task(TaskStatus.RUNNING))
    assert is_dispatched(a_task(TaskStatus.CANCELLED))
