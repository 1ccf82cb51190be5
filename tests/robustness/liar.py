"""A unit made from the protos alone, which reports on attempts that it has lost.

Its tasks need three attempts of one step each. In every attempt after the first, the unit first reports an end of an
earlier attempt, which the server must reject with a drop, and then the truth.
"""

import queue
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from robustness.apis import Context, GrpcApi, Refusal, Spec
from robustness.journal import Journal
from robustness.records import Begun, Call, Ended, Lie, Step
from robustness.unit_journal import acked

from taskplane.protocol.structs import to_dict, to_struct
from taskplane.v1.execution_unit_control_pb2 import (
    CancelledReport,
    CheckpointReport,
    Command,
    CommandAccepted,
    FailedReport,
    Hello,
    PausedReport,
    ProgressReport,
    ReleasedReport,
    Report,
    Reports,
    ServerMessage,
    StartOrder,
    SucceededReport,
    UnitHeartbeat,
    UnitMessage,
)
from taskplane.v1.execution_unit_control_pb2_grpc import ExecutionUnitControlStub
from taskplane.v1.execution_unit_pb2 import TaskTypeSupport

NAME = "liar"
TYPE = "LIE"
STEPS = 3
_HEARTBEAT_SECONDS = 0.4
# Each answer to a lie comes at once, unless something is broken; then the session is given up.
_ANSWER_SECONDS = 8.0
# Seconds to wait for a message that may never come.
_LITTLE_SECONDS = 2.0
_LIES = ("succeeded", "failed", "cancelled", "paused", "released", "checkpoint", "progress")


class _Over(Exception):
    """The session has ended, or the server has given up the attempt."""


class Liar:
    """Runs on its own threads, from `start` until `stop`; `failure` is an unexpected error."""

    def __init__(self, seed: str, clients: str, units: str, journal: Journal) -> None:
        self.failure: BaseException | None = None
        self._choice = random.Random(seed)  # noqa: S311  it shall be repeatable
        self._api = GrpcApi(clients)
        self._server = units
        self._journal = journal
        self._boot_id = str(uuid.uuid4())
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=NAME)
        self._creating = threading.Thread(target=self._create, name=f"{NAME}'s client")
        self._executions = 0
        self._begun: set[tuple[int, int]] = set()
        self._is_leaving = False

    def start(self) -> None:
        """Connect, and have tasks created for itself."""
        self._thread.start()
        self._creating.start()

    def stop_creating(self) -> None:
        """Has no further task created."""
        self._over.set()
        self._creating.join()

    def stop(self) -> None:
        """Leaves."""
        self.stop_creating()
        self._is_leaving = True
        self._thread.join()
        self._api.close()

    def _create(self) -> None:
        number = 0
        while not self._over.wait(0.5):
            number += 1
            spec = Spec(
                type=TYPE,
                name=f"lie-{number}",
                config={"steps": STEPS},
                start=True,
                priority=1,
                max_retries=6,
            )
            began, context = time.monotonic(), Context(NAME, str(uuid.uuid4()))
            try:
                answer = self._api.create([spec], context)
            except Refusal:
                continue
            ended, names = time.monotonic(), (spec.name,)
            self._journal.write(Call(NAME, "create", 0, began, ended, "OK", seen=answer.seen, names=names))

    def _run(self) -> None:
        try:
            while not self._is_leaving:
                with grpc.insecure_channel(self._server) as channel:
                    self._serve(_Session(channel, self._boot_id))
                time.sleep(0.3)
        except BaseException as error:  # noqa: BLE001  it is raised by whoever stops it
            self.failure = error

    def _serve(self, session: "_Session") -> None:
        try:
            session.open()
            while not self._is_leaving:
                if command := session.next_start():
                    self._attempt(session, command)
        except (_Over, grpc.RpcError):
            return
        finally:
            session.close()

    def _attempt(self, session: "_Session", command: Command) -> None:
        task, attempt, order = command.task_id, command.attempt, command.start
        if (task, attempt) in self._begun:
            # Begun in an earlier session, so over.
            self._end(session, Report(task_id=task, attempt=attempt, failed=FailedReport(message="broken off")))
            return
        self._begun.add((task, attempt))
        done = int(to_dict(order.checkpoint.data)["step"]) if order.HasField("checkpoint") else 0
        self._executions += 1
        execution, now = f"{NAME}-{self._executions}", time.monotonic()
        self._journal.write(Begun(execution, NAME, task, attempt, now, done or None, order.retry_count))
        if attempt > 1 and not self._over.is_set():
            self._lie(session, task, attempt, order.last_checkpoint_number)
        if done < STEPS:
            done += 1
            self._step(session, Step(execution, NAME, task, attempt, done, *[time.monotonic()] * 3), order)
        self._end(session, _ending(task, attempt, done))

    def _step(self, session: "_Session", step: Step, order: StartOrder) -> None:
        self._journal.write(step)
        data = to_struct({"step": step.number}, "checkpoint")
        checkpoint = CheckpointReport(number=order.last_checkpoint_number + 1, data=data)
        self._tell(session, Report(task_id=step.task, attempt=step.attempt, checkpoint=checkpoint))

    def _end(self, session: "_Session", ending: Report) -> None:
        how, execution = ending.WhichOneof("kind") or "", f"{NAME}-{self._executions}"
        self._journal.write(Ended(execution, NAME, ending.task_id, ending.attempt, how, time.monotonic()))
        self._tell(session, ending)

    def _tell(self, session: "_Session", report: Report) -> None:
        session.report(report)
        session.await_ack()
        if record := acked(NAME, report, time.monotonic()):
            self._journal.write(record)

    def _lie(self, session: "_Session", task: int, attempt: int, last_number: int) -> None:
        for kind in self._choice.sample(_LIES, 3):
            claimed = self._choice.choice([attempt - 1, attempt - 1, attempt + 1, self._choice.randint(1, attempt - 1)])
            report = Report(task_id=task, attempt=claimed, **{kind: _lies(kind, claimed, last_number + 1)})
            session.drops.clear()
            at = time.monotonic()
            session.report(report)
            session.await_ack()
            is_dropped = session.await_drop(task, claimed)
            self._journal.write(Lie(NAME, task, claimed, kind, at, is_dropped))


