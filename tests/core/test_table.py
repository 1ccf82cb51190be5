"""The state table: allowed transitions happen by their verb or report, all others are refused."""

from datetime import datetime
from itertools import product

import pytest
from support.actions import REPORTS, dispatch, do
from support.builders import NOW, a_task, at, attempt_ref_of

from taskplane.server.core.errors import Code, IllegalTransition
from taskplane.server.core.task import FINAL, TRANSITIONS, Task, TaskStatus, Verb

EDGES = {(status, to) for status, all_to in TRANSITIONS.items() if status for to in all_to}
# The transitions of each verb: the table alone does not distinguish start from resume.
WAYS = {
    Verb.START: {(TaskStatus.PENDING, TaskStatus.RUNNING)},
    Verb.PAUSE: {(TaskStatus.RUNNING, TaskStatus.PAUSED)},
    Verb.RESUME: {(TaskStatus.PAUSED, TaskStatus.RUNNING)},
    Verb.CANCEL: {edge for edge in EDGES if edge[1] is TaskStatus.CANCELLED},
    Verb.RESTART: {edge for edge in EDGES if edge[1] is TaskStatus.PENDING},
}
TARGET = {verb: next(iter(ways))[1] for verb, ways in WAYS.items()}
VERBS_BY_STATUS = list(product(Verb, TaskStatus))


def is_legal(verb: Verb, status: TaskStatus) -> bool:
    return (status, TARGET[verb]) in WAYS[verb]


def already_holds(verb: Verb, status: TaskStatus) -> bool:
    # A PENDING task without a place in the queue does not run; see test_verbs.
    return status is TARGET[verb] and verb is not Verb.RESTART


def test_the_table_is_that_of_the_requirements() -> None:
    assert {f"{status}": sorted(to) for status, to in TRANSITIONS.items()} == {
        "None": ["PENDING"],
        "PENDING": ["CANCELLED", "RUNNING"],
        "RUNNING": ["CANCELLED", "FAILED", "PAUSED", "SUCCESS"],
        "PAUSED": ["CANCELLED", "RUNNING"],
        "FAILED": ["PENDING"],
        "CANCELLED": ["PENDING"],
        "SUCCESS": [],
    }


def test_every_status_is_in_the_table_and_final_ones_have_no_way_out_but_restart() -> None:
    assert set(TRANSITIONS) == {None, *TaskStatus}
    assert {status for status in TaskStatus if TRANSITIONS[status] <= {TaskStatus.PENDING}} == FINAL


@pytest.mark.parametrize(("status", "to"), list(product(TaskStatus, repeat=2)))
def test_a_task_moves_along_the_table_and_nowhere_else(status: TaskStatus, to: TaskStatus) -> None:
    task = a_task(status)
    if (status, to) in EDGES:
        assert task.moved(to, now=at(1)).status is to
        return
    with pytest.raises(IllegalTransition) as refusal:
        task.moved(to, now=at(1))
    assert refusal.value.metadata == {
        "task_id": "1",
        "from": status,
        "to": to,
        "allowed": ",".join(sorted(TRANSITIONS[status])),
    }


@pytest.mark.parametrize(("verb", "status"), [each for each in VERBS_BY_STATUS if is_legal(*each)])
def test_a_legal_verb_takes_hold(verb: Verb, status: TaskStatus) -> None:
    assert do(verb, a_task(status), at(1)).steps


@pytest.mark.parametrize(("verb", "status"), [each for each in VERBS_BY_STATUS if already_holds(*each)])
def test_a_verb_whose_effect_already_holds_changes_nothing(verb: Verb, status: TaskStatus) -> None:
    task = a_task(status)
    change = do(verb, task, at(1))
    assert change.task == task
    assert change.steps == ()


@pytest.mark.parametrize(
    ("verb", "status"), [each for each in VERBS_BY_STATUS if not is_legal(*each) and not already_holds(*each)]
)
def test_any_other_verb_is_refused_with_the_status_and_what_it_allows(verb: Verb, status: TaskStatus) -> None:
    with pytest.raises(IllegalTransition) as refusal:
        do(verb, a_task(status), at(1))
    error = refusal.value
    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "ILLEGAL_TRANSITION")
    assert error.metadata["from"] == status
    assert error.metadata["to"] == TARGET[verb]
    assert error.metadata["allowed"] == ",".join(sorted(TRANSITIONS[status]))


def everything_that_can_happen(task: Task, now: datetime) -> set[tuple[TaskStatus | None, TaskStatus]]:
    """Apply every verb and report to the task, and collect the resulting transitions."""
    queued = a_task(task.status, queued_at=NOW)
    changes = [dispatch(queued, now)] if task.status in {TaskStatus.PENDING, TaskStatus.PAUSED} else []
    changes += [do(verb, task, now) for verb in Verb if is_legal(verb, task.status)]
    if task.status is TaskStatus.RUNNING:
        changes += [report(task, attempt_ref_of(task), now) for report in REPORTS.values()]
    steps = [step.transition for change in changes for step in change.steps if step.transition]
    return {(step.from_status, step.to_status) for step in steps}


def test_every_edge_of_the_table_is_somebodys_doing() -> None:
    seen = set().union(*(everything_that_can_happen(a_task(status), at(1)) for status in TaskStatus))
    assert seen == EDGES
