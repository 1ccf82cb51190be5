"""Checks of the units' reports against the database."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from robustness.evidence import WITHOUT_ITS_UNIT, Evidence
from robustness.records import Acked, Begun, Ended, StoredCheckpoint, StoredTask, Transition, has_stream

from taskplane.server.tasks.unit_of_work import CHECKPOINTS_KEPT

# Times in the database are of a transaction's beginning; the others come from other processes.
_CLOCK_SECONDS = 0.05
# Kinds of reports that end an attempt, and the status caused by each if the history names the unit.
_ENDINGS = {
    "paused": "PAUSED",
    "succeeded": "SUCCESS",
    "failed": "FAILED",
    "cancelled": "CANCELLED",
    "released": "PAUSED",
}
_HOW_IT_ENDED = {
    "SUCCESS": {"succeeded"},
    "FAILED": {"failed", "failed for good"},
    "PAUSED": {"TaskReleased"},
    "CANCELLED": {"TaskCancelled"},
}
# Seconds that a unit may take to leave.
_LEAVING_SECONDS = 6.0
_ORDERLY = frozenset({"stop_unit", "drain_unit"})
_ASKED = {"pause": "PAUSED", "cancel": "CANCELLED"}
# A drop is promised for these; an ending needs none.
_WOULD_GO_ON = frozenset({"progress", "checkpoint", "paused"})


def acknowledged_checkpoints_are_stored(evidence: Evidence) -> Iterator[str]:
    """Check that a checkpoint acknowledged for the current attempt is stored, unless newer ones are."""
    stored = defaultdict(list)
    for row in evidence.checkpoints:
        stored[row.task].append(row)
    for each in evidence.acked:
        if each.task in evidence.history and each.step is not None and _counted(evidence, each):
            rows = stored[each.task]
            is_there = any(_is_stored_as(each, row) for row in rows)
            if not is_there and sum(_is_newer(row, each) for row in rows) < CHECKPOINTS_KEPT:
                yield f"{_shown(each)} was acknowledged, but is not stored"


def acknowledged_checkpoints_are_continued_from(evidence: Evidence) -> Iterator[str]:
    """Check that the next attempt continues from the last acknowledged checkpoint, or a later one."""
    last: dict[tuple[int, int], Acked] = {}
    for each in evidence.acked:
        if each.step is not None and _counted(evidence, each):
            last[each.task, each.attempt] = max(each, last.get((each.task, each.attempt), each), key=_step)
    for begun in evidence.executions:
        before = last.get((begun.task, begun.attempt - 1))
        if before is None or begun.task in evidence.chosen or begun.task not in evidence.history:
            continue
        is_same_life = evidence.life(begun.task, before.attempt) == evidence.life(begun.task, begun.attempt)
        if is_same_life and (begun.resumed_from or 0) < (before.step or 0):
            gone_on = f"attempt {begun.attempt} went on from step {begun.resumed_from}"
            yield f"{gone_on}, though {_shown(before)} was acknowledged"


def acknowledged_endings_are_in_the_history(evidence: Evidence) -> Iterator[str]:
    """Check that an attempt no longer runs once its ending report is acknowledged."""
    for each in evidence.acked:
        if each.kind in _ENDINGS and each.task in evidence.history:
            end = evidence.ends.get((each.task, each.attempt))
            if end is None or end.at > each.at + _CLOCK_SECONDS:
                yield f"{_shown(each)} was acknowledged, but the history says {end}"


def ends_are_as_the_unit_said(evidence: Evidence) -> Iterator[str]:
    """Check that an attempt's end ascribed to a unit happened there, in the same way, and earlier."""
    hows = defaultdict(list)
    for ended in evidence.endings:
        hows[ended.task, ended.attempt].append(ended)
    # The unit may confirm a pause that another command has replaced; the history then names only the unit.
    asked = {(each.task, each.attempt, _ASKED[each.order]) for each in evidence.obeyed}
    for (task, attempt), end in evidence.ends.items():
        # The rejection of a start ends an attempt that never began.
        if not end.by.startswith("unit:") or (task, attempt) not in evidence.ran:
            continue
        if (task, attempt, end.to_status) in asked or any(_is_that_end(each, end) for each in hows[task, attempt]):
            continue
        yield f"task {task}: {end}, but the unit's attempt ended with {[each.how for each in hows[task, attempt]]}"


def checkpoints_that_are_stored_were_reached(evidence: Evidence) -> Iterator[str]:
    """Check that a stored checkpoint is of a step done by its attempt or an earlier one."""
    for row in evidence.checkpoints:
        done = {step.number for step in evidence.steps_of.get(row.task, []) if step.attempt <= row.attempt}
        if row.step and row.step not in done:
            yield f"task {row.task}: checkpoint {row.number} of attempt {row.attempt} holds step {row.step}, not done"


def attempts_that_are_over_are_dropped(evidence: Evidence) -> Iterator[str]:
    """Check that a unit that reports on a lost attempt receives a drop for the attempt."""
    for lie in evidence.lies:
        if lie.kind in _WOULD_GO_ON and not lie.is_dropped:
            said = f"{lie.kind} of attempt {lie.attempt} of task {lie.task}"
            yield f"{lie.unit} reported {said}, and was not told to drop it"


