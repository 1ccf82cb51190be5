"""One attempt: the state that its executor and the server's commands share."""

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from enum import IntEnum
from typing import Any

from taskplane.unit.errors import Interrupted, TaskCancelled, TaskDropped, TaskReleased
from taskplane.unit.lease import Lease
from taskplane.unit.report_queue import ReportQueue
from taskplane.unit.reports import AttemptKey, LatestReports, json_struct
from taskplane.unit.safe_points import SAFE_POINT_TIMEOUT_SECONDS, SafePoints, SafePointTimeout
from taskplane.v1.execution_unit_control_pb2 import (
    AttemptState,
    AttemptStatusReport,
    CheckpointReport,
    HeldAttempt,
    PausedReport,
    ReleasedReport,
    Report,
    StartOrder,
)

logger = logging.getLogger("taskplane.unit")

# A paused executor waits on its gate. The gate opens (the future is done) when the pause ends, for any reason.
PauseGate = Future[None]
Data = Mapping[str, Any]


class StopSignal(IntEnum):
    """The request to stop that an attempt has received. A greater one replaces a lesser one."""

    NONE = 0
    FENCE = 1
    PAUSE = 2
    RELEASE = 3
    CANCEL = 4
    DROP = 5


_INTERRUPTIONS: dict[StopSignal, type[Interrupted]] = {
    StopSignal.RELEASE: TaskReleased,
    StopSignal.CANCEL: TaskCancelled,
    StopSignal.DROP: TaskDropped,
}
# Another attempt may continue after these, from a checkpoint.
_WITH_CHECKPOINT = (StopSignal.FENCE, StopSignal.PAUSE, StopSignal.RELEASE)
# These wait for a safe point; the others stop the executor at any call.
_NEED_SAFE_POINT = (StopSignal.PAUSE, StopSignal.RELEASE)


