"""The task, its six statuses and the one table of allowed transitions.

Every rule for changes of status is in this file: `TRANSITIONS` is the table, and only `Task.moved` applies the table.
The effects of verbs and reports are in `verbs` and `reports`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from taskplane.server.core.errors import IllegalTransition

Json = Mapping[str, Any]

# Patterns without anchors, valid in Python and in JSON Schema.
TASK_TYPE = r"[A-Za-z0-9._:/-]{1,100}"
TASK_TYPE_MEANING = "must be 1 to 100 characters of A-Z a-z 0-9 . _ : / -"
LABEL_KEY = r"[A-Za-z0-9._/-]{1,63}"
LABEL_KEY_MEANING = "a key is 1 to 63 characters of A-Z a-z 0-9 . _ / -"

_TASK_TYPE = re.compile(TASK_TYPE)


def task_type_problem(name: str) -> str | None:
    """Return the problem with the name of a task type, or None."""
    if not name:
        return "is required"
    return None if _TASK_TYPE.fullmatch(name) else f"is {name[:60]!r}; {TASK_TYPE_MEANING}"


class TaskStatus(StrEnum):
    """The status of a task; see taskplane/v1/task.proto."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    PAUSED = "PAUSED"
    CANCELLED = "CANCELLED"


TRANSITIONS: Mapping[TaskStatus | None, frozenset[TaskStatus]] = {
    None: frozenset({TaskStatus.PENDING}),
    TaskStatus.PENDING: frozenset({TaskStatus.RUNNING, TaskStatus.CANCELLED}),
    TaskStatus.RUNNING: frozenset({TaskStatus.SUCCESS, TaskStatus.FAILED, TaskStatus.PAUSED, TaskStatus.CANCELLED}),
    TaskStatus.PAUSED: frozenset({TaskStatus.RUNNING, TaskStatus.CANCELLED}),
    TaskStatus.FAILED: frozenset({TaskStatus.PENDING}),
    TaskStatus.CANCELLED: frozenset({TaskStatus.PENDING}),
    TaskStatus.SUCCESS: frozenset(),
}

# Finished statuses: the task can be deleted, and reports no longer change the task.
FINAL = frozenset({TaskStatus.SUCCESS, TaskStatus.FAILED, TaskStatus.CANCELLED})


class Verb(StrEnum):
    """A verb on a task or, as a command, on a unit."""

    START = "START"
    PAUSE = "PAUSE"
    RESUME = "RESUME"
    CANCEL = "CANCEL"
    RESTART = "RESTART"


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of an attempt: a fraction 0 to 1 and a text for people."""

    fraction: float
    message: str
    reported_at: datetime


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A point from which an attempt can continue. `data` is None where only the number matters.

    Number 0 stands for the task's next number, assigned when the checkpoint is stored, for units that do not count.
    """

    number: int
    attempt: int
    created_at: datetime
    data: Json | None = None


