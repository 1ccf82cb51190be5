"""A scripted server, for tests of a unit without taskplane.

    with ScriptedServer() as server:
        unit = Unit(name="counter-1", type="COUNTER", server=server.address)
        ...  # register executors, run the unit in a thread
        session = server.session()  # waits for the unit to connect
        session.welcome()
        session.start(task_id=1, attempt=1, task_type="COUNT", config={"to": 3})
        session.expect("accepted")
        report = session.expect("succeeded")

The scripted server is a real gRPC server on a free port of 127.0.0.1. Every wait ends after TIMEOUT_SECONDS with an
AssertionError that lists the received reports. Reports are acknowledged only by `acknowledge`; a unit sends at most 500
unacknowledged reports.
"""

import itertools
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, Self

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from taskplane.protocol.channel import MAX_MESSAGE_BYTES
from taskplane.protocol.structs import to_struct
from taskplane.v1.execution_unit_control_pb2 import (
    Ack,
    CancelOrder,
    Command,
    Commands,
    DrainRequest,
    DropOrder,
    DropReason,
    GetStatusOrder,
    Hello,
    PauseOrder,
    Report,
    ResumeOrder,
    ServerMessage,
    StartOrder,
    UnitMessage,
    Verdict,
    Welcome,
)
from taskplane.v1.task_pb2 import TaskCheckpoint

TIMEOUT_SECONDS = 20.0

_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # A port that is in use raises an error instead of being shared.
    ("grpc.so_reuseport", 0),
)

ReportKind = Literal[
    "accepted",
    "rejected",
    "progress",
    "checkpoint",
    "paused",
    "succeeded",
    "failed",
    "cancelled",
    "released",
    "attempt_status",
]


class ScriptedServer:
    """The server's end of ExecutionUnitControl. Listens inside its `with` block."""

    def __init__(self) -> None:
        self._sessions: queue.Queue[ScriptedSession] = queue.Queue()
        self._port = 0
        self._server: grpc.Server | None = None

    def __enter__(self) -> Self:
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_away()

    @property
    def address(self) -> str:
        """HOST:PORT; unchanged by `go_away` and `listen`."""
        return f"127.0.0.1:{self._port}"

    def listen(self) -> None:
        """Accept connections; after `go_away`, on the same port."""
        server = self._server = grpc.server(ThreadPoolExecutor(), options=_OPTIONS)
        connect = grpc.stream_stream_rpc_method_handler(
            self._connect,
            request_deserializer=UnitMessage.FromString,
            response_serializer=ServerMessage.SerializeToString,
        )
        service = grpc.method_handlers_generic_handler("taskplane.v1.ExecutionUnitControl", {"Connect": connect})
        server.add_generic_rpc_handlers((service,))
        self._port = server.add_insecure_port(self.address)
        server.start()

    def go_away(self) -> None:
        """Break all connections and stop listening, like a server that is killed."""
        if self._server is not None:
            self._server.stop(grace=None).wait(TIMEOUT_SECONDS)
            self._server = None

    def session(self) -> "ScriptedSession":
        """Wait for the next stream of a unit, with its Hello, and return the session."""
        try:
            return self._sessions.get(timeout=TIMEOUT_SECONDS)
        except queue.Empty:
            raise AssertionError("no unit has connected") from None

    def _connect(self, messages: Iterator[UnitMessage], context: grpc.ServicerContext) -> Iterator[ServerMessage]:
        hello = next(messages, None)
        if hello is None:
            return
        session = ScriptedSession(hello.hello, context.peer())
        context.add_callback(session.close)
        threading.Thread(target=session._listen, args=(messages,), daemon=True).start()  # noqa: SLF001 - its other half
        self._sessions.put(session)
        for message in session._outgoing():  # noqa: SLF001 - ditto
            if isinstance(message, Status):
                context.abort_with_status(rpc_status.to_status(message))
            else:
                yield message


