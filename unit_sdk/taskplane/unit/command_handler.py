"""The server's commands: each is answered at once and executed once."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import TypeVar

from taskplane.unit.attempt import Attempt, StopSignal
from taskplane.unit.attempt_registry import AttemptRegistry
from taskplane.unit.executors import RegisteredTaskType
from taskplane.unit.lease import Lease
from taskplane.unit.report_queue import ReportQueue
from taskplane.unit.reports import AttemptKey, accepted, key_of, rejected
from taskplane.unit.runner import Runner
from taskplane.v1.execution_unit_control_pb2 import AttemptState, Command, RejectReason, Report

# Number of responses that are kept. The server resends an unanswered command for seconds; 10,000 commands take minutes.
_REMEMBERED = 10_000

Execution = Callable[[], None]
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class CommandRefusal(Exception):
    """The reason why a command is rejected."""

    def __init__(self, reason: RejectReason.ValueType, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class CommandHandler:
    """Answers and executes commands. Called on the connection's threads."""

    def __init__(
        self,
        task_types: Mapping[str, RegisteredTaskType],
        registry: AttemptRegistry,
        runner: Runner,
        report_queue: ReportQueue,
        lease: Lease,
    ) -> None:
        self._task_types = task_types
        self._registry = registry
        self._runner = runner
        self._report_queue = report_queue
        self._lease = lease
        self._responses: OrderedDict[str, Report] = OrderedDict()
        self._started: OrderedDict[AttemptKey, None] = OrderedDict()

    def handle(self, command: Command) -> None:
        """Report `accepted` or `rejected`, and execute the command. A repeated command only gets its response again."""
        with self._registry.lock:
            if (response := self._responses.get(command.command_id)) is not None:
                self._send(response)
            elif command.WhichOneof("order") == "get_status":
                self._report_status(command)
            else:
                self._decide_and_execute(command)

    def response(self, command: Command) -> Report:
        """Return the response to a command that was handled just before; get_status has none."""
        with self._registry.lock:
            return self._responses[command.command_id]

    def _decide_and_execute(self, command: Command) -> None:
        execution: Execution | None = None
        try:
            execution = self._decide(command)
            response = accepted(command)
        except CommandRefusal as refusal:
            response = rejected(command, refusal.reason, str(refusal))
        _remember(self._responses, command.command_id, response)
        # Sent before the execution, whose reports may follow at any moment.
        self._send(response)
        if execution is not None:
            execution()

    def _decide(self, command: Command) -> Execution | None:
        """Return the execution of an accepted command, None if there is nothing left to do; raise CommandRefusal."""
        match command.WhichOneof("order"):
            case "start":
                return self._start(command)
            case "pause":
                return self._pause(command)
            case "resume":
                return self._resume(command)
            case "cancel":
                return partial(self._active_attempt(key_of(command)).signal, StopSignal.CANCEL)
            case "drop":
                # Executed before the response is sent: a drop discards all reports of the attempt.
                self._registry.drop(key_of(command), command.drop.reason)
                return None
            case _:
                raise CommandRefusal(RejectReason.REJECT_REASON_UNSUPPORTED, "this unit does not know such an order")

    def _start(self, command: Command) -> Execution | None:
        if key_of(command) in self._started:
            return None
        task_type = self._task_types.get(command.start.task_type)
        if task_type is None:
            reason = RejectReason.REJECT_REASON_UNKNOWN_TASK_TYPE
            raise CommandRefusal(reason, f"this unit does not run {command.start.task_type}")
        self._require_readiness()
        if not self._registry.acquire_slot():
            raise _no_slot()
        _remember(self._started, key_of(command), None)
        return partial(self._registry.start, command, task_type)

    def _pause(self, command: Command) -> Execution:
        attempt = self._active_attempt(key_of(command))
        if not self._task_types[attempt.order.task_type].can_pause:
            reason = RejectReason.REJECT_REASON_UNSUPPORTED
            raise CommandRefusal(reason, f"tasks of type {attempt.order.task_type} cannot be paused here")
        return partial(attempt.signal, StopSignal.PAUSE)

    def _resume(self, command: Command) -> Execution | None:
        if key_of(command) in self._started:
            return None
        attempt = self._active_attempt(AttemptKey(command.task_id, command.resume.held_attempt))
        self._require_readiness()
        if attempt.stop_signal > StopSignal.PAUSE:
            reason = RejectReason.REJECT_REASON_OTHER
            raise CommandRefusal(reason, f"the attempt is about to end: {attempt.stop_signal.name}")
        if not attempt.reacquire_slot():
            raise _no_slot()
        _remember(self._started, key_of(command), None)
        return partial(attempt.resume, command.attempt, command.resume.last_checkpoint_number)

    def _report_status(self, command: Command) -> None:
        if (attempt := self._registry.find(key_of(command))) is None:
            unknown = _unknown_attempt("it is not held here")
            self._send(rejected(command, unknown.reason, str(unknown)))
        else:
            self._runner.report_status(attempt, command.command_id)

    def _active_attempt(self, key: AttemptKey) -> Attempt:
        if (attempt := self._registry.find(key)) is None:
            raise _unknown_attempt("it is not held here")
        if attempt.state == AttemptState.ATTEMPT_STATE_ENDED:
            raise _unknown_attempt("it has ended, as was reported")
        return attempt

    def _require_readiness(self) -> None:
        if self._registry.is_draining:
            raise CommandRefusal(RejectReason.REJECT_REASON_DRAINING, "this unit is about to leave")
        if not self._lease.is_fresh():
            # A command that is read after a suspend may be revoked, by a drop that is still unread.
            raise CommandRefusal(RejectReason.REJECT_REASON_OTHER, "this unit was out of touch for too long")

    def _send(self, response: Report) -> None:
        # Copied, because the report queue numbers its reports and a response may be sent more than once.
        copy = Report()
        copy.CopyFrom(response)
        self._report_queue.put(copy)


def _no_slot() -> CommandRefusal:
    return CommandRefusal(RejectReason.REJECT_REASON_NO_SLOT, "all slots are in use")


def _unknown_attempt(why: str) -> CommandRefusal:
    return CommandRefusal(RejectReason.REJECT_REASON_UNKNOWN_ATTEMPT, why)


def _remember(memory: OrderedDict[K, V], key: K, value: V) -> None:
    memory[key] = value
    if len(memory) > _REMEMBERED:
        memory.popitem(last=False)