class _Session:
    """A stream of the liar."""

    def __init__(self, channel: grpc.Channel, boot_id: str) -> None:
        self.drops: list[tuple[int, int]] = []
        self._boot_id = boot_id
        self._outgoing: queue.Queue[UnitMessage | None] = queue.Queue()
        self._incoming: queue.Queue[ServerMessage | None] = queue.Queue()
        self._starts: list[Command] = []
        self._sequence = self._acknowledged = 0
        self._channel = channel

    def open(self) -> None:
        support = TaskTypeSupport(task_type=TYPE, can_pause=True, can_checkpoint=True)
        hello = Hello(
            protocol_version=1,
            unit_id=NAME,
            boot_id=self._boot_id,
            unit_type="LIAR",
            unit_name=NAME,
            capacity=1,
            task_types=[support],
        )
        self._outgoing.put(UnitMessage(hello=hello))
        self._call = ExecutionUnitControlStub(self._channel).Connect(self._messages())
        threading.Thread(target=self._read, daemon=True).start()
        self._take(lambda: self._is_welcomed)

    _is_welcomed = False

    def close(self) -> None:
        self._outgoing.put(None)
        self._call.cancel()

    def next_start(self) -> Command | None:
        """Return the next start; None after a while without one."""
        self._take(lambda: bool(self._starts), is_certain=False)
        return self._starts.pop(0) if self._starts else None

    def report(self, report: Report) -> None:
        self._sequence += 1
        report.sequence = self._sequence
        self._outgoing.put(UnitMessage(reports=Reports(reports=[report])))

    def await_ack(self) -> None:
        self._take(lambda: self._acknowledged >= self._sequence)

    def await_drop(self, task: int, attempt: int) -> bool:
        """Return whether the drop arrives: before the acknowledgement, or with it."""
        self._take(lambda: (task, attempt) in self.drops, is_certain=False)
        return (task, attempt) in self.drops

    def _take(self, is_so: Callable[[], bool], *, is_certain: bool = True) -> None:
        """Take messages until the condition holds. Raises _Over if it can no longer hold, or the session ends."""
        deadline = time.monotonic() + (_ANSWER_SECONDS if is_certain else _LITTLE_SECONDS)
        while not is_so():
            try:
                message = self._incoming.get(timeout=_HEARTBEAT_SECONDS)
            except queue.Empty:
                if time.monotonic() > deadline:
                    if is_certain:
                        raise _Over from None
                    return
                self._outgoing.put(UnitMessage(heartbeat=UnitHeartbeat()))
                continue
            if message is None:
                raise _Over
            self._hear(message)

    def _hear(self, message: ServerMessage) -> None:
        self._is_welcomed |= message.HasField("welcome")
        self._acknowledged = max(self._acknowledged, message.ack.sequence)
        for command in message.commands.commands:
            self._obey(command)

    def _obey(self, command: Command) -> None:
        key = command.task_id, command.attempt
        if command.HasField("drop"):
            self.drops.append(key)
        self.report(Report(task_id=key[0], attempt=key[1], command_id=command.command_id, accepted=CommandAccepted()))
        if command.HasField("start"):
            self._starts.append(command)

    def _messages(self) -> Iterator[UnitMessage]:
        while (message := self._outgoing.get()) is not None:
            yield message

    def _read(self) -> None:
        try:
            for message in self._call:
                self._incoming.put(message)
        except grpc.RpcError:
            pass  # gRPC's sign for the end of the stream
        self._incoming.put(None)


def _ending(task: int, attempt: int, done: int) -> Report:
    if done < STEPS:
        failure = FailedReport(message="not done yet")
        failure.retry_delay.FromMilliseconds(20)
        return Report(task_id=task, attempt=attempt, failed=failure)
    result = to_struct({"attempt": attempt, "steps": done}, "result")
    return Report(task_id=task, attempt=attempt, succeeded=SucceededReport(result=result))


def _lies(kind: str, attempt: int, number: int) -> Any:
    false = CheckpointReport(number=number, data=to_struct({"step": STEPS, "lie": True}, "checkpoint"))
    lies = {
        "succeeded": SucceededReport(result=to_struct({"attempt": attempt, "steps": -1}, "result")),
        "failed": FailedReport(message="a lie", not_retryable=True),
        "cancelled": CancelledReport(message="a lie"),
        "paused": PausedReport(checkpoint=false),
        "released": ReleasedReport(checkpoint=false, message="a lie"),
        "checkpoint": false,
        "progress": ProgressReport(fraction=0.99, message="a lie"),
    }
    return lies[kind]
