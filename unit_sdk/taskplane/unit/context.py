"""What an executor is handed: the two faces of an attempt."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from taskplane.unit.attempt import Attempt, Hold
from taskplane.unit.structs import from_struct

Checkpoint = Mapping[str, Any] | Callable[[], Mapping[str, Any]]


class _Facts:
    """What both faces know of the task."""

    def __init__(self, attempt: Attempt) -> None:
        order = attempt.order
        self._attempt = attempt
        self.task_type = order.task_type
        self.task_name = order.task_name
        # From which to go on. None: from scratch, after clearing away what an earlier attempt may have left.
        self.checkpoint = from_struct(order.checkpoint.data) if order.HasField("checkpoint") else None
        # Automatic retries made so far, and allowed.
        self.retry_count = order.retry_count
        self.max_retries = order.max_retries

    @property
    def task_id(self) -> int:
        """The task's id."""
        return self._attempt.key.task_id

    @property
    def attempt(self) -> int:
        """Which dispatch of the task this is. Changes when a paused task is resumed in memory."""
        return self._attempt.key.attempt


class TaskContext(_Facts):
    """What a coroutine is handed. Its calls are made one at a time, from the coroutine that runs the task."""

    async def report(
        self, progress: float | None = None, message: str | None = None, checkpoint: Checkpoint | None = None
    ) -> None:
        """Tells how far the work is; a checkpoint given here is stored, and makes the call a safe point.

        A callable checkpoint is called only if the work is stopped here, as in `safe_point`. Without a checkpoint only
        cancel and the loss of the attempt or of the lease take hold here; pause and drain wait for the next safe point,
        so that no work is lost. See `can_checkpoint` of `Unit.task` for executors that make no checkpoints.

        `progress` is a fraction from 0 to 1. Of values that come faster than they can be sent, only the last is; no
        checkpoint is left out. Raises ValueError or TypeError for a bad fraction, and for a checkpoint that is not
        JSON or above 768 KiB on the wire.
        """
        self._attempt.reports_for_itself = True
        await self._rest(self._attempt.report(progress, message, checkpoint))

    async def safe_point(self, checkpoint: Checkpoint | None = None) -> None:
        """Says that the work may be stopped here: where pause, cancel, drain and the loss of the attempt take hold.

        The checkpoint is used only if the work is stopped here; a callable is called only then, so it may flush files
        first. Without one the last reported checkpoint counts. A paused task waits in this call until it is resumed;
        TaskCancelled, TaskReleased or TaskDropped is raised to end it. Also gives other coroutines a turn.
        """
        await self._rest(self._attempt.safe_point(checkpoint))

    async def _rest(self, hold: Hold | None) -> None:
        while hold is not None:
            await asyncio.wrap_future(hold)
            hold = self._attempt.meet_demand(None)
        await asyncio.sleep(0)


class SyncTaskContext(_Facts):
    """What a plain function is handed: as TaskContext, without await."""

    def report(
        self, progress: float | None = None, message: str | None = None, checkpoint: Checkpoint | None = None
    ) -> None:
        """As `TaskContext.report`."""
        self._attempt.reports_for_itself = True
        self._rest(self._attempt.report(progress, message, checkpoint))

    def safe_point(self, checkpoint: Checkpoint | None = None) -> None:
        """As `TaskContext.safe_point`; blocks the thread while the task is paused."""
        self._rest(self._attempt.safe_point(checkpoint))

    def _rest(self, hold: Hold | None) -> None:
        while hold is not None:
            hold.result()
            hold = self._attempt.meet_demand(None)
