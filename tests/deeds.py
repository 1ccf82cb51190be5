"""Everything that can be done to a task, by name: what clients ask, what units report, what the server does itself.

Made so that tests can apply all of them, or any sequence of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from builders import ALICE, a_checkpoint, an_offer

from taskplane.server.core import reports, verbs
from taskplane.server.core.change import Change
from taskplane.server.core.dispatch import dispatched
from taskplane.server.core.fence import Speaker
from taskplane.server.core.placement import Placement
from taskplane.server.core.retry import RetryPolicy
from taskplane.server.core.task import Task, TaskStatus, Verb
from taskplane.server.core.unit_report import Failure, RejectReason
from taskplane.server.core.verbs import NewCommand

# Retries without a wait keep walks through the table short.
AT_ONCE = RetryPolicy(base_seconds=0)

Report = Callable[[Task, Speaker, datetime], Change]


def do(verb: Verb, task: Task, now: datetime, *, command_id: str = "command-2", is_held: bool = False) -> Change:
    """Apply a verb, as alice asks for it."""
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


def dispatch(task: Task, now: datetime, unit_id: str = "unit-1", *, held: bool = False) -> Change:
    """Give a task to a unit."""
    return dispatched(Placement(task, an_offer(unit_id), held_attempt=task.attempt if held else None), now)


def _next_checkpoint(task: Task) -> int:
    return task.last_checkpoint_number + 1


def _command_id(task: Task) -> str:
    return task.pending_command.command_id if task.pending_command else "never issued"


def _rejected(reason: RejectReason) -> Report:
    return lambda task, speaker, now: reports.command_rejected(
        task, speaker, now, command_id=_command_id(task), reason=reason, message="NO"
    )


def _released(task: Task, speaker: Speaker, now: datetime) -> Change:
    """Give it back, or say so again if it is PAUSED: with the same checkpoint."""
    number = task.last_checkpoint_number if task.status is TaskStatus.PAUSED else _next_checkpoint(task)
    checkpoint = a_checkpoint(number, attempt=speaker.attempt)
    return reports.released(task, speaker, now, checkpoint=checkpoint, message="bye")


def _not_accepted(task: Task, speaker: Speaker, now: datetime) -> Change:
    return reports.not_accepted(replace(task, accepted_at=None), speaker, now, seconds=5)


# What a unit can say of an attempt, and what the server says in its stead when it is silent or gone.
REPORTS: Mapping[str, Report] = {
    "checkpointed": lambda task, speaker, now: reports.checkpointed(
        task, speaker, now, checkpoint=a_checkpoint(_next_checkpoint(task), attempt=speaker.attempt)
    ),
    "paused": lambda task, speaker, now: reports.paused(
        task, speaker, now, checkpoint=a_checkpoint(_next_checkpoint(task), attempt=speaker.attempt), progress=None
    ),
    "released": _released,
    "succeeded": lambda task, speaker, now: reports.succeeded(task, speaker, now, result={"rows": 3}),
    "failed": lambda task, speaker, now: reports.failed(task, speaker, now, failure=Failure("oh"), policy=AT_ONCE),
    "failed for good": lambda task, speaker, now: reports.failed(
        task, speaker, now, failure=Failure("bad config", not_retryable=True), policy=AT_ONCE
    ),
    "cancelled": lambda task, speaker, now: reports.cancelled(task, speaker, now, message="cleaned up"),
    "start rejected": lambda task, speaker, now: reports.start_rejected(task, speaker, now, message="NO_SLOT"),
    "command rejected": _rejected("OTHER"),
    "attempt unknown": _rejected("UNKNOWN_ATTEMPT"),
    "not accepted": _not_accepted,
    "lost": lambda task, speaker, now: reports.lost(task, speaker, now, why="unit lost", policy=AT_ONCE),
}
