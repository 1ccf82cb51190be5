"""Responses to clients, compared with the database."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator

from robustness.evidence import Evidence, is_restart
from robustness.records import Call, Seen, Transition

# Codes that a call may end with under faults; any other code is a fault of the server. CANCELLED is gRPC's own response
# to a call that arrives at a stopping server.
_EXPECTED = frozenset(
    {
        *("OK", "NOT_FOUND", "FAILED_PRECONDITION", "ABORTED"),
        *("UNAVAILABLE", "CANCELLED", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"),
    }
)

_READS = frozenset({"get", "list"})
# After these codes, a client repeats the call.
_PASSING = frozenset({"UNAVAILABLE", "CANCELLED", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"})
# Answers are stored together once a second, and later while something is in the way.
_STORED_SECONDS = 2.5
_DELAYS_STORING = frozenset(
    {
        *("freeze_server", "replace_frozen_server", "stop_database", "kill_database", "lock_database"),
        *("delay_connections", "stall_connections", "cut_connections", "kill_server_at_answer"),
    }
)
# A replaced server stores nothing more, like a killed server.
_KILLS = frozenset(
    {"kill_server", "kill_server_at_answer", "kill_server_and_unit", "roll_over", "replace_frozen_server"}
)


def answers_are_in_the_history(evidence: Evidence) -> Iterator[str]:
    """Check that every response was durable: the history has the status and attempt at the response's revision."""
    for call in evidence.calls:
        for seen in call.seen:
            path = evidence.history.get(seen.task)
            if path and not _holds(seen, path):
                yield f"{_shown(call)} was answered {seen}, which the history does not have"


def created_tasks_are_there_once(evidence: Evidence) -> Iterator[str]:
    """Check that an acknowledged create made its tasks once, also if repeated under the same request id."""
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
    """Check that an acknowledged delete holds."""
    stored = {task.id for task in evidence.tasks}
    for call in evidence.calls:
        if call.verb == "delete" and call.code == "OK" and call.task in stored:
            yield f"{_shown(call)} was acknowledged, but the task is there"


def errors_are_in_the_catalogue(evidence: Evidence) -> Iterator[str]:
    """Check that callers get errors that they can act on, under every fault."""
    for call in evidence.calls:
        # A checkpoint may have been dropped between the read of its number and the call that names the number.
        is_too_late = call.code == "INVALID_ARGUMENT" and call.verb in {"resume_from", "restart_from"}
        if call.code not in _EXPECTED and not is_too_late:
            yield f"{_shown(call)} failed with {call.code}: {call.reason}"


def checkpoints_that_were_shown_are_kept(evidence: Evidence) -> Iterator[str]:
    """Check that later attempts resume no earlier than a checkpoint already returned to a caller.

    A restart clears the checkpoint.
    """
    for call in evidence.calls:
        for seen in call.seen:
            if seen.checkpoint_step is not None and seen.task not in evidence.chosen:
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


def repeats_are_answered_as_the_first(evidence: Evidence) -> Iterator[str]:
    """Check that a repeat of a request gets the first response, however late and from any server.

    A response may differ only if the server was killed before it could store the first response.
    """
    first: dict[str, Call] = {}
    # A client makes one call at a time, so repeats begin after the first response.
    for call in sorted(evidence.calls, key=lambda each: each.began):
        if not call.request or call.code in _PASSING:
            continue
        before = first.get(call.request)
        if before is None:
            if call.code == "OK":
                first[call.request] = call
        elif (call.code, call.answer) != (before.code, before.answer) and _is_kept(evidence, before, call.began):
            yield f"{_shown(call)} was answered {call.code} {call.reason} {call.seen}, but before {before.seen}"


def _is_kept(evidence: Evidence, call: Call, until: float) -> bool:
    """Return whether the response must be stored: it was written, or no server was killed since."""
    stored = evidence.undisturbed_after(call.ended, _STORED_SECONDS, _DELAYS_STORING)
    kills = [fault for fault in evidence.faults if fault.name in _KILLS and fault.ended > call.began]
    return not any(fault.began < stored for fault in kills if fault.began < until)


def updates_hold(evidence: Evidence) -> Iterator[str]:
    """Check that an acknowledged update sets the requested priority, and the last update's priority stays."""
    last: dict[int, tuple[int, int]] = {}
    unsure = {call.task for call in evidence.calls if call.verb == "update" and call.code in _PASSING}
    for call in evidence.calls:
        for seen in call.seen if call.verb == "update" else ():
            if seen.priority != call.wanted:
                yield f"{_shown(call)} asked for priority {call.wanted} and was answered {seen}"
            last[seen.task] = max(last.get(seen.task, (0, 0)), (seen.revision, seen.priority))
    for task in evidence.tasks:
        if task.id in last and task.id not in unsure and task.priority != last[task.id][1]:
            yield f"task {task.id} has priority {task.priority}, not {last[task.id][1]}, as acknowledged"


def stale_conditions_are_refused(evidence: Evidence) -> Iterator[str]:
    """Check that a call with an outdated expected revision changes nothing."""
    for call in evidence.calls:
        if call.verb == "stale" and call.code == "OK":
            yield f"{_shown(call)} was answered {call.seen}, though the revision was an older one"


def calls_on_many_tasks_change_no_other(evidence: Evidence) -> Iterator[str]:
    """Check that a bulk verb changes the named tasks, by id or by a part of their names, and no others."""
    many = {call.request: call for call in evidence.calls if call.verb in {"bulk", "bulk_filter"}}
    names = {task.id: task.name for task in evidence.tasks}
    for step in evidence.transitions:
        call = many.get(step.reason.split("; ")[0])
        if call and step.task not in call.tasks and not any(part in names.get(step.task, part) for part in call.names):
            yield f"{_shown(call)} of {call.tasks or call.names} has changed another task: {step}"


def the_history_names_who_asked(evidence: Evidence) -> Iterator[str]:
    """Check that creations and commands carry the client's name and reason."""
    clients = {call.request: call.client for call in evidence.calls if call.request}
    for call in evidence.calls:
        for seen in call.seen if call.verb == "create" and call.request else ():
            first = next(iter(evidence.history.get(seen.task, [])), None)
            if first and (first.by, first.reason) != (call.client, call.request):
                yield f"{_shown(call)} is in the history as {first}"
    for command in evidence.commands:
        if command.actor != "settle" and clients.get(command.reason) != command.actor:
            yield f"{command} is not what {command.actor} asked for"


def reads_never_go_back(evidence: Evidence) -> Iterator[str]:
    """Check that a read after a response returns the same or a later state of the task."""
    shown: dict[int, list[tuple[float, int]]] = {}
    for call in sorted(evidence.calls, key=lambda each: each.ended):
        for seen in call.seen:
            path = shown.setdefault(seen.task, [])
            path.append((call.ended, max(seen.revision, path[-1][1] if path else 0)))
    for call in evidence.calls:
        for seen in call.seen if call.verb in _READS else ():
            path = shown[seen.task]
            index = bisect_left(path, call.began, key=lambda each: each[0]) - 1
            if index >= 0 and path[index][1] > seen.revision:
                yield f"{_shown(call)} read {seen} after revision {path[index][1]} had been shown"


def _holds(seen: Seen, path: list[Transition]) -> bool:
    index = bisect_right(path, seen.revision, key=lambda each: each.revision) - 1
    return index >= 0 and (path[index].to_status, path[index].attempt) == (seen.status, seen.attempt)


def _shown(call: Call) -> str:
    return f"{call.verb} of task {call.task or 'to be'} by {call.client} at {call.began:.3f}"
