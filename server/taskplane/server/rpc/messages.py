"""Core objects as messages of taskplane.v1."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2

from taskplane.protocol.structs import fill_struct
from taskplane.server.core.command_log import CommandLogEntry, CommandState
from taskplane.server.core.documents import MAX_UNIT_CONFIG_BYTES, is_large, wire_bytes
from taskplane.server.core.errors import TaskplaneError
from taskplane.server.core.task import (
    NO_LIMITS,
    Checkpoint,
    Json,
    Limits,
    PendingCommand,
    Progress,
    Task,
    TaskStatus,
    Transition,
    Verb,
)
from taskplane.server.core.unit import Unit, UnitStatus
from taskplane.server.execution_units.waiting import WaitingReason
from taskplane.server.rpc.structs import struct_of
from taskplane.server.services.view import TaskView
from taskplane.server.services.watch_events import (
    Changed,
    Deleted,
    KeepAlive,
    Snapshot,
    SnapshotComplete,
    WatchEvent,
)
from taskplane.server.tasks.unit_of_work import CommittedEvent
from taskplane.server.tasks.watch import Progressed
from taskplane.v1 import execution_unit_pb2, task_pb2, task_service_pb2

# Bytes of a task's message; the rest of 4 MiB is for the message around it. Documents within the bounds always fit.
MAX_TASK_BYTES = 3840 * 1024
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_SECONDS = 24 * 3600

_STATUS = {status: task_pb2.TaskStatus.Value(f"TASK_STATUS_{status}") for status in TaskStatus}
_WAITING = {reason: task_pb2.WaitingReason.Value(f"WAITING_REASON_{reason}") for reason in WaitingReason}
_UNIT_STATUS = {
    status: execution_unit_pb2.ExecutionUnitStatus.Value(f"EXECUTION_UNIT_STATUS_{status}") for status in UnitStatus
}
_VERB = {
    verb: task_pb2.CommandVerb.Value(f"COMMAND_VERB_{verb}")
    for verb in (Verb.START, Verb.PAUSE, Verb.RESUME, Verb.CANCEL)
}

_COMMAND_STATE = {state: task_service_pb2.CommandState.Value(f"COMMAND_STATE_{state}") for state in CommandState}


def task_message(view: TaskView, *, with_checkpoint_data: bool = False) -> task_pb2.Task:
    """Return a task as callers see it.

    This is the response to most calls: unset fields cost nothing, and set ones are filled in place, not copied.
    """
    task = view.task
    message = record_message(view)
    fill_struct(message.config, task.config)
    if task.result is not None:
        fill_struct(message.result, task.result)
    if with_checkpoint_data and task.checkpoint and task.checkpoint.data is not None:
        fill_struct(message.checkpoint.data, task.checkpoint.data)
    if is_heavy(task):
        _clear_documents_that_do_not_fit(message)
    return message


def record_message(view: TaskView) -> task_pb2.Task:
    """Return a task without its documents."""
    task = view.task
    message = task_pb2.Task(
        id=task.id,
        task_name=task.task_name,
        task_type=task.task_type,
        status=_STATUS[task.status],
        priority=task.priority,
        retry_count=task.retry_count,
        max_retries=task.max_retries,
        revision=task.revision,
        attempt=task.attempt,
    )
    _add_labels_and_limits(message, task)
    _add_run(message, task)
    _add_times(message, task)
    _add_moment(message, task, view)
    return message


def is_heavy(task: Task) -> bool:
    """Return whether a task has a large document."""
    data = task.checkpoint.data if task.checkpoint else None
    return is_large(task.config) or is_large(task.result) or is_large(data)


def _clear_documents_that_do_not_fit(message: task_pb2.Task) -> None:
    """Clear the documents that do not fit: earlier versions accepted larger ones."""
    if message.ByteSize() > MAX_TASK_BYTES:
        message.checkpoint.ClearField("data")
    if message.ByteSize() > MAX_TASK_BYTES:
        message.ClearField("result")
    if message.ByteSize() > MAX_TASK_BYTES:
        message.ClearField("config")


def _add_labels_and_limits(message: task_pb2.Task, task: Task) -> None:
    """Add labels, limits and the pending command."""
    if task.labels:
        message.labels.update(task.labels)
    if task.unit_labels:
        message.unit_labels.update(task.unit_labels)
    if task.limits != NO_LIMITS:
        message.limits.CopyFrom(_limits_message(task.limits))
    if task.pending_command:
        message.pending_command.CopyFrom(_pending_message(task.pending_command))


def _add_run(message: task_pb2.Task, task: Task) -> None:
    """Add the unit, the progress, the checkpoint and the error."""
    if task.execution_unit_id:
        message.execution_unit_id = task.execution_unit_id
    if task.execution_unit_type:
        message.execution_unit_type = task.execution_unit_type
    if task.error_message:
        message.error_message = task.error_message
    if task.progress:
        message.progress.CopyFrom(progress_message(task.progress))
    if task.checkpoint:
        message.checkpoint.CopyFrom(checkpoint_message(task.checkpoint, with_data=False))


def _add_times(message: task_pb2.Task, task: Task) -> None:
    _set_time(message.created_at, task.created_at)
    _set_time(message.updated_at, task.updated_at)
    if task.started_at:
        _set_time(message.started_at, task.started_at)
    if task.completed_at:
        _set_time(message.completed_at, task.completed_at)
    if task.queued_at:
        _set_time(message.queued_at, task.queued_at)
    if task.not_before:
        _set_time(message.not_before, task.not_before)


def _add_moment(message: task_pb2.Task, task: Task, view: TaskView) -> None:
    """Add the values that depend on the time of the view."""
    _set_seconds(message.active_time, task.active_seconds_at(view.seen_at))
    _set_seconds(message.paused_time, task.paused_seconds_at(view.seen_at))
    if view.waiting:
        message.waiting_reason = _WAITING[view.waiting.reason]
        message.waiting_message = view.waiting.message


def status_of(task: Task) -> "task_pb2.TaskStatus.ValueType":
    """Return a task's status."""
    return _STATUS[task.status]