class ScriptedSession:
    """One stream of a unit."""

    def __init__(self, hello: Hello, peer: str) -> None:
        self.hello = hello
        # The unit's address, in gRPC's form.
        self.peer = peer
        # All reports of the session so far, in order.
        self.reports: list[Report] = []
        # The number of reports in each message.
        self.batches: list[int] = []
        self.heartbeats = 0
        # False: heartbeats are not acknowledged, as if they were lost.
        self.answers_heartbeats = True
        self._acknowledged = 0
        self._unread: list[Report] = []
        self._received: set[str] = set()
        self._changed = threading.Condition()
        self._to_send: queue.Queue[ServerMessage | Status | None] = queue.Queue()
        self._numbers = itertools.count(1)

    # Messages of the server.

    def welcome(
        self,
        unit_id: str = "unit-1",
        *,
        heartbeat_seconds: float = 5.0,
        lease_seconds: float = 30.0,
        verdicts: Iterable[Verdict] = (),
    ) -> None:
        """Send Welcome."""
        welcome = Welcome(
            unit_id=unit_id,
            session_id="session",
            heartbeat_interval=_duration(heartbeat_seconds),
            lease_duration=_duration(lease_seconds),
            verdicts=verdicts,
        )
        self.send(ServerMessage(welcome=welcome))

    def start(  # noqa: PLR0913 - a start has as many parts
        self,
        task_id: int,
        attempt: int,
        task_type: str,
        config: Mapping[str, Any] | None = None,
        *,
        checkpoint: Mapping[str, Any] | None = None,
        last_checkpoint_number: int = 0,
        command_id: str | None = None,
    ) -> str:
        """Start an attempt and return the command's id. A checkpoint gets the number `last_checkpoint_number`."""
        order = StartOrder(
            task_type=task_type,
            task_name=f"task {task_id}",
            config=to_struct(config or {}, "config"),
            last_checkpoint_number=last_checkpoint_number,
            max_retries=3,
        )
        if checkpoint is not None:
            data = to_struct(checkpoint, "checkpoint")
            order.checkpoint.CopyFrom(TaskCheckpoint(number=last_checkpoint_number, data=data))
        return self.command(Command(task_id=task_id, attempt=attempt, start=order), command_id)

    def pause(self, task_id: int, attempt: int, *, command_id: str | None = None) -> str:
        """Pause an attempt and return the command's id."""
        return self.command(Command(task_id=task_id, attempt=attempt, pause=PauseOrder()), command_id)

    def resume(
        self,
        task_id: int,
        attempt: int,
        *,
        held_attempt: int,
        last_checkpoint_number: int = 0,
        command_id: str | None = None,
    ) -> str:
        """Resume the held attempt under the number `attempt` and return the command's id."""
        order = ResumeOrder(held_attempt=held_attempt, last_checkpoint_number=last_checkpoint_number)
        return self.command(Command(task_id=task_id, attempt=attempt, resume=order), command_id)

    def cancel(self, task_id: int, attempt: int, *, command_id: str | None = None) -> str:
        """Cancel an attempt and return the command's id."""
        return self.command(Command(task_id=task_id, attempt=attempt, cancel=CancelOrder()), command_id)

    def drop(self, task_id: int, attempt: int, reason: DropReason.ValueType) -> str:
        """Drop an attempt and return the command's id."""
        return self.command(Command(task_id=task_id, attempt=attempt, drop=DropOrder(reason=reason)), None)

    def get_status(self, task_id: int, attempt: int) -> str:
        """Ask for an attempt's status and return the command's id."""
        return self.command(Command(task_id=task_id, attempt=attempt, get_status=GetStatusOrder()), None)

    def command(self, command: Command, command_id: str | None) -> str:
        """Send any command and return its id; None stands for a new id."""
        command.command_id = command_id or f"command-{id(self)}-{next(self._numbers)}"
        self.send(ServerMessage(commands=Commands(commands=[command])))
        return command.command_id

    def acknowledge(self, sequence: int | None = None) -> None:
        """Acknowledge the reports up to `sequence`, by default all received ones."""
        with self._changed:
            newest = self.reports[-1].sequence if self.reports else 0
            self._acknowledged = newest if sequence is None else sequence
            self.send(ServerMessage(ack=Ack(sequence=self._acknowledged)))

    def drain(self, timeout_seconds: float | None = None) -> None:
        """Send DrainRequest."""
        timeout = None if timeout_seconds is None else _duration(timeout_seconds)
        self.send(ServerMessage(drain=DrainRequest(timeout=timeout)))

    def send(self, message: ServerMessage) -> None:
        """Send any message."""
        self._to_send.put(message)

    def fail(
        self, code: grpc.StatusCode, text: str, *, reason: str = "", fields: Mapping[str, str] | None = None
    ) -> None:
        """End the stream with an error of the server's form."""
        violations = [
            BadRequest.FieldViolation(field=name, description=problem) for name, problem in (fields or {}).items()
        ]
        details = [ErrorInfo(reason=reason, domain="taskplane"), BadRequest(field_violations=violations)]
        packed = [AnyMessage() for _ in details]
        for box, detail in zip(packed, details, strict=True):
            box.Pack(detail)
        self._to_send.put(Status(code=code.value[0], message=text, details=packed))

    def close(self) -> None:
        """End the stream without an error."""
        self._to_send.put(None)

    # Messages of the unit.

    def expect(self, kind: ReportKind, *, task_id: int | None = None, command_id: str | None = None) -> Report:
        """Wait for a report of this kind, and return the oldest one that was not returned before."""
        found: list[Report] = []

        def find() -> bool:
            found.extend(
                report
                for report in self._unread
                if report.WhichOneof("kind") == kind
                and task_id in (None, report.task_id)
                and command_id in (None, report.command_id)
            )
            return bool(found)

        self._wait(find, kind)
        with self._changed:
            self._unread.remove(found[0])
        return found[0]

    def expect_heartbeats(self, count: int) -> None:
        """Wait until `count` heartbeats were received in this session."""
        self._wait(lambda: self.heartbeats >= count, f"{count} heartbeats")

    def expect_draining(self) -> None:
        """Wait for Draining."""
        self._wait(lambda: "draining" in self._received, "Draining")

    def expect_goodbye(self) -> None:
        """Wait for Goodbye."""
        self._wait(lambda: "goodbye" in self._received, "Goodbye")

    def expect_end(self) -> None:
        """Wait until the unit has closed its side or the connection broke."""
        self._wait(lambda: "end" in self._received, "the end of the stream")

    def kinds(self, task_id: int) -> list[str | None]:
        """Return the kinds of all received reports of a task, in order."""
        with self._changed:
            return [report.WhichOneof("kind") for report in self.reports if report.task_id == task_id]

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        with self._changed:
            if not self._changed.wait_for(condition, TIMEOUT_SECONDS):
                came = [(report.task_id, report.attempt, report.WhichOneof("kind")) for report in self.reports]
                raise AssertionError(f"no {what} has come, but {came} and {self._received}")

    def _listen(self, messages: Iterator[UnitMessage]) -> None:
        try:
            for message in messages:
                self._record(message)
        except grpc.RpcError:
            pass  # the connection broke
        with self._changed:
            self._received.add("end")
            self._changed.notify_all()
        self.close()

    def _record(self, message: UnitMessage) -> None:
        with self._changed:
            self._received.add(message.WhichOneof("body") or "")
            if message.HasField("heartbeat"):
                self.heartbeats += 1
                if self.answers_heartbeats:
                    self.send(ServerMessage(ack=Ack(sequence=self._acknowledged, heartbeat=message.heartbeat.number)))
            if message.HasField("reports"):
                self.batches.append(len(message.reports.reports))
                self.reports.extend(message.reports.reports)
                self._unread.extend(message.reports.reports)
            self._changed.notify_all()

    def _outgoing(self) -> Iterator[ServerMessage | Status]:
        while (message := self._to_send.get()) is not None:
            yield message


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromMilliseconds(round(seconds * 1000))
    return duration
