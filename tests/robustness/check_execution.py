"""Executions of the units, compared with the history."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from robustness.evidence import WITHOUT_ITS_UNIT, Evidence
from robustness.records import ZONES, Begun, Step, Transition

# Reasons in the history for ends of attempts taken from a unit without the unit's consent.
_TAKEN_BY_FORCE = ("forced", "did not accept", "exceeded", "stalled")


def attempts_do_not_overlap(evidence: Evidence) -> Iterator[str]:
    """Check that an older attempt passes no safe point after the first step of a later attempt.

    The older attempt may finish its current step: the entry into the safe point counts. If the attempt was taken by
    force (the deadline of a cancel or a start), rather than released or lost with its lease, the unit may work on
    until its self-fence: a lease after the attempt was taken.
    """
    for task, steps in evidence.steps_of.items():
        if task not in evidence.history:
            continue  # deleted, with the reasons for the ends of its attempts
        firsts = _first_steps(steps)
        for step in steps:
            later = [began for attempt, began in firsts.items() if attempt > step.attempt]
            limit = max(min(later, default=float("inf")), _fenced_at(evidence, step))
            if step.asked > limit:
                yield (
                    f"task {task}: attempt {step.attempt} on {step.unit} passed a safe point for step {step.number}, "
                    f"{step.asked - min(later):.3f} s after a later attempt's first step"
                )


def an_attempt_is_executed_once(evidence: Evidence) -> Iterator[str]:
    """Check that no attempt has two executions, on one unit or on two."""
    worked = {(begun.task, begun.attempt, begun.execution) for begun in evidence.executions}
    worked |= {(step.task, step.attempt, step.execution) for step in evidence.steps}
    for (task, attempt), count in Counter((task, attempt) for task, attempt, _ in worked).items():
        if count > 1:
            yield f"task {task}: {count} executions worked on attempt {attempt}"


def steps_are_done_in_order(evidence: Evidence) -> Iterator[str]:
    """Check that an execution does each step once, from its checkpoint on, and its attempt number only grows."""
    for begun in evidence.executions:
        steps = evidence.steps_in.get(begun.execution, [])
        first = (begun.resumed_from or 0) + 1
        if [step.number for step in steps] != [*range(first, first + len(steps))]:
            yield f"{_shown(begun)} did the steps {[step.number for step in steps]}"
        if any(after.attempt < before.attempt for before, after in pairwise(steps)):
            yield f"{_shown(begun)} went back to an older attempt"


def paused_work_is_not_done_again(evidence: Evidence) -> Iterator[str]:
    """Check that the next attempt after a pause or a release begins behind the last step."""
    last: dict[tuple[int, int], int] = {}
    for step in evidence.steps:
        last[step.task, step.attempt] = max(step.number, last.get((step.task, step.attempt), 0))
    for begun in evidence.executions:
        end = evidence.ends.get((begun.task, begun.attempt - 1))
        if end is None or end.to_status != "PAUSED" or begun.task in evidence.chosen:
            continue
        if evidence.life(begun.task, end.attempt) != evidence.life(begun.task, begun.attempt):
            continue
        done = last.get((begun.task, begun.attempt - 1), 0)
        if not any(sign in end.reason for sign in WITHOUT_ITS_UNIT) and (begun.resumed_from or 0) < done:
            yield f"{_shown(begun)}, but the attempt before had done step {done} when it was paused"


def checkpoints_stand_for_work_that_was_done(evidence: Evidence) -> Iterator[str]:
    """Check that an attempt resumes from a step done since the last restart, so no step is left out."""
    for begun in evidence.executions:
        if begun.resumed_from and begun.task in evidence.history:
            lives = _lives(evidence, begun)
            done = {
                step.number
                for step in evidence.steps_of.get(begun.task, [])
                if step.attempt < begun.attempt and evidence.life(begun.task, step.attempt) in lives
            }
            if missing := {*range(1, begun.resumed_from + 1)} - done:
                yield f"{_shown(begun)}, but no earlier attempt has done steps {sorted(missing)}"


def successes_are_complete(evidence: Evidence) -> Iterator[str]:
    """Check that the last execution of a SUCCESS did the last step, and the result is of the current attempt.

    With `steps_are_done_in_order` and `checkpoints_stand_for_work_that_was_done` all of the work was done.
    """
    for task in evidence.tasks:
        if task.status == "SUCCESS":
            # A result that arrived while the task was PAUSED belongs to the attempt of its resume.
            last_step = evidence.history.get(task.id, [])[-1:]
            was_paused = any(each.reason == "done while the task was paused" for each in last_step)
            if task.result != {"attempt": task.attempt - was_paused, "steps": task.steps}:
                yield f"task {task.id}: SUCCESS of attempt {task.attempt} of {task.steps} steps has {task.result}"
            executions = evidence.executions_of.get(task.id, [])
            last = max(executions, key=lambda each: each.attempt, default=None)
            if last is None or _reached(evidence, last) != task.steps:
                yield f"task {task.id}: SUCCESS, but its last execution did not come to step {task.steps}"


def reports_come_from_the_units_that_ran_the_attempt(evidence: Evidence) -> Iterator[str]:
    """Check that a change ascribed to a unit concerns an attempt executed by the unit."""
    ran = {(begun.task, begun.attempt): begun.unit for begun in evidence.executions}
    ran |= {(step.task, step.attempt): step.unit for step in evidence.steps}
    for step in evidence.transitions:
        unit = ran.get((step.task, step.attempt))
        if step.by.startswith("unit:") and unit is not None and step.by != f"unit:{unit}":
            yield f"task {step.task}: revision {step.revision} is by {step.by}, but {unit} ran attempt {step.attempt}"


def chosen_checkpoints_are_used(evidence: Evidence) -> Iterator[str]:
    """Check that an attempt from a chosen checkpoint begins behind the step of the checkpoint.

    While the task is queued, later callers may choose another checkpoint.
    """
    steps = {(each.task, each.number): each.step for each in evidence.acked if each.number}
    steps |= {(row.task, row.number): row.step for row in evidence.checkpoints}
    choices = [call for call in evidence.calls if call.verb in {"resume_from", "restart_from"}]
    first = {call.request: call for call in reversed(choices)}
    begun = {(each.task, each.attempt): each for each in evidence.executions}
    for move in evidence.transitions:
        choice = first.get(move.reason.split("; ")[0])
        execution = begun.get((move.task, move.attempt)) if move.to_status == "RUNNING" else None
        if choice and execution:
            of_task = [each for each in choices if each.task == move.task and choice.began <= each.began < move.at]
            numbers = {choice.wanted or 0, *(each.wanted or 0 for each in of_task)}
            chosen = {steps.get((move.task, number)) for number in numbers}
            if chosen.isdisjoint({None, execution.resumed_from or 0}):
                yield f"{_shown(execution)}, but of the checkpoints {numbers} one was chosen, of the steps {chosen}"


def units_have_the_labels_that_are_asked_for(evidence: Evidence) -> Iterator[str]:
    """Check that a task with a required label runs on a unit with the label."""
    zones = {task.id: task.zone for task in evidence.tasks if task.zone}
    for begun in evidence.executions:
        if zones.get(begun.task) == ZONES[0] and begun.unit != "unit-1":
            yield f"{_shown(begun)}, but the task asks for the zone {ZONES[0]}"


def capacity_is_kept(evidence: Evidence) -> Iterator[str]:
    """Check that no unit does more steps at once than it has slots."""
    for unit, capacity in evidence.capacities.items():
        changes = [(step.began, 1) for step in evidence.steps if step.unit == unit]
        changes += [(step.ended, -1) for step in evidence.steps if step.unit == unit]
        at_once = 0
        for at, change in sorted(changes):
            at_once += change
            if at_once > capacity:
                yield f"{unit} did {at_once} steps at once at {at:.3f}, with {capacity} slots"
                break


def _first_steps(steps: list[Step]) -> dict[int, float]:
    firsts: dict[int, float] = {}
    for step in steps:
        firsts.setdefault(step.attempt, step.began)
    return firsts


def _fenced_at(evidence: Evidence, step: Step) -> float:
    """Return until when the attempt may continue after the start of a later attempt; 0 if it may not."""
    taken = next((each for each in evidence.history[step.task] if _ends(each, step.attempt)), None)
    if taken is None or not any(sign in taken.reason for sign in _TAKEN_BY_FORCE):
        return 0.0
    return taken.at + evidence.lease_seconds


def _ends(step: Transition, attempt: int) -> bool:
    return step.from_status == "RUNNING" and step.attempt == attempt


def _lives(evidence: Evidence, begun: Begun) -> range:
    """Return the life of the task in which the execution's starting point was reached."""
    life = evidence.life(begun.task, begun.attempt)
    # A restart may have chosen a checkpoint of an earlier life.
    return range(life + 1) if begun.task in evidence.chosen else range(life, life + 1)


def _reached(evidence: Evidence, begun: Begun) -> int:
    return (begun.resumed_from or 0) + len(evidence.steps_in.get(begun.execution, []))


def _shown(begun: Begun) -> str:
    return f"task {begun.task}: attempt {begun.attempt} on {begun.unit}, begun from step {begun.resumed_from}"