def progress_message(progress: Progress) -> task_pb2.Progress:
    """Return progress."""
    return task_pb2.Progress(
        fraction=progress.fraction, message=progress.message, reported_at=_time(progress.reported_at)
    )


def checkpoint_message(checkpoint: Checkpoint, *, with_data: bool) -> task_pb2.TaskCheckpoint:
    """Return a checkpoint."""
    has_data = with_data and checkpoint.data is not None
    return task_pb2.TaskCheckpoint(
        number=checkpoint.number,
        attempt=checkpoint.attempt,
        created_at=_time(checkpoint.created_at),
        data=struct_of(checkpoint.data or {}) if has_data else None,
    )


def transition_message(transition: Transition) -> task_pb2.TaskTransition:
    """Return a row of the history."""
    return task_pb2.TaskTransition(
        revision=transition.revision,
        task_id=transition.task_id,
        from_status=_STATUS[transition.from_status] if transition.from_status else task_pb2.TASK_STATUS_UNSPECIFIED,
        to_status=_STATUS[transition.to_status],
        changed_at=_time(transition.changed_at),
        changed_by=transition.changed_by,
        reason=transition.reason,
        attempt=transition.attempt,
    )


def command_message(entry: CommandLogEntry) -> task_service_pb2.TaskCommand:
    """Return an entry of the command log."""
    return task_service_pb2.TaskCommand(
        command_id=entry.command_id,
        task_id=entry.task_id,
        attempt=entry.attempt,
        verb=_VERB[entry.verb],
        state=_COMMAND_STATE[entry.state],
        actor=entry.actor,
        reason=entry.reason,
        issued_at=_time(entry.issued_at),
        accepted_at=_time(entry.accepted_at),
        settled_at=_time(entry.settled_at),
        message=entry.message,
    )


def batch_result_message(task_id: int, error: TaskplaneError | None) -> task_service_pb2.BatchControlResult:
    """Return the result for a task of a batch."""
    if error is None:
        return task_service_pb2.BatchControlResult(task_id=task_id)
    code = code_pb2.Code.Value(error.code)
    return task_service_pb2.BatchControlResult(task_id=task_id, code=code, reason=error.reason, message=error.message)


def _unit_config(unit: Unit) -> Json:
    """Return a unit's config, or {} above the limit: earlier versions accepted larger ones."""
    return {} if is_large(unit.config) and wire_bytes(unit.config) > MAX_UNIT_CONFIG_BYTES else unit.config


