"""The effect of a dispatch on a task, and the command for the unit."""

from dataclasses import replace
from typing import Any

import pytest
from support.builders import NOW, UNIT_ID, a_checkpoint, a_command, a_task, an_offer, at

from taskplane.server.core.command import (
    CancelOrder,
    Dispatch,
    PauseOrder,
    ResumeOrder,
    StartOrder,
    control_command,
    dispatch_command,
    dispatched,
)
from taskplane.server.core.placement import Placement
from taskplane.server.core.task import Progress, Task, TaskStatus, Transition, Verb

PENDING, RUNNING, PAUSED = TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.PAUSED


def a_queued_task(status: TaskStatus = PENDING, **changes: object) -> Task:
    return a_task(status, **{"queued_at": NOW, "queued_by": "alice", "queued_reason": "because", **changes})


def transition(task: Task, *, held_attempt: int | None = None, **offered: Any) -> Transition:
    (step,) = dispatched(Placement(task, an_offer(**offered), held_attempt), at(1)).steps
    assert step.transition
    return step.transition


@pytest.mark.parametrize("status", [PENDING, PAUSED])
def test_a_dispatch_is_a_new_attempt_on_the_unit(status: TaskStatus) -> None:
    task = a_queued_task(status, attempt=4, execution_unit_id="another", accepted_at=NOW, not_before=NOW)
    after = dispatched(Placement(task, an_offer()), at(1)).task
    assert (after.status, after.attempt) == (RUNNING, 5)
    assert (after.execution_unit_id, after.execution_unit_type) == (UNIT_ID, "DATA_PROCESSOR")
    assert after.accepted_at is None, "the unit has not answered yet"
    assert (after.queued_at, after.queued_by, after.queued_reason, after.not_before) == (None, "", "", None)


def test_the_first_dispatch_starts_the_task_and_a_later_one_does_not() -> None:
    assert dispatched(Placement(a_queued_task(started_at=None), an_offer()), at(1)).task.started_at == at(1)
    assert dispatched(Placement(a_queued_task(PAUSED, started_at=NOW), an_offer()), at(1)).task.started_at == NOW


def test_progress_stays_when_an_attempt_continues_and_is_cleared_when_it_begins_from_scratch() -> None:
    progress = Progress(0.8, "nearly", NOW)
    checkpoint = {"checkpoint": a_checkpoint(), "last_checkpoint_number": 1}
    again, goes_on = a_queued_task(progress=progress), a_queued_task(PAUSED, progress=progress, **checkpoint)
    paused = a_queued_task(PAUSED, progress=progress)
    assert dispatched(Placement(again, an_offer()), at(1)).task.progress is None
    assert dispatched(Placement(goes_on, an_offer()), at(1)).task.progress == progress
    assert dispatched(Placement(paused, an_offer(), held_attempt=1), at(1)).task.progress == progress


def test_the_history_names_who_wanted_it_why_and_where_it_went() -> None:
    made = transition(a_queued_task())
    assert (made.from_status, made.to_status, made.attempt) == (PENDING, RUNNING, 1)
    assert (made.changed_by, made.reason) == ("alice", f"because; dispatched to {UNIT_ID}")


def test_the_history_names_the_source_of_a_continued_attempt() -> None:
    paused = a_queued_task(PAUSED, checkpoint=a_checkpoint(7), last_checkpoint_number=7, queued_reason="")
    assert transition(paused).reason == f"dispatched to {UNIT_ID} from checkpoint 7"
    assert transition(paused, held_attempt=1).reason == f"dispatched to {UNIT_ID}, which holds it in memory"
    anew = transition(paused, from_the_start=frozenset({paused.task_type}))
    assert anew.reason == f"dispatched to {UNIT_ID} from the start, as it makes no checkpoints"


def test_a_dispatched_task_continues_from_the_chosen_checkpoint() -> None:
    checkpoint = {"checkpoint": a_checkpoint(7), "last_checkpoint_number": 7}
    task = a_queued_task(PAUSED, queued_checkpoint_number=5, queued_reason="", **checkpoint)
    chosen = a_checkpoint(5, data={"row": 5})
    (step,) = dispatched(Placement(task, an_offer()), at(1), chosen).steps
    assert (step.task.checkpoint, step.task.queued_checkpoint_number) == (replace(chosen, data=None), None)
    assert step.transition
    assert step.transition.reason == f"dispatched to {UNIT_ID} from checkpoint 5"


def test_a_change_without_a_request_is_attributed_to_the_server() -> None:
    assert transition(a_queued_task(queued_by="")).changed_by == "taskplane"


def test_a_start_has_the_same_id_whenever_it_is_sent() -> None:
    running = a_task(RUNNING, attempt=5)
    first, again = dispatch_command(Dispatch(running)), dispatch_command(Dispatch(running))
    assert first.command_id == again.command_id
    assert first.command_id != dispatch_command(Dispatch(a_task(RUNNING, attempt=6))).command_id
    assert (first.task_id, first.attempt, first.order) == (1, 5, StartOrder(Dispatch(running)))


def test_a_unit_that_holds_the_task_resumes_it_under_its_new_attempt() -> None:
    command = dispatch_command(Dispatch(a_task(RUNNING, attempt=5), held_attempt=4))
    assert command.attempt == 5
    assert isinstance(command.order, ResumeOrder)
    assert command.order.held_attempt == 4


def test_only_what_begins_an_attempt_is_a_start() -> None:
    running = a_task(RUNNING)
    pause, cancel = (control_command(running, a_command(verb)) for verb in (Verb.PAUSE, Verb.CANCEL))
    assert (pause.order, cancel.order) == (PauseOrder("as bob wishes"), CancelOrder("as bob wishes"))
    starts = [dispatch_command(Dispatch(running)), dispatch_command(Dispatch(running, held_attempt=4))]
    assert [command.is_start for command in (*starts, pause, cancel)] == [True, True, False, False]
