"""Everything that a unit holds: its attempts and its slots."""

import threading
from collections.abc import Iterable

from taskplane.unit.attempt import Attempt, Demand
from taskplane.unit.executors import TaskType
from taskplane.unit.lease import Lease
from taskplane.unit.postbox import Postbox
from taskplane.unit.reports import ENDINGS, AttemptKey, key_of
from taskplane.unit.runner import Runner
from taskplane.unit.stopping import PATIENCE_SECONDS
from taskplane.v1.execution_unit_control_pb2 import (
    AttemptState,
    Command,
    DropReason,
    HeldAttempt,
    Report,
    Verdict,
    VerdictAction,
)

# Nobody goes on with these, so what they left is to be cleaned up.
_CLEANED_UP = (DropReason.DROP_REASON_CANCELLED, DropReason.DROP_REASON_DELETED)


class Workload:
    """The attempts that the unit answers for, at most one a task. Thread-safe.

    An attempt is held from its start until the report on its end is acknowledged, or until it is dropped. Locks are
    taken in this order: the workload's, an attempt's, the postbox's.
    """

    def __init__(self, capacity: int, postbox: Postbox, runner: Runner, lease: Lease) -> None:
        # Reentrant and open to callers: deciding on a command and carrying it out must be one step for a drain.
        self.lock = threading.RLock()
        self.is_draining = False
        self._slots = threading.BoundedSemaphore(capacity)
        self._attempts: dict[int, Attempt] = {}  # by task id
        self._postbox = postbox
        self._runner = runner
        self._lease = lease

    def find(self, key: AttemptKey) -> Attempt | None:
        """The attempt, if it is held."""
        with self.lock:
            attempt = self._attempts.get(key.task_id)
            return attempt if attempt is not None and attempt.key == key else None

    def acquire_slot(self) -> bool:
        """Takes a slot for an attempt that is to begin or to go on; False if all are in use."""
        return self._slots.acquire(blocking=False)

    def begin(self, command: Command, task_type: TaskType) -> None:
        """Begins an attempt in a slot that was acquired. An older one of the same task is dropped."""
        with self.lock:
            older = self._attempts.get(command.task_id)
            if older is not None and older.state != AttemptState.ATTEMPT_STATE_ENDED:
                self.drop(older.key, DropReason.DROP_REASON_SUPERSEDED)
            attempt = Attempt(
                key_of(command),
                command.start,
                self._postbox,
                self._slots,
                self._lease,
                safe_points=task_type.safe_points,
            )
            self._attempts[command.task_id] = attempt
            self._runner.launch(attempt, task_type)

    def drop(self, key: AttemptKey, reason: DropReason.ValueType) -> None:
        """Gives an attempt up and reports nothing more about it. Harmless if it is not held."""
        with self.lock:
            if (attempt := self.find(key)) is not None:
                del self._attempts[key.task_id]
                attempt.silence()
                attempt.ask(Demand.CANCEL if reason in _CLEANED_UP else Demand.DROP)
            self._postbox.forget(key)

    def inventory(self) -> list[HeldAttempt]:
        """Every attempt that is held, as Hello tells it."""
        with self.lock:
            return [attempt.held() for attempt in self._attempts.values()]

    def judge(self, verdicts: Iterable[Verdict]) -> None:
        """Carries out what Welcome says of the inventory. KEEP needs nothing: running goes on, paused stays so."""
        for verdict in verdicts:
            key = AttemptKey(verdict.task_id, verdict.attempt)
            if verdict.action == VerdictAction.VERDICT_ACTION_DROP:
                self.drop(key, verdict.drop_reason)
            elif verdict.action == VerdictAction.VERDICT_ACTION_PAUSE:
                self._pause(key)

    def settle(self, acknowledged: Iterable[Report]) -> None:
        """Lets go of attempts whose end is durable."""
        with self.lock:
            for report in acknowledged:
                if report.WhichOneof("kind") in ENDINGS and self.find(key_of(report)) is not None:
                    del self._attempts[report.task_id]

    def fence(self) -> None:
        """Holds everything that runs, since the lease is over."""
        with self.lock:
            for attempt in self._attempts.values():
                attempt.fence()

    def unfence(self) -> None:
        """Lets what the fence holds go on."""
        with self.lock:
            for attempt in self._attempts.values():
                attempt.unfence()

    def drain(self, patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Takes on nothing more, gives back what runs, and lets go of what is paused: its checkpoint was reported.

        `patience_seconds` bounds how long an attempt may look for its first safe point.
        """
        with self.lock:
            self.is_draining = True
            for attempt in [*self._attempts.values()]:
                with attempt.lock:
                    if attempt.state == AttemptState.ATTEMPT_STATE_PAUSED and not attempt.is_fenced:
                        attempt.silence()
                        del self._attempts[attempt.key.task_id]
                    attempt.ask(Demand.RELEASE, patience_seconds)

    def abandon(self) -> None:
        """Gives everything up: the unit is not wanted any more."""
        with self.lock:
            self.is_draining = True
            for attempt in [*self._attempts.values()]:
                self.drop(attempt.key, DropReason.DROP_REASON_SUPERSEDED)

    def _pause(self, key: AttemptKey) -> None:
        attempt = self.find(key)
        if attempt is not None and (attempt.state == AttemptState.ATTEMPT_STATE_RUNNING or attempt.is_fenced):
            attempt.ask(Demand.PAUSE)
