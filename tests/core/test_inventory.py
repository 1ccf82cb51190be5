"""Reconciliation of a connecting unit: every combination of its inventory and the database."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations, product

import pytest
from support.actions import AT_ONCE
from support.builders import NOW, OTHER_UNIT_ID, UNIT_ID, a_checkpoint, a_command, a_task

from taskplane.server.core.command import CancelOrder, PauseOrder, Verdict, VerdictAction
from taskplane.server.core.errors import DropReason
from taskplane.server.core.inventory import Reconciliation
from taskplane.server.core.task import Task, TaskStatus, Verb
from taskplane.server.core.unit import AttemptState, HeldAttempt

ATTEMPT = 3
RAN = [status for status in TaskStatus if status is not TaskStatus.PENDING]


def a_third_attempt(status: TaskStatus, **changes: object) -> Task:
    fields = {"attempt": ATTEMPT, "execution_unit_id": UNIT_ID, "queued_at": None, **changes}
    return a_task(status, **fields)


def held(attempt: int = ATTEMPT, state: AttemptState = AttemptState.RUNNING) -> HeldAttempt:
    return HeldAttempt(1, attempt, state)


def reconcile(task: Task | None, inventory: Iterable[HeldAttempt], *, is_new_process: bool = False) -> Reconciliation:
    outcome = Reconciliation(UNIT_ID, NOW, AT_ONCE, is_new_process)
    outcome.settle(inventory, {task.id: task} if task else {})
    return outcome


def consequences(outcome: Reconciliation) -> list[object]:
    return [*outcome.effects, *outcome.dispatches, *outcome.commands]


def verdict_on(task: Task | None, line: HeldAttempt) -> Verdict:
    (verdict,) = reconcile(task, [line]).verdicts
    assert (verdict.task_id, verdict.attempt) == (line.task_id, line.attempt)
    return verdict


EXPECTED = {
    TaskStatus.PENDING: (VerdictAction.DROP, DropReason.SUPERSEDED),
    TaskStatus.RUNNING: (VerdictAction.KEEP, None),
    TaskStatus.PAUSED: (VerdictAction.PAUSE, None),
    TaskStatus.SUCCESS: (VerdictAction.DROP, DropReason.FINISHED),
    TaskStatus.FAILED: (VerdictAction.DROP, DropReason.FINISHED),
    TaskStatus.CANCELLED: (VerdictAction.DROP, DropReason.CANCELLED),
}


@pytest.mark.parametrize(("status", "state"), list(product(TaskStatus, AttemptState)))
def test_the_current_attempt_is_judged_by_the_tasks_status(status: TaskStatus, state: AttemptState) -> None:
    verdict = verdict_on(a_third_attempt(status), held(state=state))
    is_finished = (status, state) == (TaskStatus.PAUSED, AttemptState.ENDED)
    assert (verdict.action, verdict.drop_reason) == ((VerdictAction.KEEP, None) if is_finished else EXPECTED[status])


@pytest.mark.parametrize(
    ("status", "attempt", "state"), list(product(TaskStatus, [ATTEMPT - 1, ATTEMPT + 1], AttemptState))
)
def test_another_attempt_is_dropped(status: TaskStatus, attempt: int, state: AttemptState) -> None:
    verdict = verdict_on(a_third_attempt(status), held(attempt, state))
    assert (verdict.action, verdict.drop_reason) == (VerdictAction.DROP, DropReason.SUPERSEDED)


@pytest.mark.parametrize(("status", "state"), list(product(TaskStatus, AttemptState)))
def test_what_another_unit_has_is_dropped(status: TaskStatus, state: AttemptState) -> None:
    outcome = reconcile(a_third_attempt(status, execution_unit_id=OTHER_UNIT_ID), [held(state=state)])
    assert outcome.verdicts == [Verdict(1, ATTEMPT, VerdictAction.DROP, DropReason.SUPERSEDED)]
    assert consequences(outcome) == [], "it is not this unit's to settle"


@pytest.mark.parametrize("state", AttemptState)
def test_what_does_not_exist_any_more_is_dropped(state: AttemptState) -> None:
    verdict = verdict_on(None, held(state=state))
    assert (verdict.action, verdict.drop_reason) == (VerdictAction.DROP, DropReason.DELETED)


def test_an_attempt_whose_resume_never_arrived_stays_held_and_the_resume_is_sent_again() -> None:
    resumed = a_third_attempt(TaskStatus.RUNNING, accepted_at=None)
    outcome = reconcile(resumed, [held(ATTEMPT - 1, AttemptState.PAUSED)])
    assert outcome.verdicts == [Verdict(1, ATTEMPT - 1, VerdictAction.PAUSE)]
    assert [(each.task, each.held_attempt) for each in outcome.dispatches] == [(resumed, ATTEMPT - 1)]
    assert outcome.effects == []


def test_a_running_attempt_that_the_unit_lacks_is_lost_and_retried() -> None:
    task = a_third_attempt(TaskStatus.RUNNING, checkpoint=a_checkpoint(), last_checkpoint_number=1)
    outcome = reconcile(task, [])
    (change,) = outcome.effects
    moves = [(step.transition.from_status, step.transition.to_status) for step in change.steps if step.transition]
    assert moves == [(TaskStatus.RUNNING, TaskStatus.FAILED), (TaskStatus.FAILED, TaskStatus.PENDING)]
    assert change.task.queued_at == NOW
    assert change.task.retry_count == 1
    assert change.task.checkpoint == a_checkpoint()
    assert outcome.dispatches == []


def test_a_start_that_the_unit_never_accepted_is_sent_again() -> None:
    task = a_third_attempt(TaskStatus.RUNNING, accepted_at=None)
    outcome = reconcile(task, [])
    assert [(each.task, each.held_attempt) for each in outcome.dispatches] == [(task, None)]
    assert outcome.effects == []


def test_a_start_that_another_process_of_the_unit_may_have_begun_is_not_sent_again() -> None:
    task = a_third_attempt(TaskStatus.RUNNING, accepted_at=None, max_retries=0)
    outcome = reconcile(task, [], is_new_process=True)
    assert outcome.dispatches == []
    (change,) = outcome.effects
    moves = [(step.transition.from_status, step.transition.to_status) for step in change.steps if step.transition]
    assert moves == [(TaskStatus.RUNNING, TaskStatus.FAILED), (TaskStatus.FAILED, TaskStatus.PENDING)]
    assert change.task.queued_at == NOW
    assert change.task.retry_count == 0


def test_an_attempt_in_the_inventory_counts_as_accepted() -> None:
    outcome = reconcile(a_third_attempt(TaskStatus.RUNNING, accepted_at=None), [held()])
    (change,) = outcome.effects
    assert change.task.accepted_at == NOW
    assert [step.transition for step in change.steps] == [None]
    assert outcome.dispatches == []


@pytest.mark.parametrize(("verb", "to"), [(Verb.PAUSE, TaskStatus.PAUSED), (Verb.CANCEL, TaskStatus.CANCELLED)])
def test_a_lost_attempt_ends_as_was_asked(verb: Verb, to: TaskStatus) -> None:
    task = a_third_attempt(TaskStatus.RUNNING, pending_command=a_command(verb))
    (change,) = reconcile(task, []).effects
    assert change.task.status is to
    assert change.task.pending_command is None
    assert change.task.queued_at is None


def test_a_paused_task_without_a_holder_waits_for_its_resume() -> None:
    outcome = reconcile(a_third_attempt(TaskStatus.PAUSED), [])
    assert consequences(outcome) == []


def test_a_cancel_that_waited_for_the_holder_takes_hold_when_it_holds_nothing() -> None:
    task = a_third_attempt(TaskStatus.PAUSED, pending_command=a_command(Verb.CANCEL))
    (change,) = reconcile(task, []).effects
    assert change.task.status is TaskStatus.CANCELLED
    (step,) = change.steps
    assert step.transition
    assert (step.transition.changed_by, step.transition.reason) == ("bob", "as bob wishes")


@pytest.mark.parametrize(
    ("status", "verb"),
    [(TaskStatus.RUNNING, Verb.PAUSE), (TaskStatus.RUNNING, Verb.CANCEL), (TaskStatus.PAUSED, Verb.CANCEL)],
)
def test_a_pending_command_is_sent_again_for_a_continued_attempt(status: TaskStatus, verb: Verb) -> None:
    outcome = reconcile(a_third_attempt(status, pending_command=a_command(verb)), [held()])
    (command,) = outcome.commands
    assert (command.command_id, command.task_id, command.attempt) == ("command-1", 1, ATTEMPT)
    assert command.order == (CancelOrder if verb is Verb.CANCEL else PauseOrder)("as bob wishes")


@pytest.mark.parametrize("status", RAN)
@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_every_line_of_the_inventory_gets_one_verdict(status: TaskStatus, count: int) -> None:
    """A unit can hold several attempts of a task: an older one may have ended unheard while the newer one runs."""
    lines = [held(attempt, state) for attempt, state in zip([1, 2, 3], AttemptState, strict=True)]
    for inventory in combinations(lines, count):
        for order in (inventory, inventory[::-1]):
            verdicts = reconcile(a_third_attempt(status), order).verdicts
            assert [(each.task_id, each.attempt) for each in verdicts] == [(1, each.attempt) for each in order]


def test_an_older_attempt_of_the_same_task_does_not_hide_the_one_that_runs() -> None:
    ended = held(ATTEMPT - 1, AttemptState.ENDED)
    for inventory in ([held(), ended], [ended, held()]):
        outcome = reconcile(a_third_attempt(TaskStatus.RUNNING), inventory)
        assert Verdict(1, ATTEMPT, VerdictAction.KEEP) in outcome.verdicts
        assert outcome.effects == [], "nothing is lost"


def test_a_task_of_two_is_settled_by_itself() -> None:
    lost, kept = a_third_attempt(TaskStatus.RUNNING), replace(a_third_attempt(TaskStatus.RUNNING), id=2)
    outcome = Reconciliation(UNIT_ID, NOW, AT_ONCE)
    outcome.settle([HeldAttempt(2, ATTEMPT, AttemptState.RUNNING)], {1: lost, 2: kept})
    assert [change.task.id for change in outcome.effects] == [1]
    assert outcome.verdicts == [Verdict(2, ATTEMPT, VerdictAction.KEEP)]
