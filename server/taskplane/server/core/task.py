"""The task, its six statuses and the one table of allowed changes.

Everything that decides whether a status may change lives in this file: `TRANSITIONS` is the table of the design,
`Task.moved` is the only code that applies it. What each verb and each report does is in `verbs` and `reports`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from taskplane.server.core.errors import IllegalTransition

Json = Mapping[str, Any]

# Patterns without anchors, which Python and the schemas of the REST API understand alike.
TASK_TYPE = r"[A-Za-z0-9._:/-]{1,100}"
TASK_TYPE_MEANING = "must be 1 to 100 characters of A-Z a-z 0-9 . _ : / -"
LABEL_KEY = r"[A-Za-z0-9._/-]{1,63}"
LABEL_KEY_MEANING = "a key is 1 to 63 characters of A-Z a-z 0-9 . _ / -"

_TASK_TYPE = re.compile(TASK_TYPE)


def task_type_problem(name: str) -> str | None:
    """Say what is wrong with the name of a task type, if anything."""
    if not name:
        return "is required"
    return None if _TASK_TYPE.fullmatch(name) else f"is {name[:60]!r}; {TASK_TYPE_MEANING}"


class TaskStatus(StrEnum):
    """Where a task stands; see taskplane/v1/task.proto."""

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

# A task in one of these is finished: it can be deleted, and reports change nothing any more.
FINAL = frozenset({TaskStatus.SUCCESS, TaskStatus.FAILED, TaskStatus.CANCELLED})


class Verb(StrEnum):
    """What is asked of a task or, as a command, of a unit."""

    START = "START"
    PAUSE = "PAUSE"
    RESUME = "RESUME"
    CANCEL = "CANCEL"
    RESTART = "RESTART"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an attempt is: a fraction 0 to 1 and a text for people."""

    fraction: float
    message: str
    reported_at: datetime


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A point from which an attempt can go on. `data` is None where only the number matters.

    The number 0 stands for the task's next one, for units that do not count: it gets one when it is stored.
    """

    number: int
    attempt: int
    created_at: datetime
    data: Json | None = None


@dataclass(frozen=True, slots=True)
class PendingCommand:
    """A pause or cancel that was recorded and has not taken effect.

    At its `deadline` a cancel is forced, and a pause is reported as overdue; None: it was.
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
    """Time limits; None is no limit. Their meaning is in taskplane.v1.TaskLimits, their expiry in `limits`."""

    run_budget: timedelta | None = None
    deadline: datetime | None = None
    queue_timeout: timedelta | None = None
    stall_timeout: timedelta | None = None


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of status. `revision` is 0 until the state manager has given it one."""

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
        # Every change of status comes by here; `dataclasses.replace` would take three times as long.
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
    max_retries: int = 3
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
    # Who wants it to run and why; goes to the history with the dispatch.
    queued_by: str = ""
    queued_reason: str = ""
    # The ledger's id of the resume that waits in the queue; empty for a start or a retry.
    queued_command_id: str = ""
    # The checkpoint that was chosen for the resume that waits; None for what the task would go on from anyway.
    queued_checkpoint_number: int | None = None
    not_before: datetime | None = None
    pending_command: PendingCommand | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    unit_labels: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = NO_LIMITS
    # Closed stretches only; `active_seconds_at` adds the one under way.
    active_seconds: float = 0.0
    paused_seconds: float = 0.0
    status_changed_at: datetime
    # Not stored: from when on its silence counts, if that is later than its last sign of work; see core.limits.
    silent_since: datetime | None = None

    @property
    def next_checkpoint_number(self) -> int | None:
        """The checkpoint from which the next attempt goes on; None if it begins from scratch."""
        return self.queued_checkpoint_number or (self.checkpoint.number if self.checkpoint else None)

    @property
    def is_final(self) -> bool:
        """Whether it is finished."""
        return self.status in FINAL

    def but(self, **changes: Any) -> Self:
        """Return a copy with other values of some fields.

        As `dataclasses.replace`, which looks at each of the forty fields: this is a sixth of its time, and each change
        of a task is a copy or two.
        """
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy.__dict__.update(changes)
        if len(copy.__dict__) != len(self.__dict__):
            raise TypeError(f"a task has no {', '.join(changes.keys() - self.__dict__.keys())}")
        return copy

    def moved(self, to: TaskStatus, *, now: datetime, **changes: Any) -> Self:
        """Return the task in status `to`, its clocks brought up to `now`, with `changes`.

        A wait for a retry is over, unless they begin one. Raises IllegalTransition if the table does not allow it.
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
        """Seconds in RUNNING since creation or restart."""
        return self.active_seconds + self._seconds_in(TaskStatus.RUNNING, now)

    def paused_seconds_at(self, now: datetime) -> float:
        """Seconds in PAUSED since creation or restart."""
        return self.paused_seconds + self._seconds_in(TaskStatus.PAUSED, now)

    def _seconds_in(self, status: TaskStatus, now: datetime) -> float:
        return max(0.0, (now - self.status_changed_at).total_seconds()) if self.status is status else 0.0


def illegal(task: Task, to: TaskStatus, what: str) -> IllegalTransition:
    """Build the error for a verb that the task's status does not allow."""
    allowed = sorted(TRANSITIONS[task.status])
    return IllegalTransition(
        f"cannot {what}: task {task.id} is {task.status}, from which it may become "
        f"{', '.join(allowed) or 'nothing else'}",
        metadata={"task_id": str(task.id), "from": task.status, "to": to, "allowed": ",".join(allowed)},
    )
