"""Task contexts: the API of an attempt that executors use."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from taskplane.protocol.structs import to_dict
from taskplane.unit.attempt import Attempt, PauseGate

CheckpointSource = Mapping[str, Any] | Callable[[], Mapping[str, Any]]


class _TaskInfo:
    """The facts about the task that both contexts have."""

    def __init__(self, attempt: Attempt) -> None:
        order = attempt.order
        self._attempt = attempt
        self.task_type = order.task_type
        self.task_name = order.task_name
        # The checkpoint to continue from. None: begin from the start, after removing leftovers of earlier attempts.
        self.checkpoint = to_dict(order.checkpoint.data) if order.HasField("checkpoint") else None
        # Automatic retries: made so far, and allowed.
        self.retry_count = order.retry_count
        self.max_retries = order.max_retries

    @property
    def task_id(self) -> int:
        """The id of the task."""
        return self._attempt.key.task_id

    @property
    def attempt(self) -> int:
        """The number of the attempt; it grows when a paused task is resumed in memory."""
        return self._attempt.key.attempt


class TaskContext(_TaskInfo):
    """The API for coroutines. Calls must come one at a time, from the coroutine that runs the task.

    Attributes: `task_id` and `attempt` (int), `task_type` and `task_name` (str), `checkpoint` (the JSON object to
    continue from, or None to begin from the start), `retry_count` and `max_retries` (automatic retries made so far, and
    allowed).
    """

    async def report(
        self, progress: float | None = None, message: str | None = None, checkpoint: CheckpointSource | None = None
    ) -> None:
        """Report progress and a message; a checkpoint is stored durably, and makes the call a safe point.

        `progress` is a fraction from 0 to 1, a deviation of up to 0.001 is clamped. Progress may be thinned out: only
        the newest value is sent. Checkpoints are never left out. A callable checkpoint is called only if the work
        stops here, as in `safe_point`.

        Without a checkpoint, the call stops the work only for cancel and for the loss of the attempt or the lease.
        Pause and drain wait for the next safe point, so that no work is lost; see `can_checkpoint` of `Unit.task` for
        executors without checkpoints.

        Raises ValueError or TypeError for a bad fraction, and for a checkpoint that is not JSON or above 768 KiB on the
        wire; TaskCancelled, TaskReleased or TaskDropped to end the attempt.
        """
        self._attempt.reports_for_itself = True
        await self._wait(self._attempt.report(progress, message, checkpoint))

    async def safe_point(self, checkpoint: CheckpointSource | None = None) -> None:
        """Mark a place where pause, cancel, drain or the loss of the attempt may stop the work.

        The checkpoint (a JSON object) is used only if the work stops here, and a callable is called only then, so that
        it may flush files first. Without one, the last reported checkpoint counts. A paused task waits in this call
        until it is resumed. Also lets other coroutines run.

        Raises TaskCancelled, TaskReleased or TaskDropped to end the attempt, and ValueError or TypeError for a bad
        checkpoint.
        """
        await self._wait(self._attempt.safe_point(checkpoint))

    async def _wait(self, gate: PauseGate | None) -> None:
        while gate is not None:
            await asyncio.wrap_future(gate)
            gate = self._attempt.handle_signal(None)
        await asyncio.sleep(0)


class SyncTaskContext(_TaskInfo):
    """The API for plain functions: `TaskContext` without await."""

    def report(
        self, progress: float | None = None, message: str | None = None, checkpoint: CheckpointSource | None = None
    ) -> None:
        """Report like `TaskContext.report`."""
        self._attempt.reports_for_itself = True
        self._wait(self._attempt.report(progress, message, checkpoint))

    def safe_point(self, checkpoint: CheckpointSource | None = None) -> None:
        """Mark a safe point like `TaskContext.safe_point`; block the thread while the task is paused."""
        self._wait(self._attempt.safe_point(checkpoint))

    def _wait(self, gate: PauseGate | None) -> None:
        while gate is not None:
            gate.result()
            gate = self._attempt.handle_signal(None)
