"""The changes of the verbs, with the knowledge of units and time limits.

A change is made for one task: its command has its own id. The change is a function of the task and of `now`, and of
`checkpoint` to continue from a chosen one. It raises the refusal of the verb.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from taskplane.server.core import verbs
from taskplane.server.core.effect import Effect
from taskplane.server.core.task import Task
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
