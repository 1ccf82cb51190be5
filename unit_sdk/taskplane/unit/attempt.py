"""One attempt, and the place where a verb takes hold of it."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from enum import IntEnum
from typing import Any

from taskplane.unit.errors import Interrupted, TaskCancelled, TaskDropped, TaskReleased
from taskplane.unit.journal import Journal
from taskplane.unit.lease import Lease
from taskplane.unit.postbox import Postbox
from taskplane.unit.reports import AttemptKey, json_struct
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

# What a paused executor waits on; done when the pause is over, for whatever reason.
Hold = Future[None]
Data = Mapping[str, Any]


class Demand(IntEnum):
    """What is asked of an attempt. A greater one replaces a lesser, until it has been raised into the executor."""

    NOTHING = 0
    FENCE = 1
    PAUSE = 2
    RELEASE = 3
    CANCEL = 4
    DROP = 5


_INTERRUPTIONS: dict[Demand, type[Interrupted]] = {
    Demand.RELEASE: TaskReleased,
    Demand.CANCEL: TaskCancelled,
    Demand.DROP: TaskDropped,
}
# These need the point from which to go on.
_WITH_CHECKPOINT = (Demand.FENCE, Demand.PAUSE, Demand.RELEASE)


class Attempt:
    """What the unit knows of one attempt, from its start to its end. Thread-safe.

    A verb, from the session's thread, only leaves a demand. The executor meets it at its next safe point, in its own
    thread or on the event loop: a pause hands it a `Hold` to wait on, anything stronger is raised.
    """

    def __init__(
        self, key: AttemptKey, order: StartOrder, postbox: Postbox, slots: threading.Semaphore, lease: Lease
    ) -> None:
        """Takes over one slot of `slots`, which the caller has acquired."""
        self.order = order
        # Reentrant and open to callers: looking at the state and asking for something must be one step.
        self.lock = threading.RLock()
        self.demand = Demand.NOTHING
        # What was raised into the executor. It decides how the attempt ends.
        self.interruption: type[Interrupted] | None = None
        # Called after each change of the demand, from any thread, under the lock.
        self.on_demand: Callable[[], object] = lambda: None
        # The executor has methods to meet demands; what it calls in between are not safe points.
        self.is_steered = False
        # Nothing may be reported in its name any more.
        self.is_silent = False
        self._key = key
        self._postbox = postbox
        self._slots = slots
        self._lease = lease
        self._has_slot = True
        self._state = AttemptState.ATTEMPT_STATE_RUNNING
        self._journal = Journal(order.last_checkpoint_number)
        self._hold: Hold | None = None

    def __str__(self) -> str:
        return f"task_id={self._key.task_id} attempt={self._key.attempt}"

    @property
    def key(self) -> AttemptKey:
        """Names the attempt, until a resume gives it another number."""
        return self._key

    @property
    def state(self) -> AttemptState.ValueType:
        """RUNNING, PAUSED or ENDED."""
        return self._state

    # What the executor calls.

    def report(
        self, progress: float | None, message: str | None, checkpoint: Data | Callable[[], Data] | None
    ) -> Hold | None:
        """Sends what is given, and is a safe point: returns what to wait on if the attempt pauses here.

        A callable checkpoint is called only for that. Raises TypeError or ValueError for what cannot be reported, and
        the interruption if there is one.
        """
        for_safe_point = checkpoint if callable(checkpoint) else None
        data = None if checkpoint is None or callable(checkpoint) else json_struct(checkpoint, "checkpoint")
        with self.lock:
            self.raise_interruption()
            if progress is not None or message is not None:
                self._post_unless_stopping(Report(progress=self._journal.note_progress(progress, message)))
            if data is not None:
                self._post_unless_stopping(Report(checkpoint=self._journal.note_checkpoint(data)))
            if for_safe_point is None:
                return self.safe_point(None)
        return self.safe_point(for_safe_point)

    def safe_point(self, checkpoint: Data | Callable[[], Data] | None) -> Hold | None:
        """Lets a demand take hold. The checkpoint is used, or a callable called, only if it is to be reported now."""
        if self.is_steered:
            self.raise_interruption()
            return None
        self._fence_in_time()
        # Looked at once: a demand that comes from here on waits for the next safe point, as it may need a checkpoint.
        demand = self.demand
        if demand == Demand.NOTHING:
            return None
        if callable(checkpoint):  # the executor's code, so it runs outside the lock
            checkpoint = checkpoint() if demand in _WITH_CHECKPOINT else None
        return self.meet_demand(checkpoint)

    def meet_demand(self, checkpoint: Data | None) -> Hold | None:
        """Pauses here (returns the hold), is interrupted here (raises), or goes on (returns None)."""
        with self.lock:
            self.raise_interruption()
            if checkpoint is not None and self.demand in _WITH_CHECKPOINT:
                self._journal.note_checkpoint(json_struct(checkpoint, "checkpoint"))
            if self.demand == Demand.FENCE:
                return self._rest()
            if self.demand == Demand.PAUSE:
                return self._pause()
            if self.demand != Demand.NOTHING:
                self.interrupt()
                self.raise_interruption()
            return None

    def interrupt(self) -> None:
        """Makes the demand the attempt's end, whatever else is asked from now on."""
        with self.lock:
            self.interruption = self.interruption or _INTERRUPTIONS[self.demand]

    def raise_interruption(self) -> None:
        """Raises what interrupted the attempt, if anything did: an executor cannot work on past it."""
        if self.interruption is not None:
            raise self.interruption

    def number_checkpoint(self, checkpoint: Data) -> CheckpointReport:
        """Makes a checkpoint that rides in another report."""
        with self.lock:
            return self._journal.note_checkpoint(json_struct(checkpoint, "checkpoint"))

    def end(self, ending: Report) -> bool:
        """The executor has ended. Frees the slot first, so that the answer to the report finds it free.

        Returns whether the ending was reported.
        """
        with self.lock:
            self._state = AttemptState.ATTEMPT_STATE_ENDED
            self._give_slot_back()
            self.post(ending)
            return not self.is_silent

    # What the session calls.

    def ask(self, demand: Demand) -> None:
        """Leaves a demand for the next safe point, and wakes the executor if it rests at one."""
        with self.lock:
            self.demand = max(self.demand, demand)
            if self.demand > Demand.PAUSE:
                self._end_hold()
            elif self.demand == Demand.PAUSE and self._hold is not None:
                self._pause()
            self.on_demand()

    def fence(self) -> None:
        """Lets the attempt rest at its next safe point, in its slot and unreported: the lease is over."""
        with self.lock:
            if self._state == AttemptState.ATTEMPT_STATE_RUNNING:
                self.ask(Demand.FENCE)

    def _fence_in_time(self) -> None:
        """Does what the fence's thread will do: when the process was suspended, that may come later than this."""
        if self._lease.is_over():
            self.fence()
            if not self._lease.is_over():
                self.unfence()  # renewed in between, and nobody else would end it

    @property
    def is_fenced(self) -> bool:
        """Whether it rests, or is to rest, for want of a lease only: to the server it is RUNNING."""
        return self.demand == Demand.FENCE

    def unfence(self) -> None:
        """Lets the attempt go on where it rests, unless something else was asked of it meanwhile."""
        with self.lock:
            if self.demand == Demand.FENCE:
                self.demand = Demand.NOTHING
                self._state = AttemptState.ATTEMPT_STATE_RUNNING
                self._end_hold()
                self.on_demand()

    def regain_slot(self) -> bool:
        """Prepares a resume: takes a slot again, or undoes a pause that has not taken hold. False: no slot is free."""
        with self.lock:
            self._has_slot = self._has_slot or self._slots.acquire(blocking=False)
            if self._has_slot:
                self.demand = Demand.NOTHING
            return self._has_slot

    def resume(self, attempt: int, last_checkpoint_number: int) -> None:
        """Goes on under a new attempt number, with the slot that was regained."""
        with self.lock:
            self._key = self._key._replace(attempt=attempt)
            self._journal.continue_from(last_checkpoint_number)
            self._state = AttemptState.ATTEMPT_STATE_RUNNING
            self._end_hold()
            self.on_demand()

    def silence(self) -> None:
        """Lets nothing further be reported."""
        with self.lock:
            self.is_silent = True

    def held(self) -> HeldAttempt:
        """The attempt's entry in the unit's inventory."""
        with self.lock:
            return HeldAttempt(
                task_id=self._key.task_id,
                attempt=self._key.attempt,
                state=self._state,
                checkpoint_number=self._newest_checkpoint_number(),
            )

    # What both post.

    def post(self, report: Report) -> None:
        """Reports in the attempt's name, unless it is silent."""
        with self.lock:
            if not self.is_silent:
                report.task_id, report.attempt = self._key
                self._postbox.post(report)

    def post_status(self, command_id: str) -> None:
        """Answers a get_status command."""
        with self.lock:
            status = AttemptStatusReport(
                state=self._state,
                progress=self._journal.progress,
                checkpoint_number=self._newest_checkpoint_number(),
            )
            self.post(Report(command_id=command_id, attempt_status=status))

    def standing(self) -> PausedReport:
        """How far the attempt is, and the newest checkpoint that it has made."""
        with self.lock:
            return PausedReport(checkpoint=self._journal.checkpoint, progress=self._journal.progress)

    def released(self, message: str) -> Report:
        """The ending of an attempt that is given back."""
        return Report(released=ReleasedReport(checkpoint=self._journal.checkpoint, message=message))

    def _pause(self) -> Hold:
        hold = self._rest()
        self._give_slot_back()
        self._post_paused()
        return hold

    def _rest(self) -> Hold:
        if self._hold is None:
            self._hold = Hold()
            self._hold.set_running_or_notify_cancel()  # so that no waiter can cancel it
            self._state = AttemptState.ATTEMPT_STATE_PAUSED
        return self._hold

    def _end_hold(self) -> None:
        if self._hold is not None:
            self._hold.set_result(None)
            self._hold = None

    def _post_paused(self) -> None:
        self.post(Report(paused=self.standing()))

    def _post_unless_stopping(self, report: Report) -> None:
        # What is noted just before a pause or a release takes hold rides in the report on that.
        if self.is_steered or self.demand <= Demand.FENCE:
            self.post(report)

    def _give_slot_back(self) -> None:
        if self._has_slot:
            self._has_slot = False
            self._slots.release()

    def _newest_checkpoint_number(self) -> int:
        made = self._journal.checkpoint
        return self.order.checkpoint.number if made is None else made.number
