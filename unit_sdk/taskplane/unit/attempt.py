"""One attempt, and the place where a verb takes hold of it."""

import logging
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
from taskplane.unit.stopping import PATIENCE_SECONDS, Patience, SafePoints
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
# These wait for a safe point that the executor has named; anything else takes hold at every call.
_PATIENT = (Demand.PAUSE, Demand.RELEASE)


class Attempt:
    """What the unit knows of one attempt, from its start to its end. Thread-safe.

    A verb, from the session's thread, only leaves a demand. The executor meets it at its next safe point, in its own
    thread or on the event loop: a pause hands it a `Hold` to wait on, anything stronger is raised.

    A report without a checkpoint is a safe point for the fence, for cancel and for drop. A pause and a drain pass over
    it, as nothing is there from which another attempt could continue; see `stopping`.
    """

    def __init__(  # noqa: PLR0913 - all that an attempt has to do with
        self,
        key: AttemptKey,
        order: StartOrder,
        postbox: Postbox,
        slots: threading.Semaphore,
        lease: Lease,
        *,
        safe_points: SafePoints,
    ) -> None:
        """Takes over one slot of `slots`, which the caller has acquired."""
        self.order = order
        # Reentrant and open to callers: looking at the state and asking for something must be one step.
        self.lock = threading.RLock()
        # What was raised into the executor. It decides how the attempt ends.
        self.interruption: type[Interrupted] | None = None
        # Called after each change of the demand, from any thread, under the lock.
        self.on_demand: Callable[[], object] = lambda: None
        # The executor has methods to meet demands; what it calls in between are not safe points.
        self.is_steered = False
        # The executor has called `report`.
        self.reports_for_itself = False
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
        # What was asked for. The fence is apart: it also holds what waits for a safe point to pause.
        self._asked = Demand.NOTHING
        self._is_fenced = False
        self._safe_points = safe_points
        # The executor's last call was a report without a checkpoint.
        self._is_at_bare_report = False
        self._patience = Patience()
        if order.HasField("checkpoint"):
            safe_points.name()

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

    @property
    def demand(self) -> Demand:
        """What is asked of the attempt, and not undone."""
        return max(self._asked, Demand.FENCE if self._is_fenced else Demand.NOTHING)

    # What the executor calls.

    def report(
        self, progress: float | None, message: str | None, checkpoint: Data | Callable[[], Data] | None
    ) -> Hold | None:
        """Sends what is given, and returns what to wait on if the attempt pauses here.

        A callable checkpoint is called only for that. Raises TypeError or ValueError for what cannot be reported, and
        the interruption if there is one.
        """
        for_safe_point = checkpoint if callable(checkpoint) else None
        data = None if checkpoint is None or callable(checkpoint) else json_struct(checkpoint, "checkpoint")
        with self.lock:
            self.raise_interruption()
            self._arrive(is_bare=checkpoint is None)
            if progress is not None or message is not None:
                self._post_unless_stopping(Report(progress=self._journal.note_progress(progress, message)))
            if data is not None:
                self._post_unless_stopping(Report(checkpoint=self._journal.note_checkpoint(data)))
            if for_safe_point is None:
                return self._look(None)
        return self._look(for_safe_point)

    def safe_point(self, checkpoint: Data | Callable[[], Data] | None) -> Hold | None:
        """Lets a demand take hold. The checkpoint is used, or a callable called, only if it is to be reported now."""
        with self.lock:
            self._arrive(is_bare=False)
        return self._look(checkpoint)

    def _arrive(self, *, is_bare: bool) -> None:
        self._is_at_bare_report = is_bare and not self.is_steered
        if not is_bare and not self.is_steered:
            self._safe_points.name()

    def _look(self, checkpoint: Data | Callable[[], Data] | None) -> Hold | None:
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
            if self._asked != Demand.NOTHING and self._may_stop_here():
                self._warn_of_a_bare_stop()
                if self._asked == Demand.PAUSE:
                    return self._pause()
                self.interrupt()
                self.raise_interruption()
            return self._rest() if self._is_fenced else None

    def _may_stop_here(self) -> bool:
        is_paused = self._state == AttemptState.ATTEMPT_STATE_PAUSED and not self._is_fenced
        if is_paused or not self._is_bare_stop():
            return True
        if not self._patience.is_over:
            return False
        if self._safe_points.are_named and self._patience.may_warn():
            logger.warning(
                "%s: %s still waits for a safe point; a report without a checkpoint is none for %s",
                self,
                self._asked.name.lower(),
                self.order.task_type,
            )
        return not self._safe_points.are_named

    def _is_bare_stop(self) -> bool:
        return self._is_at_bare_report and self._asked in _PATIENT and not self._safe_points.are_everywhere

    def _warn_of_a_bare_stop(self) -> None:
        if self._is_bare_stop() and self._patience.may_warn():
            logger.warning(
                "%s: %s takes hold at a report without a checkpoint, since %s has shown no safe point: on another unit "
                "the task would begin from the start. Give `report` a checkpoint, call `safe_point`, or register the "
                "type with can_checkpoint=False",
                self,
                self._asked.name.lower(),
                self.order.task_type,
            )

    def interrupt(self) -> None:
        """Makes the demand the attempt's end, whatever else is asked from now on."""
        with self.lock:
            self.interruption = self.interruption or _INTERRUPTIONS[self._asked]

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

    def ask(self, demand: Demand, patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Leaves a demand for the next safe point, and wakes the executor if it rests at one.

        `patience_seconds` is how long it may wait for a safe point of a type that has shown none.
        """
        with self.lock:
            self._asked = max(self._asked, demand)
            if self._asked in _PATIENT:
                self._patience.begin(patience_seconds)
            if self._hold is not None and self._may_stop_here():
                if self._asked == Demand.PAUSE:
                    self._pause()
                else:
                    self._end_hold()
            self.on_demand()

    def fence(self) -> None:
        """Lets the attempt rest at its next call, in its slot and unreported: the lease is over."""
        with self.lock:
            if self._state == AttemptState.ATTEMPT_STATE_RUNNING:
                self._is_fenced = True
                self.on_demand()

    def _fence_in_time(self) -> None:
        """Does what the fence's thread will do: when the process was suspended, that may come later than this."""
        if self._lease.is_over():
            self.fence()
            if not self._lease.is_over():
                self.unfence()  # renewed in between, and nobody else would end it

    @property
    def is_fenced(self) -> bool:
        """Whether it rests, or is to rest, for want of a lease only: to the server it is RUNNING."""
        return self._is_fenced

    def unfence(self) -> None:
        """Lets the attempt go on where it rests, or meet there what was asked of it meanwhile."""
        with self.lock:
            if self._is_fenced:
                self._is_fenced = False
                self._patience.begin_again()
                if self._hold is not None:
                    self._state = AttemptState.ATTEMPT_STATE_RUNNING
                    self._end_hold()
                self.on_demand()

    def regain_slot(self) -> bool:
        """Prepares a resume: takes a slot again, or undoes a pause that has not taken hold. False: no slot is free."""
        with self.lock:
            self._has_slot = self._has_slot or self._slots.acquire(blocking=False)
            if self._has_slot:
                self._asked = Demand.NOTHING
                self._patience.end()
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
        # From here on a resume lets it go on, and nothing else.
        self._is_fenced = False
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
        if self.is_steered or self._asked == Demand.NOTHING or not self._may_stop_here():
            self.post(report)

    def _give_slot_back(self) -> None:
        if self._has_slot:
            self._has_slot = False
            self._slots.release()

    def _newest_checkpoint_number(self) -> int:
        made = self._journal.checkpoint
        return self.order.checkpoint.number if made is None else made.number
