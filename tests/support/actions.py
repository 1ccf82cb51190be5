"""All actions on a task, by name: verbs of clients, reports of units, and decisions of the server.

Tests apply all of them, or any sequence of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from support.builders import ALICE, a_checkpoint, an_offer

from taskplane.server.core import reports, verbs
from taskplane.server.core.command import dispatched
from taskplane.server.core.effect import Effect
from taskplane.server.core.fence import AttemptRef
from taskplane.server.core.placement import Placement
from taskplane.server.core.retry import RetryPolicy
from taskplane.server.core.task import Task, TaskStatus, Verb
from taskplane.server.core.unit_report import Failure, RejectReason
from taskplane.server.core.verbs import NewCommand

# Retries without delay keep walks through the table short.
AT_ONCE = RetryPolicy(base_seconds=0)

Report = Callable[[Task, AttemptRef, datetime], Effect]


def do(verb: Verb, task: Task, now: datetime, *, command_id: str = "command-2", is_held: bool = False) -> Effect:
    """Apply a verb of alice."""
    command = NewCommand(command_id, timedelta(seconds=30))
    match verb:
        case Verb.START:
            return verbs.start(task, ALICE, now)
        case Verb.PAUSE:
            return verbs.pause(task, ALICE, now, command=command, can_pause=lambda _: True)
        case Verb.RESUME:
            return verbs.resume(task, ALICE, now, command_id=command_id)
        case Verb.CANCEL:
            return verbs.cancel(task, ALICE, now, command=command, is_held=lambda _: is_held)
        case Verb.RESTART:
            return verbs.restart(task, ALICE, now)


def dispatch(task: Task, now: datetime, unit_id: str = "unit-1", *, held: bool = False) -> Effect:
    """Dispatch a task to a unit."""
    return dispatched(Placement(task, an_offer(unit_id), held_attempt=task.attempt if held else None), now)


def _next_checkpoint(task: Task) -> int:
    return task.last_checkpoint_number + 1


def _command_id(task: Task) -> str:
    return task.pending_command.command_id if task.pending_command else "never issued"


def _rejected(reason: RejectReason) -> Report:
    return lambda task, sender, now: reports.command_rejected(
        task, sender, now, command_id=_command_id(task), reason=reason, message="NO"
    )


def _released(task: Task, sender: AttemptRef, now: datetime) -> Effect:
    """Release the task, or repeat the release of a PAUSED task with the same checkpoint."""
    number = task.last_checkpoint_number if task.status is TaskStatus.PAUSED else _next_checkpoint(task)
    checkpoint = a_checkpoint(number, attempt=sender.attempt)
    return reports.released(task, sender, now, checkpoint=checkpoint, message="bye")


def _not_accepted(task: Task, sender: AttemptRef, now: datetime) -> Effect:
    return reports.not_accepted(replace(task, accepted_at=None), sender, now, seconds=5)


# The reports of units on an attempt, and the server's substitutes for silent or lost units.
REPORTS: Mapping[str, Report] = {
    "checkpointed": lambda task, sender, now: reports.checkpointed(
        task, sender, now, checkpoint=a_checkpoint(_next_checkpoint(task), attempt=sender.attempt)
    ),
    "paused": lambda task, sender, now: reports.paused(
        task, sender, now, checkpoint=a_checkpoint(_next_checkpoint(task), attempt=sender.attempt), progress=None
    ),
    "released": _released,
    "succeeded": lambda task, sender, now: reports.succeeded(task, sender, now, result={"rows": 3}),
    "failed": lambda task, sender, now: reports.failed(task, sender, now, failure=Failure("oh"), policy=AT_ONCE),
    "failed for good": lambda task, sender, now: reports.failed(
        task, sender, now, failure=Failure("bad config", not_retryable=True), policy=AT_ONCE
    ),
    "cancelled": lambda task, sender, now: reports.cancelled(task, sender, now, message="cleaned up"),
    "start rejected": lambda task, sender, now: reports.start_rejected(task, sender, now, message="NO_SLOT"),
    "command rejected": _rejected("OTHER"),
    "attempt unknown": _rejected("UNKNOWN_ATTEMPT"),
    "not accepted": _not_accepted,
    "lost": lambda task, sender, now: reports.lost(task, sender, now, why="unit lost", policy=AT_ONCE),
}
