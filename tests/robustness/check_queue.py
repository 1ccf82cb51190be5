"""Checks of the queue: free slots are given by priority."""

from collections.abc import Iterator

from robustness.evidence import Evidence
from robustness.records import StoredTask, Transition


def higher_priorities_go_first(evidence: Evidence) -> Iterator[str]:
    """Check that no task is dispatched before an earlier queued task of its type with a higher priority.

    Compared with tasks whose first attempt waits for a slot alone, from their creation on.
    """
    for waiting, queued, dispatched in _first_waits(evidence):
        for task in evidence.tasks:
            if (
                (task.type, task.zone) == (waiting.type, waiting.zone)
                and task.priority < waiting.priority
                and task.id not in evidence.updated
            ):
                for step in evidence.history.get(task.id, []):
                    is_between = queued.revision < step.revision < dispatched.revision
                    if is_between and (step.from_status, step.to_status) == ("PENDING", "RUNNING"):
                        yield (
                            f"task {task.id} of priority {task.priority} was dispatched at revision {step.revision}, "
                            f"while task {waiting.id} of priority {waiting.priority} waited since {queued.revision}"
                        )


def _first_waits(evidence: Evidence) -> Iterator[tuple[StoredTask, Transition, Transition]]:
    """Return the tasks created with start, with the transitions between which they were queued."""
    started = {name for call in evidence.calls for name in call.names}
    for task in evidence.tasks:
        path = evidence.history.get(task.id, [])
        is_plain = len(path) > 1 and path[1].to_status == "RUNNING" and task.id not in evidence.updated
        # A start by a verb names another reason than the creation did.
        if is_plain and task.name in started and path[1].reason.startswith(path[0].reason):
            yield task, path[0], path[1]
