"""Time limits, and the effects of their expiry on a task.

The store keeps `next_expiry` with each task, so one query finds due tasks, also after a restart. The value may be
early, never late: `expired` examines the current task, and changes nothing if time is left.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from taskplane.server.core.effect import SERVER, Effect
from taskplane.server.core.reports import retried, settled_by_pending_command
from taskplane.server.core.retry import RetryPolicy
from taskplane.server.core.task import NO_LIMITS, PendingCommand, Task, TaskStatus, Verb


class Expiry(StrEnum):
    """The expired limit, as named in the history."""

    DEADLINE = "deadline exceeded"
    RUN_BUDGET = "run budget exceeded"
    STALL = "stalled: no progress"
    QUEUE_TIMEOUT = "queue timeout"
    CANCEL_DEADLINE = "forced: the unit did not finish the cancel in time"
    PAUSE_DEADLINE = "the unit has not applied the pause in time"


class Listening(Protocol):
    """The periods in which the server could hear units; see execution_units.listening_clock."""

    def silent_since(self, task: Task) -> datetime:
        """Return the time from which the silence of a RUNNING task counts."""

    def listening_from(self, when: datetime) -> datetime:
        """Return the first time at or after `when` at which the server could hear."""


def next_expiry(task: Task) -> datetime | None:
    """Return the time at which the first limit of the task expires; None without limits."""
    # Compared by identity first, as every change of a task calls this function.
    if task.pending_command is None and (task.limits is NO_LIMITS or task.limits == NO_LIMITS):
        return None
    return min((when for _, when in _expiries(task)), default=None)


def expired(
    task: Task,
    now: datetime,
    policy: RetryPolicy,
    *,
    wall_now: datetime | None = None,
    listening: "Listening | None" = None,
) -> Effect:
    """Apply the first expired limit; without one, change nothing.

    A deadline is named by a user, so it counts on the wall clock; all other limits count on the server's clock.
    """
    if listening and task.limits.stall_timeout and task.status is TaskStatus.RUNNING:
        task = task.but(silent_since=listening.silent_since(task))
    if listening and (postponed := _postponed(task, listening)):
        return Effect(task).edit(now=now, pending_command=postponed)
    clocks = {Expiry.DEADLINE: wall_now or now}
    due = [(when, expiry) for expiry, when in _expiries(task) if when <= clocks.get(expiry, now)]
    if not due:
        return Effect(task)
    return _applied(task, min(due)[1], now, policy)


def _postponed(task: Task, listening: Listening) -> PendingCommand | None:
    """Return the pending command with a later deadline, if the server could not hear at the old one."""
    pending = task.pending_command
    if pending is None or pending.deadline is None:
        return None
    heard_again = listening.listening_from(pending.deadline)
    if heard_again == pending.deadline:
        return None
    return replace(pending, deadline=heard_again + (pending.deadline - pending.since))


def _applied(task: Task, expiry: Expiry, now: datetime, policy: RetryPolicy) -> Effect:
    match expiry:
        case Expiry.PAUSE_DEADLINE:
            return _overdue(task, now)
        case Expiry.CANCEL_DEADLINE:
            return _forced_cancel(task, now)
        case Expiry.STALL:
            return _stalled(task, now, policy)
        case Expiry.RUN_BUDGET:
            return _failed(task, now, f"{Expiry.RUN_BUDGET}: {_seconds(task.limits.run_budget)} s")
        case _ if task.status is TaskStatus.RUNNING:
            return _failed(task, now, expiry)
        case _:
            # The table has no transition from PENDING or PAUSED to FAILED, so a task that never ran is cancelled.
            return Effect(task).cancel(now=now, by=SERVER, reason=expiry, taken_from_unit=True)


def _expiries(task: Task) -> Iterator[tuple[Expiry, datetime]]:
    if task.is_final:
        return
    limits, pending = task.limits, task.pending_command
    if limits.deadline:
        yield Expiry.DEADLINE, limits.deadline
    if limits.queue_timeout and task.queued_at:
        yield Expiry.QUEUE_TIMEOUT, task.queued_at + limits.queue_timeout
    if pending and pending.deadline:
        yield _PENDING[pending.verb], pending.deadline
    if task.status is TaskStatus.RUNNING:
        if limits.run_budget:
            left = limits.run_budget - timedelta(seconds=task.active_seconds)
            yield Expiry.RUN_BUDGET, task.status_changed_at + left
        if limits.stall_timeout:
            silent_since = max(last_sign_of_work(task), task.silent_since or task.status_changed_at)
            yield Expiry.STALL, silent_since + limits.stall_timeout


_PENDING = {Verb.PAUSE: Expiry.PAUSE_DEADLINE, Verb.CANCEL: Expiry.CANCEL_DEADLINE}


def last_sign_of_work(task: Task) -> datetime:
    """Return the time of the last sign of work of a RUNNING task."""
    signs = [task.status_changed_at]
    if task.progress:
        signs.append(task.progress.reported_at)
    if task.checkpoint:
        signs.append(task.checkpoint.created_at)
    return max(signs)


def _overdue(task: Task, now: datetime) -> Effect:
    """Report the overdue pause once, and leave it pending."""
    if task.pending_command is None:
        return Effect(task)
    pending = replace(task.pending_command, deadline=None)
    return Effect(task).edit(now=now, pending_command=pending, note=Expiry.PAUSE_DEADLINE)


def _forced_cancel(task: Task, now: datetime) -> Effect:
    by = task.pending_command.actor if task.pending_command else SERVER
    asked = task.pending_command.reason if task.pending_command else ""
    reason = "; ".join(part for part in (asked, Expiry.CANCEL_DEADLINE) if part)
    return Effect(task).cancel(now=now, by=by, reason=reason, taken_from_unit=True)


def _stalled(task: Task, now: datetime, policy: RetryPolicy) -> Effect:
    """Treat the task as lost: a pending pause or cancel takes effect, else another attempt follows."""
    why = f"{Expiry.STALL} for {_seconds(task.limits.stall_timeout)} s"
    return settled_by_pending_command(task, now, why) or retried(_failed(task, now, why), now, policy, None)


def _failed(task: Task, now: datetime, why: str) -> Effect:
    return Effect(task).move(
        TaskStatus.FAILED,
        now=now,
        by=SERVER,
        reason=why,
        error_message=why,
        pending_command=None,
        taken_from_unit=True,
    )


def _seconds(limit: timedelta | None) -> str:
    return f"{limit.total_seconds():g}" if limit else "0"
