"""The verbs as the services run them: the change of each, and the test whether its effect holds.

A change is made for one task: its command has its own id. The change is a function of the task and of `now`, and of
`checkpoint` to continue from a chosen one. It raises the refusal of the verb. The tests examine a task right after a
commit: True ends the wait, False continues the wait, an error reports that the effect can no longer occur.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from taskplane.server.core import verbs
from taskplane.server.core.command_log import CommandLogEntry, CommandState
from taskplane.server.core.effect import Effect
from taskplane.server.core.errors import CommandRejected, IllegalTransition
from taskplane.server.core.task import Task, TaskStatus, Verb
from taskplane.server.core.verbs import CallContext, NewCommand
from taskplane.server.execution_units.registry import Registry


@dataclass(frozen=True, slots=True)
class CommandTimeLimits:
    """The time limits for units: afterwards a pause is reported as overdue, and a cancel is forced."""

    pause: timedelta = timedelta(seconds=30)
    cancel: timedelta = timedelta(seconds=30)


class VerbChanges:
    """Makes the changes of `core.verbs` for tasks on the units of this server."""

    def __init__(self, registry: Registry, time_limits: CommandTimeLimits) -> None:
        self._registry = registry
        self._time_limits = time_limits

    def start(self, caller: CallContext) -> Callable[..., Effect]:
        """Return the change that queues a PENDING task."""
        return partial(verbs.start, caller=caller)

    def pause(self, caller: CallContext) -> Callable[..., Effect]:
        """Return the change that records a pause of a RUNNING task."""
        command = NewCommand(uuid.uuid4().hex, self._time_limits.pause)
        return partial(verbs.pause, caller=caller, command=command, can_pause=self._registry.can_pause)

    def resume(self, caller: CallContext) -> Callable[..., Effect]:
        """Return the change that queues a PAUSED task to continue."""
        return partial(verbs.resume, caller=caller, command_id=uuid.uuid4().hex)

    def cancel(self, caller: CallContext) -> Callable[..., Effect]:
        """Return the change that cancels a task, or records a cancel for the unit that holds the task."""
        command = NewCommand(uuid.uuid4().hex, self._time_limits.cancel)
        return partial(verbs.cancel, caller=caller, command=command, is_held=self._registry.is_held)

    def restart(self, caller: CallContext) -> Callable[..., Effect]:
        """Return the change that queues a FAILED or CANCELLED task again."""
        return partial(verbs.restart, caller=caller)


def timed(change: Callable[..., Effect]) -> Callable[[Task, datetime], Effect]:
    """Return a change with the signature of the state manager."""
    return lambda task, now: change(task, now=now)


def is_paused(task: Task, note: str = "") -> bool:
    """Return whether a pause holds."""
    if task.status is TaskStatus.PAUSED:
        return True
    _check_still_pending(task, Verb.PAUSE, note)
    return False


def is_cancelled(task: Task, note: str = "") -> bool:
    """Return whether a cancel holds."""
    if task.status is TaskStatus.CANCELLED:
        return True
    _check_still_pending(task, Verb.CANCEL, note)
    return False


def is_dispatched(task: Task, note: str = "") -> bool:
    """Return whether a start, resume or restart holds: the task runs, has run, or is no longer queued."""
    return task.queued_at is None


def check_not_lost(entry: CommandLogEntry, task: Task) -> None:
    """Raise the outcome of a command without effect, if the command is over."""
    metadata = {"task_id": str(task.id), "from": task.status, "verb": entry.verb}
    if entry.state is CommandState.REJECTED:
        raise CommandRejected(f"{entry.verb.lower()} of task {task.id} was refused: {entry.message}", metadata=metadata)
    if entry.state is CommandState.EXPIRED:
        message = f"{entry.verb.lower()} of task {task.id} has no effect: {entry.message}"
        raise IllegalTransition(message, metadata=metadata)


def _check_still_pending(task: Task, verb: Verb, note: str) -> None:
    pending = task.pending_command
    if pending and pending.verb is verb and not task.is_final:
        return
    metadata = {"task_id": str(task.id), "from": task.status, "verb": verb}
    if task.status is TaskStatus.RUNNING and pending is None:
        refusal = f"{verb.lower()} of task {task.id} was refused by unit {task.execution_unit_id!r}"
        raise CommandRejected(f"{refusal}: {note or 'no reason given'}", metadata=metadata)
    happened = f"a {pending.verb.lower()} took its place" if pending else f"it became {task.status} first"
    raise IllegalTransition(f"{verb.lower()} of task {task.id} has no effect: {happened}", metadata=metadata)
