"""Tasks, and what belongs to them, as callers get them.

Answers are made without validation: what is stored is told, though a rule for it may be younger than it.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from taskplane.gateway.schema import Moment, Schema
from taskplane.gateway.task_requests import StatusName, TaskLimits
from taskplane.server.core.task import Checkpoint, Limits, PendingCommand, Progress, Task, Transition
from taskplane.server.services.pages import Page, TaskPage
from taskplane.server.services.view import TaskView
from taskplane.server.store.reading import COUNT_CAP


class ProgressAnswer(Schema):
    """How far an attempt is: a fraction from 0 to 1, and a text for people."""

    fraction: float
    message: str
    reported_at: Moment

    @classmethod
    def of(cls, progress: Progress) -> Self:
        """Build it from the core's."""
        return cls.model_construct(
            fraction=progress.fraction, message=progress.message, reported_at=progress.reported_at
        )


class CheckpointAnswer(Schema):
    """A point from which a unit can go on. `data` is null in lists and events."""

    number: int
    attempt: int
    created_at: Moment
    data: dict[str, Any] | None

    @classmethod
    def of(cls, checkpoint: Checkpoint, *, with_data: bool = True) -> Self:
        """Build it from the core's."""
        data = dict(checkpoint.data) if with_data and checkpoint.data is not None else None
        return cls.model_construct(
            number=checkpoint.number, attempt=checkpoint.attempt, created_at=checkpoint.created_at, data=data
        )


class PendingCommandAnswer(Schema):
    """A pause or cancel that was recorded and has not taken effect."""

    verb: Literal["PAUSE", "CANCEL"]
    command_id: str
    since: Moment
    accepted_at: Moment | None
    actor: str
    reason: str

    @classmethod
    def of(cls, pending: PendingCommand) -> Self:
        """Build it from the core's."""
        return cls.model_construct(
            verb="CANCEL" if pending.verb == "CANCEL" else "PAUSE",
            command_id=pending.command_id,
            since=pending.since,
            accepted_at=pending.accepted_at,
            actor=pending.actor,
            reason=pending.reason,
        )


class TaskAnswer(Schema):
    """The record of one piece of work."""

    id: int
    task_name: str
    task_type: str
    status: StatusName
    priority: int
    config: dict[str, Any]
    execution_unit_id: Annotated[str | None, Field(description="The unit that runs it, or ran it last.")]
    execution_unit_type: str | None
    created_at: Moment
    updated_at: Moment
    started_at: Moment | None
    completed_at: Moment | None
    error_message: Annotated[str | None, Field(description="Why the last attempt failed.")]
    retry_count: int
    max_retries: int
    result: Annotated[dict[str, Any] | None, Field(description="What the unit returned; with SUCCESS.")]
    revision: Annotated[int, Field(description="Grows with each stored change; a precondition of verbs.")]
    attempt: Annotated[int, Field(description="Number of the current or last dispatch; 0 before the first.")]
    progress: ProgressAnswer | None
    checkpoint: CheckpointAnswer | None
    queued_at: Annotated[Moment | None, Field(description="Since when it has wanted to run.")]
    not_before: Moment | None
    waiting_reason: Annotated[str | None, Field(description="Why it does not run although it wants to.")]
    waiting_message: str | None
    pending_command: PendingCommandAnswer | None
    labels: dict[str, str]
    unit_labels: dict[str, str]
    limits: TaskLimits
    active_seconds: Annotated[float, Field(description="Time in RUNNING since creation or restart.")]
    paused_seconds: float

    @classmethod
    def of(cls, view: TaskView, *, with_checkpoint_data: bool = False) -> Self:
        """Build it from the services' view."""
        task, waiting = view.task, view.waiting
        return cls.model_construct(
            **_plain_fields(task),
            config=dict(task.config),
            result=None if task.result is None else dict(task.result),
            progress=ProgressAnswer.of(task.progress) if task.progress else None,
            checkpoint=CheckpointAnswer.of(task.checkpoint, with_data=with_checkpoint_data)
            if task.checkpoint
            else None,
            waiting_reason=waiting.reason.value if waiting else None,
            waiting_message=waiting.message if waiting else None,
            pending_command=PendingCommandAnswer.of(task.pending_command) if task.pending_command else None,
            labels=dict(task.labels),
            unit_labels=dict(task.unit_labels),
            limits=_limits(task.limits),
            active_seconds=task.active_seconds_at(view.seen_at),
            paused_seconds=task.paused_seconds_at(view.seen_at),
        )


class TaskPageAnswer(Schema):
    """A page of tasks. `page` is null if it was had by token, `nextPageToken` on the last page."""

    items: list[TaskAnswer]
    total: Annotated[int, Field(description=f"How many there are in all; counted up to {COUNT_CAP}.")]
    total_is_capped: Annotated[bool, Field(description="Whether there are more than `total` says.")]
    page: int | None
    limit: int
    next_page_token: str | None

    @classmethod
    def of(cls, page: TaskPage, *, number: int | None, limit: int) -> Self:
        """Build it from the services' page."""
        total = page.total or 0
        return cls.model_construct(
            items=[TaskAnswer.of(view) for view in page.tasks],
            total=min(total, COUNT_CAP),
            total_is_capped=total > COUNT_CAP,
            page=number,
            limit=limit,
            next_page_token=page.next_token or None,
        )


class TransitionAnswer(Schema):
    """One change of status. `fromStatus` is null for the creation."""

    revision: int
    task_id: int
    from_status: StatusName | None
    to_status: StatusName
    changed_at: Moment
    changed_by: str
    reason: str
    attempt: int

    @classmethod
    def of(cls, transition: Transition) -> Self:
        """Build it from the core's."""
        return cls.model_construct(
            revision=transition.revision,
            task_id=transition.task_id,
            from_status=transition.from_status.value if transition.from_status else None,
            to_status=transition.to_status.value,
            changed_at=transition.changed_at,
            changed_by=transition.changed_by,
            reason=transition.reason,
            attempt=transition.attempt,
        )


class TransitionPageAnswer(Schema):
    """A page of a task's history, oldest first."""

    items: list[TransitionAnswer]
    next_page_token: str | None

    @classmethod
    def of(cls, page: Page[Transition]) -> Self:
        """Build it from the services' page."""
        return cls.model_construct(
            items=[TransitionAnswer.of(each) for each in page.items], next_page_token=page.next_token or None
        )


class CheckpointListAnswer(Schema):
    """The checkpoints that are kept of a task, newest first, with their data."""

    items: list[CheckpointAnswer]

    @classmethod
    def of(cls, found: Sequence[Checkpoint]) -> Self:
        """Build it from the core's."""
        return cls.model_construct(items=[CheckpointAnswer.of(each) for each in found])


def _plain_fields(task: Task) -> dict[str, Any]:
    """Return what has the same name and form in the core."""
    names = (
        *("id", "task_name", "task_type", "priority", "execution_unit_id", "execution_unit_type"),
        *("created_at", "updated_at", "started_at", "completed_at", "error_message", "retry_count", "max_retries"),
        *("revision", "attempt", "queued_at", "not_before"),
    )
    return {name: getattr(task, name) for name in names} | {"status": task.status.value}


def _limits(limits: Limits) -> TaskLimits:
    return TaskLimits.model_construct(
        run_budget_seconds=limits.run_budget.total_seconds() if limits.run_budget else None,
        deadline=limits.deadline,
        queue_timeout_seconds=limits.queue_timeout.total_seconds() if limits.queue_timeout else None,
        stall_timeout_seconds=limits.stall_timeout.total_seconds() if limits.stall_timeout else None,
    )