@dataclass(frozen=True, slots=True)
class PendingCommand:
    """A recorded pause or cancel that has not taken effect.

    At its `deadline` a cancel is forced, and a pause is reported as overdue. None: the deadline has passed.
    """

    verb: Verb
    command_id: str
    since: datetime
    deadline: datetime | None = None
    accepted_at: datetime | None = None
    actor: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """Time limits; None is no limit. Defined in taskplane.v1.TaskLimits; their expiry is in `limits`."""

    run_budget: timedelta | None = None
    deadline: datetime | None = None
    queue_timeout: timedelta | None = None
    stall_timeout: timedelta | None = None


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of status. `revision` is 0 until the state manager assigns one."""

    task_id: int
    from_status: TaskStatus | None
    to_status: TaskStatus
    changed_at: datetime
    changed_by: str
    reason: str
    attempt: int
    revision: int = 0

    def numbered(self, revision: int) -> "Transition":
        """Return the transition with its revision."""
        # Called for every change of status; `dataclasses.replace` would take three times as long.
        return Transition(
            self.task_id,
            self.from_status,
            self.to_status,
            self.changed_at,
            self.changed_by,
            self.reason,
            self.attempt,
            revision,
        )


# Retries of a task whose creator gives no number.
DEFAULT_RETRIES = 3


@dataclass(frozen=True, kw_only=True)
class Task:
    """The record of one piece of work; the fields are those of taskplane.v1.Task. All times are UTC."""

    id: int
    task_name: str
    task_type: str
    status: TaskStatus
    priority: int = 0
    config: Json = field(default_factory=dict)
    execution_unit_id: str | None = None
    execution_unit_type: str | None = None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    error_message: str | None = None
    retry_count: int = 0
    max_retries: int = DEFAULT_RETRIES
    result: Json | None = None
    revision: int = 0
    attempt: int = 0
    # When the unit accepted the current attempt; None while the start or resume is unanswered.
    accepted_at: datetime | None = None
    progress: Progress | None = None
    checkpoint: Checkpoint | None = None
    # The highest checkpoint number ever used; survives a restart, which clears `checkpoint`.
    last_checkpoint_number: int = 0
    queued_at: datetime | None = None
    # The actor and reason of the start or resume; recorded with the dispatch.
    queued_by: str = ""
    queued_reason: str = ""
    # The command id of a queued resume; empty for a start or a retry.
    queued_command_id: str = ""
    # The chosen checkpoint of a queued resume; None for the newest.
    queued_checkpoint_number: int | None = None
    not_before: datetime | None = None
    pending_command: PendingCommand | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    unit_labels: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = NO_LIMITS
    # Closed periods only; `active_seconds_at` adds the current period.
    active_seconds: float = 0.0
    paused_seconds: float = 0.0
    status_changed_at: datetime
    # Not stored: the start of the counted silence, if later than the last sign of work; see core.limits.
    silent_since: datetime | None = None

    @property
    def next_checkpoint_number(self) -> int | None:
        """Return the checkpoint from which the next attempt continues; None if it begins from scratch."""
        return self.queued_checkpoint_number or (self.checkpoint.number if self.checkpoint else None)

    @property
    def is_final(self) -> bool:
        """Return whether the task is finished."""
        return self.status in FINAL

    def but(self, **changes: Any) -> Self:
        """Return a copy with other values of some fields.

        Takes a sixth of the time of `dataclasses.replace`, which examines forty fields. Each change of a task makes one
        or two copies.
        """
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy.__dict__.update(changes)
        if len(copy.__dict__) != len(self.__dict__):
            raise TypeError(f"a task has no {', '.join(changes.keys() - self.__dict__.keys())}")
        return copy

    def moved(self, to: TaskStatus, *, now: datetime, **changes: Any) -> Self:
        """Return the task in status `to`, with its clocks advanced to `now` and `changes` applied.

        A retry delay ends, unless `changes` set one. Raises IllegalTransition if the table forbids the change.
        """
        if to not in TRANSITIONS[self.status]:
            raise illegal(self, to, f"move to {to}")
        changes.setdefault("not_before", None)
        return self.but(
            status=to,
            status_changed_at=now,
            active_seconds=self.active_seconds_at(now),
            paused_seconds=self.paused_seconds_at(now),
            completed_at=now if to in FINAL else None,
            **changes,
        )

    def active_seconds_at(self, now: datetime) -> float:
        """Return the seconds in RUNNING since creation or restart."""
        return self.active_seconds + self._seconds_in(TaskStatus.RUNNING, now)

    def paused_seconds_at(self, now: datetime) -> float:
        """Return the seconds in PAUSED since creation or restart."""
        return self.paused_seconds + self._seconds_in(TaskStatus.PAUSED, now)

    def _seconds_in(self, status: TaskStatus, now: datetime) -> float:
        return max(0.0, (now - self.status_changed_at).total_seconds()) if self.status is status else 0.0


def illegal(task: Task, to: TaskStatus, what: str) -> IllegalTransition:
    """Build the error for a verb that the task's status forbids."""
    allowed = sorted(TRANSITIONS[task.status])
    return IllegalTransition(
        f"cannot {what}: task {task.id} is {task.status}, from which it may become "
        f"{', '.join(allowed) or 'nothing else'}",
        metadata={"task_id": str(task.id), "from": task.status, "to": to, "allowed": ",".join(allowed)},
    )