class Attempt:
    """The state of one attempt, from its start to its end. Thread-safe.

    A command, on the connection's thread, only sets the stop signal. The executor handles the signal at its next safe
    point, in its own thread or on the event loop: for a pause the executor waits on a `PauseGate`, any stronger signal
    is raised as an interruption.

    A report without a checkpoint (a plain report) is a safe point for the fence, cancel and drop only. Pause and drain
    pass over it, because another attempt could not continue from there; see `safe_points`.
    """

    def __init__(  # noqa: PLR0913 - the collaborators of an attempt
        self,
        key: AttemptKey,
        order: StartOrder,
        report_queue: ReportQueue,
        slots: threading.Semaphore,
        lease: Lease,
        *,
        safe_points: SafePoints,
    ) -> None:
        """Own one slot of `slots`, which the caller has acquired."""
        self.order = order
        # Reentrant and public: callers must read the state and signal a stop in one step.
        self.lock = threading.RLock()
        # The interruption that was raised into the executor; the attempt's outcome follows from it.
        self.interruption: type[Interrupted] | None = None
        # Called after each change of the stop signal, from any thread, under the lock.
        self.on_signal: Callable[[], object] = lambda: None
        # The executor has methods for stop signals; its reports are no safe points.
        self.is_class_based = False
        # The executor has called `report`.
        self.reports_for_itself = False
        # No further report may be sent for this attempt.
        self.is_muted = False
        self._key = key
        self._report_queue = report_queue
        self._slots = slots
        self._lease = lease
        self._has_slot = True
        self._state = AttemptState.ATTEMPT_STATE_RUNNING
        self._latest = LatestReports(order.last_checkpoint_number)
        self._gate: PauseGate | None = None
        # The fence is a separate flag, since a pause may wait for a safe point while the fence holds the attempt.
        self._signal = StopSignal.NONE
        self._is_fenced = False
        self._safe_points = safe_points
        # The executor's last call was a plain report.
        self._is_at_plain_report = False
        self._safe_point_timeout = SafePointTimeout()
        if order.HasField("checkpoint"):
            safe_points.mark_known()

    def __str__(self) -> str:
        return f"task_id={self._key.task_id} attempt={self._key.attempt}"

    @property
    def key(self) -> AttemptKey:
        """Task id and attempt number; a resume changes the number."""
        return self._key

    @property
    def state(self) -> AttemptState.ValueType:
        """RUNNING, PAUSED or ENDED."""
        return self._state

    @property
    def stop_signal(self) -> StopSignal:
        """The strongest signal that is neither handled nor withdrawn."""
        return max(self._signal, StopSignal.FENCE if self._is_fenced else StopSignal.NONE)

    # Called by the executor.

    def report(
        self, progress: float | None, message: str | None, checkpoint: Data | Callable[[], Data] | None
    ) -> PauseGate | None:
        """Send the given values; return the gate to wait on if the attempt pauses here.

        A callable checkpoint is called only for a pause or a release. Raises TypeError or ValueError for values that
        cannot be reported, and the interruption if there is one.
        """
        on_stop = checkpoint if callable(checkpoint) else None
        data = None if checkpoint is None or callable(checkpoint) else json_struct(checkpoint, "checkpoint")
        with self.lock:
            self.raise_interruption()
            self._note_call(is_plain=checkpoint is None)
            if progress is not None or message is not None:
                self._post_unless_stopping(Report(progress=self._latest.note_progress(progress, message)))
            if data is not None:
                self._post_unless_stopping(Report(checkpoint=self._latest.note_checkpoint(data)))
            if on_stop is None:
                return self._check_signal(None)
        return self._check_signal(on_stop)

    def safe_point(self, checkpoint: Data | Callable[[], Data] | None) -> PauseGate | None:
        """Handle a stop signal. The checkpoint is used, or a callable called, only if the attempt stops here."""
        with self.lock:
            self._note_call(is_plain=False)
        return self._check_signal(checkpoint)

    def _note_call(self, *, is_plain: bool) -> None:
        self._is_at_plain_report = is_plain and not self.is_class_based
        if not is_plain and not self.is_class_based:
            self._safe_points.mark_known()

    def _check_signal(self, checkpoint: Data | Callable[[], Data] | None) -> PauseGate | None:
        if self.is_class_based:
            self.raise_interruption()
            return None
        self._fence_if_lease_is_over()
        # Read once: a later signal waits for the next safe point, because it may need a checkpoint.
        signal = self.stop_signal
        if signal == StopSignal.NONE:
            return None
        if callable(checkpoint):  # user code, so it runs outside the lock
            checkpoint = checkpoint() if signal in _WITH_CHECKPOINT else None
        return self.handle_signal(checkpoint)

    def handle_signal(self, checkpoint: Data | None) -> PauseGate | None:
        """Pause (return the gate), raise the interruption, or let the executor continue (return None)."""
        with self.lock:
            self.raise_interruption()
            if checkpoint is not None and self.stop_signal in _WITH_CHECKPOINT:
                self._latest.note_checkpoint(json_struct(checkpoint, "checkpoint"))
            if self._signal != StopSignal.NONE and self._may_stop_here():
                self._warn_of_lost_work()
                if self._signal == StopSignal.PAUSE:
                    return self._pause()
                self.interrupt()
                self.raise_interruption()
            return self._close_gate() if self._is_fenced else None

    def _pause(self) -> PauseGate:
        gate = self._close_gate()
        # From here on only a resume opens the gate, not the end of the fence.
        self._is_fenced = False
        self._release_slot()
        self.post(Report(paused=self.paused_report()))
        return gate

    def _may_stop_here(self) -> bool:
        is_paused = self._state == AttemptState.ATTEMPT_STATE_PAUSED and not self._is_fenced
        if is_paused or not self._would_lose_work():
            return True
        if not self._safe_point_timeout.has_expired:
            return False
        if self._safe_points.are_known and self._safe_point_timeout.is_first_warning():
            logger.warning(
                "%s: %s still waits for a safe point; a report without a checkpoint is none for %s",
                self,
                self._signal.name.lower(),
                self.order.task_type,
            )
        return not self._safe_points.are_known

    def _would_lose_work(self) -> bool:
        return self._is_at_plain_report and self._signal in _NEED_SAFE_POINT and not self._safe_points.are_everywhere

    def _warn_of_lost_work(self) -> None:
        if self._would_lose_work() and self._safe_point_timeout.is_first_warning():
            logger.warning(
                "%s: %s takes hold at a report without a checkpoint, since %s has shown no safe point: on another unit "
                "the task would begin from the start. Give `report` a checkpoint, call `safe_point`, or register the "
                "type with can_checkpoint=False",
                self,
                self._signal.name.lower(),
                self.order.task_type,
            )

    def interrupt(self) -> None:
        """Fix the interruption by the current signal; later signals do not change it."""
        with self.lock:
            self.interruption = self.interruption or _INTERRUPTIONS[self._signal]

    def raise_interruption(self) -> None:
        """Raise the interruption if there is one: the executor cannot work on after it."""
        if self.interruption is not None:
            raise self.interruption

    def number_checkpoint(self, checkpoint: Data) -> CheckpointReport:
        """Return a new checkpoint that becomes part of another report."""
        with self.lock:
            return self._latest.note_checkpoint(json_struct(checkpoint, "checkpoint"))

    def end(self, outcome: Report) -> bool:
        """Record the end of the executor, and return whether the outcome is reported.

        The slot is released before the report is sent, so that the server's next start finds the slot free.
        """
        with self.lock:
            self._state = AttemptState.ATTEMPT_STATE_ENDED
            self._release_slot()
            self.post(outcome)
            return not self.is_muted

    # Called by the connection.

    def signal(self, signal: StopSignal, safe_point_timeout_seconds: float = SAFE_POINT_TIMEOUT_SECONDS) -> None:
        """Set the stop signal for the next safe point; handle it at once if the executor waits at one.

        `safe_point_timeout_seconds` bounds the wait for a safe point of a type that has shown none.
        """
        with self.lock:
            self._signal = max(self._signal, signal)
            if self._signal in _NEED_SAFE_POINT:
                self._safe_point_timeout.start(safe_point_timeout_seconds)
            if self._gate is not None and self._may_stop_here():
                if self._signal == StopSignal.PAUSE:
                    self._pause()
                else:
                    self._open_gate()
            self.on_signal()

    def fence(self) -> None:
        """Hold the attempt at its next call, with its slot and without a report, since the lease is over."""
        with self.lock:
            if self._state == AttemptState.ATTEMPT_STATE_RUNNING:
                self._is_fenced = True
                self.on_signal()

    def _fence_if_lease_is_over(self) -> None:
        """Fence before the self-fence's thread does: after a suspend of the process, that thread may run late."""
        if self._lease.is_over():
            self.fence()
            if not self._lease.is_over():
                self.unfence()  # renewed in between, and no other caller would lift the fence

    @property
    def is_fenced(self) -> bool:
        """Whether the attempt is held, or will be, only because the lease is over. The server has it as RUNNING."""
        return self._is_fenced

    def unfence(self) -> None:
        """Lift the fence. A stronger signal that arrived in between is handled where the executor waits."""
        with self.lock:
            if self._is_fenced:
                self._is_fenced = False
                self._safe_point_timeout.restart()
                if self._gate is not None:
                    self._state = AttemptState.ATTEMPT_STATE_RUNNING
                    self._open_gate()
                self.on_signal()

    def reacquire_slot(self) -> bool:
        """Prepare a resume: take a slot again, or withdraw a pause that is not handled yet. False: no slot is free."""
        with self.lock:
            self._has_slot = self._has_slot or self._slots.acquire(blocking=False)
            if self._has_slot:
                self._signal = StopSignal.NONE
                self._safe_point_timeout.stop()
            return self._has_slot

    def resume(self, attempt: int, last_checkpoint_number: int) -> None:
        """Continue under a new attempt number, in the slot of `reacquire_slot`."""
        with self.lock:
            self._key = self._key._replace(attempt=attempt)
            self._latest.continue_from(last_checkpoint_number)
            self._state = AttemptState.ATTEMPT_STATE_RUNNING
            self._open_gate()
            self.on_signal()

    def mute(self) -> None:
        """Stop all reports of this attempt."""
        with self.lock:
            self.is_muted = True

    # Reports.

    def post(self, report: Report) -> None:
        """Queue a report under the attempt's key, unless the attempt is muted."""
        with self.lock:
            if not self.is_muted:
                report.task_id, report.attempt = self._key
                self._report_queue.put(report)

    def _post_unless_stopping(self, report: Report) -> None:
        # A report just before a pause or a release becomes part of the paused or released report.
        if self.is_class_based or self._signal == StopSignal.NONE or not self._may_stop_here():
            self.post(report)

    def post_status(self, command_id: str) -> None:
        """Answer a get_status command."""
        with self.lock:
            status = AttemptStatusReport(
                state=self._state,
                progress=self._latest.progress,
                checkpoint_number=self._newest_checkpoint_number(),
            )
            self.post(Report(command_id=command_id, attempt_status=status))

    def inventory_entry(self) -> HeldAttempt:
        """Return the attempt's entry in the unit's inventory."""
        with self.lock:
            return HeldAttempt(
                task_id=self._key.task_id,
                attempt=self._key.attempt,
                state=self._state,
                checkpoint_number=self._newest_checkpoint_number(),
            )

    def paused_report(self) -> PausedReport:
        """Return the latest progress and the latest checkpoint of this attempt."""
        with self.lock:
            return PausedReport(checkpoint=self._latest.checkpoint, progress=self._latest.progress)

    def released_report(self, message: str) -> Report:
        """Return the outcome of an attempt that the unit releases."""
        return Report(released=ReleasedReport(checkpoint=self._latest.checkpoint, message=message))

    def _newest_checkpoint_number(self) -> int:
        made = self._latest.checkpoint
        return self.order.checkpoint.number if made is None else made.number

    def _close_gate(self) -> PauseGate:
        if self._gate is None:
            self._gate = PauseGate()
            self._gate.set_running_or_notify_cancel()  # so that no waiter can cancel it
            self._state = AttemptState.ATTEMPT_STATE_PAUSED
        return self._gate

    def _open_gate(self) -> None:
        if self._gate is not None:
            self._gate.set_result(None)
            self._gate = None

    def _release_slot(self) -> None:
        if self._has_slot:
            self._has_slot = False
            self._slots.release()
