"""Invariants of the history and the tables at the end of a run."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise

from robustness.evidence import Evidence
from robustness.records import DELETED, StoredCheckpoint, StoredCommand, Transition, Watched

from taskplane.server.core.task import FINAL, TRANSITIONS, TaskStatus


def history_is_a_path_in_the_table(evidence: Evidence) -> Iterator[str]:
    """Check that each history begins with the creation, and every change follows from the last by the table."""
    for task, path in evidence.history.items():
        statuses: list[str | None] = [None, *(each.to_status for each in path)]
        for step, before in zip(path, statuses, strict=False):
            if step.from_status != before:
                yield f"task {task}: {_shown(step)} does not go on from {before}"
            if TaskStatus(step.to_status) not in TRANSITIONS[TaskStatus(before) if before else None]:
                yield f"task {task}: {_shown(step)} is not in the table"


def attempts_only_grow(evidence: Evidence) -> Iterator[str]:
    """Check that a dispatch increases the attempt by one, and no other change does."""
    for task, path in evidence.history.items():
        for before, step in pairwise(path):
            growth = 1 if step.to_status == TaskStatus.RUNNING else 0
            if step.attempt != before.attempt + growth:
                yield f"task {task}: {_shown(step)} follows attempt {before.attempt}"


def tasks_agree_with_their_history(evidence: Evidence) -> Iterator[str]:
    """Check that a task's row equals its last transition."""
    for task in evidence.tasks:
        last = evidence.history[task.id][-1] if task.id in evidence.history else None
        is_as_last = last and (task.status, task.attempt) == (last.to_status, last.attempt)
        if last is None or not is_as_last or task.revision < last.revision:
            stands = f"{task.status} in attempt {task.attempt} at revision {task.revision}"
            yield f"task {task.id} is {stands}, but its history ends with {_shown(last)}"


def every_task_is_final(evidence: Evidence) -> Iterator[str]:
    """Check that every task ends after faults and traffic have stopped and paused tasks are resumed."""
    for task in evidence.tasks:
        if task.status not in FINAL:
            yield f"task {task.id} is still {task.status}"


def nothing_is_left_of_deleted_tasks(evidence: Evidence) -> Iterator[str]:
    """Check that a deleted task's history, checkpoints and commands are gone."""
    there = {task.id for task in evidence.tasks}
    rows: list[Transition | StoredCheckpoint | StoredCommand] = [*evidence.transitions, *evidence.checkpoints]
    for row in [*rows, *evidence.commands]:
        if row.task not in there:
            yield f"{row} is left of a task that is not there"


def nothing_is_left_over(evidence: Evidence) -> Iterator[str]:
    """In the end the queue is empty, no command is pending and no unit has any load."""
    for task in evidence.tasks:
        if task.queued or task.pending:
            yield f"task {task.id} is {task.status}, and queued: {task.queued}, pending: {task.pending}"
    for unit in evidence.units:
        if unit.load:
            yield f"{unit.id} has a load of {unit.load} in the end"


def every_watch_told_every_transition_once(evidence: Evidence) -> Iterator[str]:
    """Check that a watch sends every transition of the remaining tasks in order and once, over all breaks."""
    for name, watched in _lasting_watches(evidence).items():
        for before, after in pairwise(watched):
            if after.revision <= before.revision:
                yield f"the {name} watch told revision {after.revision} after {before.revision}"
        told = {each.revision: each for each in watched}
        for step in evidence.transitions:
            if step.revision > evidence.watched_since and step.revision not in told:
                yield f"the {name} watch did not tell {_shown(step)} of task {step.task}"
            seen = told.get(step.revision)
            if seen and (seen.task, seen.to_status, seen.attempt) != (step.task, step.to_status, step.attempt):
                yield f"the {name} watch told {seen} instead of {_shown(step)} of task {step.task}"


def every_watch_told_every_deletion_once(evidence: Evidence) -> Iterator[str]:
    """Check that a watch sends every deletion once, as the last event of its task, over all breaks."""
    there = {task.id for task in evidence.tasks}
    deleted = {call.task for call in evidence.calls if call.verb == "delete" and call.code == "OK"}
    for name, watched in _lasting_watches(evidence).items():
        told = Counter(each.task for each in watched if each.to_status == DELETED)
        last = {each.task: each for each in watched}
        for task in deleted - told.keys():
            yield f"the {name} watch did not tell that task {task} was deleted"
        for task, count in told.items():
            if count > 1:
                yield f"the {name} watch told {count} times that task {task} was deleted"
            if task in there:
                yield f"the {name} watch told that task {task} was deleted, but it is there"
            if last[task].to_status != DELETED:
                yield f"the {name} watch told {last[task]} of a task that it had told to be deleted"


def watches_go_on_from_every_revision_that_was_told(evidence: Evidence) -> Iterator[str]:
    """Check that a watch may resume from every revision that it received, at any server."""
    for each in evidence.refused:
        yield f"the {each.watch} watch had been told revision {each.revision}, and was refused: {each.message}"


def snapshots_are_continued_without_a_gap(evidence: Evidence) -> Iterator[str]:
    """Check that a watch sends all changes after its snapshot, up to the last received."""
    created = {step.task: step.revision for step in evidence.transitions if step.from_status is None}
    told: dict[str, set[int]] = defaultdict(set)
    for each in evidence.watched:
        told[each.watch].add(each.revision)
    for snapshot in evidence.snapshots:
        revisions = told[snapshot.watch]
        for task, revision in created.items():
            if revision <= snapshot.revision and str(task) not in snapshot.shown:
                yield f"{snapshot.watch} of revision {snapshot.revision} does not show task {task}"
        for step in evidence.transitions:
            known = max(snapshot.revision, snapshot.shown.get(str(step.task), 0))
            if known < step.revision < max(revisions, default=0) and step.revision not in revisions:
                yield f"{snapshot.watch}, from {snapshot.revision} on, did not tell {_shown(step)} of {step.task}"


def _lasting_watches(evidence: Evidence) -> dict[str, list[Watched]]:
    """Return the watches that lasted the whole run, and the events of each."""
    names = {snapshot.watch for snapshot in evidence.snapshots}
    watches: dict[str, list[Watched]] = defaultdict(list)
    for each in evidence.watched:
        if each.watch not in names:
            watches[each.watch].append(each)
    return watches


def _shown(step: Transition | None) -> str:
    if step is None:
        return "nothing"
    return f"{step.from_status} → {step.to_status} (revision {step.revision}, attempt {step.attempt}, by {step.by})"
