"""The attempts and the slots of a unit."""

import threading
from collections.abc import Iterable

from taskplane.unit.attempt import Attempt, StopSignal
from taskplane.unit.executors import RegisteredTaskType
from taskplane.unit.lease import Lease
from taskplane.unit.report_queue import ReportQueue
from taskplane.unit.reports import FINAL_KINDS, AttemptKey, key_of
from taskplane.unit.runner import Runner
from taskplane.unit.safe_points import SAFE_POINT_TIMEOUT_SECONDS
from taskplane.v1.execution_unit_control_pb2 import (
    AttemptState,
    Command,
    DropReason,
    HeldAttempt,
    Report,
    Verdict,
    VerdictAction,
)

# No other attempt follows after these, so the executor cleans up as for a cancel.
_CLEANED_UP = (DropReason.DROP_REASON_CANCELLED, DropReason.DROP_REASON_DELETED)


class AttemptRegistry:
    """The attempts that the unit holds, at most one for each task. Thread-safe.

    An attempt is held from its start until the server acknowledges its outcome, or until it is dropped. Lock order:
    the registry's, an attempt's, the report queue's.
    """

    def __init__(self, capacity: int, report_queue: ReportQueue, runner: Runner, lease: Lease) -> None:
        # Reentrant and public: deciding on a command and executing it must be one step for a drain.
        self.lock = threading.RLock()
        self.is_draining = False
        self._slots = threading.BoundedSemaphore(capacity)
        self._attempts: dict[int, Attempt] = {}  # by task id
        self._report_queue = report_queue
        self._runner = runner
        self._lease = lease

    def find(self, key: AttemptKey) -> Attempt | None:
        """Return the attempt, or None if it is not held."""
        with self.lock:
            attempt = self._attempts.get(key.task_id)
            return attempt if attempt is not None and attempt.key == key else None

    def acquire_slot(self) -> bool:
        """Take a slot for an attempt that starts; False if all are in use."""
        return self._slots.acquire(blocking=False)

    def start(self, command: Command, task_type: RegisteredTaskType) -> None:
        """Start an attempt in a slot that was acquired. An older attempt of the same task is dropped."""
        with self.lock:
            older = self._attempts.get(command.task_id)
            if older is not None and older.state != AttemptState.ATTEMPT_STATE_ENDED:
                self.drop(older.key, DropReason.DROP_REASON_SUPERSEDED)
            attempt = Attempt(
                key_of(command),
                command.start,
                self._report_queue,
                self._slots,
                self._lease,
                safe_points=task_type.safe_points,
            )
            self._attempts[command.task_id] = attempt
            self._runner.launch(attempt, task_type)

    def drop(self, key: AttemptKey, reason: DropReason.ValueType) -> None:
        """Stop an attempt without any further report. Harmless if the attempt is not held."""
        with self.lock:
            if (attempt := self.find(key)) is not None:
                del self._attempts[key.task_id]
                attempt.mute()
                attempt.signal(StopSignal.CANCEL if reason in _CLEANED_UP else StopSignal.DROP)
            self._report_queue.discard(key)

    def inventory(self) -> list[HeldAttempt]:
        """Return an entry for every held attempt, as Hello needs it."""
        with self.lock:
            return [attempt.inventory_entry() for attempt in self._attempts.values()]

    def apply_verdicts(self, verdicts: Iterable[Verdict]) -> None:
        """Drop or pause attempts as Welcome says. KEEP changes nothing."""
        for verdict in verdicts:
            key = AttemptKey(verdict.task_id, verdict.attempt)
            if verdict.action == VerdictAction.VERDICT_ACTION_DROP:
                self.drop(key, verdict.drop_reason)
            elif verdict.action == VerdictAction.VERDICT_ACTION_PAUSE:
                self._pause(key)

    def _pause(self, key: AttemptKey) -> None:
        attempt = self.find(key)
        if attempt is not None and (attempt.state == AttemptState.ATTEMPT_STATE_RUNNING or attempt.is_fenced):
            attempt.signal(StopSignal.PAUSE)

    def remove_ended(self, acknowledged: Iterable[Report]) -> None:
        """Remove the attempts whose outcome is acknowledged, and so durable."""
        with self.lock:
            for report in acknowledged:
                if report.WhichOneof("kind") in FINAL_KINDS and self.find(key_of(report)) is not None:
                    del self._attempts[report.task_id]

    def fence(self) -> None:
        """Hold every running attempt, since the lease is over."""
        with self.lock:
            for attempt in self._attempts.values():
                attempt.fence()

    def unfence(self) -> None:
        """Let every fenced attempt continue."""
        with self.lock:
            for attempt in self._attempts.values():
                attempt.unfence()

    def drain(self, safe_point_timeout_seconds: float = SAFE_POINT_TIMEOUT_SECONDS) -> None:
        """Refuse new attempts, release the running ones, and remove the paused ones, whose checkpoint is reported.

        `safe_point_timeout_seconds` bounds the wait for an attempt's first safe point.
        """
        with self.lock:
            self.is_draining = True
            for attempt in [*self._attempts.values()]:
                with attempt.lock:
                    if attempt.state == AttemptState.ATTEMPT_STATE_PAUSED and not attempt.is_fenced:
                        attempt.mute()
                        del self._attempts[attempt.key.task_id]
                    attempt.signal(StopSignal.RELEASE, safe_point_timeout_seconds)

    def drop_all(self) -> None:
        """Refuse new attempts and drop the held ones: the server has rejected the unit."""
        with self.lock:
            self.is_draining = True
            for attempt in [*self._attempts.values()]:
                self.drop(attempt.key, DropReason.DROP_REASON_SUPERSEDED)