def leases_are_kept(evidence: Evidence) -> Iterator[str]:
    """Check that no unit is lost within a lease after its last message known to have arrived."""
    heard = defaultdict(list)
    for each in evidence.heard:
        heard[each.unit].append(each)
    for (task, attempt), end in evidence.ends.items():
        if "not heard from" not in end.reason:
            continue
        signs = heard[evidence.ran.get((task, attempt), "")]
        # A message on a stalled connection arrives some time before its response, but perhaps after the loss.
        last = max((sign.sent for sign in signs if sign.at < end.at), default=None)
        if last is not None and end.at < last + evidence.lease_seconds - _CLOCK_SECONDS:
            yield f"task {task}: {end}, {end.at - last:.3f} s after the server had heard the unit"


def retries_are_counted_once(evidence: Evidence) -> Iterator[str]:
    """Check that the history counts retries one by one up to the limit, and task and unit agree on the number."""
    for task in evidence.tasks:
        count = 0
        for step in evidence.history.get(task.id, []):
            if step.to_status == "PENDING" and step.by != "taskplane":
                count = 0
            elif step.reason.startswith("retry "):
                count += 1
                if step.reason.split()[1] != str(count):
                    yield f"task {task.id}: {step} is retry number {count}"
        if task.retry_count != count:
            yield f"task {task.id} has a retry count of {task.retry_count} after {count} retries"
        yield from _untold_retries(evidence, task)


def _untold_retries(evidence: Evidence, task: StoredTask) -> Iterator[str]:
    counts = _retries_before(evidence.history.get(task.id, []))
    for begun in evidence.executions_of.get(task.id, []):
        if begun.retry_count != counts.get(begun.attempt, begun.retry_count):
            yield f"task {task.id}: attempt {begun.attempt} was told of {begun.retry_count} retries"


def what_may_be_retried_is(evidence: Evidence) -> Iterator[str]:
    """Check that a task stays FAILED only without retries left, after a final failure, or under a cancel."""
    for_good = {(each.task, each.attempt) for each in evidence.endings if each.how == "failed for good"}
    cancels = {each.task for each in evidence.commands if each.verb == "CANCEL"}
    for task in evidence.tasks:
        last = evidence.history[task.id][-1] if task.id in evidence.history else None
        by_unit = task.status == "FAILED" and last is not None and last.by.startswith("unit:")
        is_for_good = (task.id, task.attempt) in for_good or task.id in cancels
        if by_unit and not is_for_good and task.retry_count < task.max_retries:
            yield f"task {task.id} stays FAILED after {task.retry_count} of {task.max_retries} retries: {last}"


def what_failed_for_good_is_not_retried(evidence: Evidence) -> Iterator[str]:
    """Check that the server does not retry a final failure."""
    for ended in evidence.endings:
        path = evidence.history.get(ended.task, []) if ended.how == "failed for good" else []
        for before, after in pairwise(path):
            is_its_end = before.to_status == "FAILED" and before.attempt == ended.attempt
            if is_its_end and before.by.startswith("unit:") and after.by == "taskplane":
                yield f"task {ended.task}: attempt {ended.attempt} failed for good, but was followed by {after}"


def who_leaves_in_order_loses_nothing(evidence: Evidence) -> Iterator[str]:
    """Check that a unit stopped or drained in peace releases its attempts before it leaves."""
    for end in evidence.ends.values():
        disturbed = [each for each in evidence.faults if each.began < end.at < each.ended + _LEAVING_SECONDS]
        if "unit left" in end.reason and disturbed and all(each.name in _ORDERLY for each in disturbed):
            yield f"task {end.task}: {end}"


def progress_is_not_older_than_the_status(evidence: Evidence) -> Iterator[str]:
    """Check that a SUCCESS has full progress or none."""
    for task in evidence.tasks:
        if task.status == "SUCCESS" and task.progress not in {None, 1.0}:
            yield f"task {task.id} is SUCCESS with a progress of {task.progress}"


def _counted(evidence: Evidence, each: Acked) -> bool:
    """Return whether the report was decided while its attempt was current."""
    end = evidence.ends.get((each.task, each.attempt))
    if end is None:
        return False
    if each.kind == "checkpoint":
        return each.at < end.at - _CLOCK_SECONDS
    is_its_own = not any(sign in end.reason for sign in WITHOUT_ITS_UNIT)
    return is_its_own and end.to_status == _ENDINGS[each.kind]


def _is_that_end(ended: Ended, end: Transition) -> bool:
    return ended.how in _HOW_IT_ENDED.get(end.to_status, set()) and ended.at < end.at + _CLOCK_SECONDS


def _retries_before(path: list[Transition]) -> dict[int, int]:
    """Return the number of retries before each attempt."""
    counts, count = {}, 0
    for step in path:
        if step.to_status == "PENDING" and step.by != "taskplane":
            count = 0
        elif step.reason.startswith("retry "):
            count += 1
        elif step.to_status == "RUNNING":
            counts[step.attempt] = count
    return counts


def _is_stored_as(each: Acked, row: StoredCheckpoint) -> bool:
    return (row.attempt, row.step) == (each.attempt, each.step) and row.number == (_number(each) or row.number)


def _is_newer(row: StoredCheckpoint, each: Acked) -> bool:
    number = _number(each)
    return row.number > number if number else (row.attempt, row.step) > (each.attempt, each.step or 0)


def _number(each: Acked) -> int:
    """Return the number of the stored checkpoint; 0 if the server may have numbered it, as for a unit's response."""
    return each.number if has_stream(each.unit) else 0


def _step(each: Acked) -> int:
    return each.step or 0


def _shown(each: Acked | Begun) -> str:
    what = f"{each.kind} {each.number or ''}, step {each.step}," if isinstance(each, Acked) else "begin"
    return f"task {each.task}: {what} of attempt {each.attempt} by {each.unit} at {each.at:.3f}"
