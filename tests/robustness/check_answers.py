"""What was answered to clients, held against what the database holds."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator

from robustness.evidence import Evidence
from robustness.records import Call, Seen, Transition

# What a call may be answered while things break; anything else is a fault of the server. CANCELLED is gRPC's own
# answer to a call that comes to a server while it stops.
_EXPECTED = frozenset(
    {
        *("OK", "NOT_FOUND", "FAILED_PRECONDITION", "ABORTED"),
        *("UNAVAILABLE", "CANCELLED", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"),
    }
)


def answers_are_in_the_history(evidence: Evidence) -> Iterator[str]:
    """What an answer showed was durable: the history has that status and attempt at that revision."""
    for call in evidence.calls:
        for seen in call.seen:
            path = evidence.history.get(seen.task)
            if path and not _holds(seen, path):
                yield f"{_shown(call)} was answered {seen}, which the history does not have"


def created_tasks_are_there_once(evidence: Evidence) -> Iterator[str]:
    """A create that was acknowledged made its tasks, one each, also if it was called twice with one request id."""
    stored = Counter(task.name for task in evidence.tasks)
    deleted = {call.task for call in evidence.calls if call.verb == "delete"}
    for call in evidence.calls:
        for name, seen in zip(call.names, call.seen, strict=False):
            if stored[name] == 0 and seen.task not in deleted:
                yield f"{_shown(call)} was acknowledged, but task {seen.task}, {name!r}, is not there"
    for name, count in stored.items():
        if count > 1:
            yield f"there are {count} tasks {name!r}, which was created once"


def deleted_tasks_are_gone(evidence: Evidence) -> Iterator[str]:
    """A delete that was acknowledged holds."""
    stored = {task.id for task in evidence.tasks}
    for call in evidence.calls:
        if call.verb == "delete" and call.code == "OK" and call.task in stored:
            yield f"{_shown(call)} was acknowledged, but the task is there"


def errors_are_in_the_catalogue(evidence: Evidence) -> Iterator[str]:
    """However things break, callers get errors that they can act on."""
    for call in evidence.calls:
        if call.code not in _EXPECTED:
            yield f"{_shown(call)} failed with {call.code}: {call.reason}"


def checkpoints_that_were_shown_are_kept(evidence: Evidence) -> Iterator[str]:
    """No attempt that begins later goes on from before a checkpoint that a caller has seen.

    Unless the task was restarted between, which clears it.
    """
    for call in evidence.calls:
        for seen in call.seen:
            if seen.checkpoint_step is not None:
                yield from _resumed_before(evidence, call, seen, seen.checkpoint_step)


def _resumed_before(evidence: Evidence, call: Call, seen: Seen, step: int) -> Iterator[str]:
    path = evidence.history.get(seen.task, [])
    restarts = [each.attempt for each in path if each.revision > seen.revision and is_restart(each)]
    for begun in evidence.executions_of.get(seen.task, []):
        is_same_life = all(begun.attempt <= attempt for attempt in restarts)
        if path and begun.attempt > seen.attempt and is_same_life and (begun.resumed_from or 0) < step:
            yield (
                f"task {seen.task}: attempt {begun.attempt} went on from step {begun.resumed_from}, "
                f"though {_shown(call)} had shown a checkpoint of step {step} by attempt {seen.attempt}"
            )


def is_restart(step: Transition) -> bool:
    """Whether a client put the task back to its beginning. An automatic retry is the server's own."""
    return step.from_status is not None and step.to_status == "PENDING" and step.by != "taskplane"


def _holds(seen: Seen, path: list[Transition]) -> bool:
    index = bisect_right(path, seen.revision, key=lambda each: each.revision) - 1
    return index >= 0 and (path[index].to_status, path[index].attempt) == (seen.status, seen.attempt)


def _shown(call: Call) -> str:
    return f"{call.verb} of task {call.task or 'to be'} by {call.client} at {call.began:.3f}"