def unit_message(unit: Unit) -> execution_unit_pb2.ExecutionUnit:
    """Return a unit."""
    return execution_unit_pb2.ExecutionUnit(
        id=unit.id,
        unit_type=unit.unit_type,
        unit_name=unit.unit_name,
        status=_UNIT_STATUS[unit.status],
        capacity=unit.capacity,
        current_load=unit.current_load,
        endpoint=unit.endpoint or "",
        config=struct_of(_unit_config(unit)),
        last_heartbeat=_time(unit.last_heartbeat),
        created_at=_time(unit.created_at),
        updated_at=_time(unit.updated_at),
        task_types=[
            execution_unit_pb2.TaskTypeSupport(
                task_type=each.task_type, can_pause=each.can_pause, can_checkpoint=each.can_checkpoint
            )
            for each in unit.task_types.values()
        ],
        labels=unit.labels,
        draining=unit.draining,
        session_id=unit.session_id,
        sdk=unit.sdk,
    )


def watch_messages(event: WatchEvent) -> Sequence[bytes]:
    """Return an event of a watch as serialised WatchTasksResponses, made once for all watchers."""
    match event.event:
        case Snapshot(views, rendered):
            return rendered.once(_snapshot_messages, views)
        case Changed(rendered=rendered):
            return rendered.once(_serialised, event)
        case _:
            return _serialised(event)


def _snapshot_messages(views: Sequence[TaskView]) -> list[bytes]:
    return [task_service_pb2.WatchTasksResponse(snapshot=task_message(view)).SerializeToString() for view in views]


def _serialised(event: WatchEvent) -> list[bytes]:
    return [_watch_message(event).SerializeToString()]


def _watch_message(event: WatchEvent) -> task_service_pb2.WatchTasksResponse:
    message = task_service_pb2.WatchTasksResponse(revision=event.revision)
    match event.event:
        case Snapshot():
            raise ValueError("a snapshot is a message for each of its tasks")
        case SnapshotComplete():
            message.snapshot_complete.SetInParent()
        case Changed(change, view):
            _add_change(message, change, view)
        case Deleted(task_id):
            message.deleted.task_id = task_id
        case Progressed(task_id=task_id, attempt=attempt, progress=progress):
            message.progress.task_id = task_id
            message.progress.attempt = attempt
            message.progress.progress.CopyFrom(progress_message(progress))
        case KeepAlive():
            message.keep_alive.SetInParent()
    return message


def _add_change(message: task_service_pb2.WatchTasksResponse, change: CommittedEvent, view: TaskView) -> None:
    if change.transition:
        message.transition.transition.CopyFrom(transition_message(change.transition))
        message.transition.task.CopyFrom(task_message(view))
    else:
        message.changed.CopyFrom(task_message(view))


def _limits_message(limits: Limits) -> task_pb2.TaskLimits:
    return task_pb2.TaskLimits(
        run_budget=_duration(limits.run_budget),
        deadline=_time(limits.deadline),
        queue_timeout=_duration(limits.queue_timeout),
        stall_timeout=_duration(limits.stall_timeout),
    )


def _duration(duration: timedelta | None) -> Duration | None:
    return None if duration is None else seconds_message(duration.total_seconds())


def _pending_message(pending: PendingCommand) -> task_pb2.PendingCommand:
    return task_pb2.PendingCommand(
        verb=_VERB[pending.verb],
        command_id=pending.command_id,
        since=_time(pending.since),
        accepted_at=_time(pending.accepted_at),
        actor=pending.actor,
        reason=pending.reason,
    )


def _time(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    timestamp = Timestamp()
    _set_time(timestamp, moment)
    return timestamp


def _set_time(timestamp: Timestamp, moment: datetime) -> None:
    """Set a Timestamp, as Timestamp.FromDatetime does, in a fraction of its time."""
    since = moment - _EPOCH
    timestamp.seconds = since.days * _DAY_SECONDS + since.seconds
    timestamp.nanos = since.microseconds * 1000


def seconds_message(seconds: float) -> Duration:
    """Return a duration."""
    duration = Duration()
    _set_seconds(duration, seconds)
    return duration


def _set_seconds(duration: Duration, seconds: float) -> None:
    """Set a Duration that is not negative, as Duration.FromTimedelta does, in a fraction of its time."""
    length = timedelta(seconds=seconds)
    duration.seconds = length.days * _DAY_SECONDS + length.seconds
    duration.nanos = length.microseconds * 1000
