"""The server's commands: each is answered at once, and carried out once."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import TypeVar

from taskplane.unit.attempt import Attempt, Demand
from taskplane.unit.executors import TaskType
from taskplane.unit.lease import Lease
from taskplane.unit.postbox import Postbox
from taskplane.unit.reports import AttemptKey, accepted, key_of, rejected
from taskplane.unit.runner import Runner
from taskplane.unit.workload import Workload
from taskplane.v1.execution_unit_control_pb2 import AttemptState, Command, RejectReason, Report

# The server resends a command until it is answered, which is seconds; this many are answered in minutes at least.
_REMEMBERED = 10_000

Effect = Callable[[], None]
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Refusal(Exception):
    """The command will not be carried out, and why."""

    def __init__(self, reason: RejectReason.ValueType, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Commands:
    """Carries out commands. Called by the session's thread."""

    def __init__(
        self,
        task_types: Mapping[str, TaskType],
        workload: Workload,
        runner: Runner,
        postbox: Postbox,
        lease: Lease,
    ) -> None:
        self._task_types = task_types
        self._workload = workload
        self._runner = runner
        self._postbox = postbox
        self._lease = lease
        self._answers: OrderedDict[str, Report] = OrderedDict()
        self._begun: OrderedDict[AttemptKey, None] = OrderedDict()

    def obey(self, command: Command) -> None:
        """Answers `accepted` or `rejected` and carries the command out; a repeat is only answered again, as before."""
        with self._workload.lock:
            if (answer := self._answers.get(command.command_id)) is not None:
                self._post(answer)
            elif command.WhichOneof("order") == "get_status":
                self._tell_status(command)
            else:
                self._carry_out(command)

    def answer(self, command: Command) -> Report:
        """How a command was answered that was obeyed just now, and is no get_status."""
        with self._workload.lock:
            return self._answers[command.command_id]

    def _carry_out(self, command: Command) -> None:
        effect: Effect | None = None
        try:
            effect = self._decide(command)
            answer = accepted(command)
        except Refusal as refusal:
            answer = rejected(command, refusal.reason, str(refusal))
        _remember(self._answers, command.command_id, answer)
        # The answer goes first: what the effect brings about may be reported at any moment after it.
        self._post(answer)
        if effect is not None:
            effect()

    def _decide(self, command: Command) -> Effect | None:
        """Returns what carries the command out, None if that is done already; raises Refusal."""
        match command.WhichOneof("order"):
            case "start":
                return self._start(command)
            case "pause":
                return self._pause(command)
            case "resume":
                return self._resume(command)
            case "cancel":
                return partial(self._at_work(key_of(command)).ask, Demand.CANCEL)
            case "drop":
                # Before it is answered: it takes back the attempt's reports, and must not take the answer.
                self._workload.drop(key_of(command), command.drop.reason)
                return None
            case _:
                raise Refusal(RejectReason.REJECT_REASON_UNSUPPORTED, "this unit does not know such an order")

    def _start(self, command: Command) -> Effect | None:
        if key_of(command) in self._begun:
            return None
        task_type = self._task_types.get(command.start.task_type)
        if task_type is None:
            reason = RejectReason.REJECT_REASON_UNKNOWN_TASK_TYPE
            raise Refusal(reason, f"this unit does not run {command.start.task_type}")
        self._refuse_to_begin()
        if not self._workload.acquire_slot():
            raise _no_slot()
        _remember(self._begun, key_of(command), None)
        return partial(self._workload.begin, command, task_type)

    def _pause(self, command: Command) -> Effect:
        attempt = self._at_work(key_of(command))
        if not self._task_types[attempt.order.task_type].can_pause:
            reason = RejectReason.REJECT_REASON_UNSUPPORTED
            raise Refusal(reason, f"tasks of type {attempt.order.task_type} cannot be paused here")
        return partial(attempt.ask, Demand.PAUSE)

    def _resume(self, command: Command) -> Effect | None:
        if key_of(command) in self._begun:
            return None
        attempt = self._at_work(AttemptKey(command.task_id, command.resume.held_attempt))
        self._refuse_to_begin()
        if attempt.demand > Demand.PAUSE:
            raise Refusal(RejectReason.REJECT_REASON_OTHER, f"the attempt is about to end: {attempt.demand.name}")
        if not attempt.regain_slot():
            raise _no_slot()
        _remember(self._begun, key_of(command), None)
        return partial(attempt.resume, command.attempt, command.resume.last_checkpoint_number)

    def _tell_status(self, command: Command) -> None:
        if (attempt := self._workload.find(key_of(command))) is None:
            unknown = _unknown_attempt("it is not held here")
            self._post(rejected(command, unknown.reason, str(unknown)))
        else:
            self._runner.answer_status(attempt, command.command_id)

    def _at_work(self, key: AttemptKey) -> Attempt:
        if (attempt := self._workload.find(key)) is None:
            raise _unknown_attempt("it is not held here")
        if attempt.state == AttemptState.ATTEMPT_STATE_ENDED:
            raise _unknown_attempt("it has ended, as was reported")
        return attempt

    def _refuse_to_begin(self) -> None:
        if self._workload.is_draining:
            raise Refusal(RejectReason.REJECT_REASON_DRAINING, "this unit is about to leave")
        if not self._lease.is_fresh():
            # Read on waking up, it may have been taken back: the drop that says so is still to be read.
            raise Refusal(RejectReason.REJECT_REASON_OTHER, "this unit was out of touch for too long")

    def _post(self, answer: Report) -> None:
        # A copy: the outbox numbers what it is given, and an answer may be given more than once.
        copy = Report()
        copy.CopyFrom(answer)
        self._postbox.post(copy)


def _no_slot() -> Refusal:
    return Refusal(RejectReason.REJECT_REASON_NO_SLOT, "all slots are in use")


def _unknown_attempt(why: str) -> Refusal:
    return Refusal(RejectReason.REJECT_REASON_UNKNOWN_ATTEMPT, why)


def _remember(memory: OrderedDict[K, V], key: K, value: V) -> None:
    memory[key] = value
    if len(memory) > _REMEMBERED:
        memory.popitem(last=False)
