"""An execution unit without the SDK, written from the protos alone.

    python examples/raw_unit.py 127.0.0.1:50051 raw-counter-1

The unit takes tasks of type RAW_COUNT and counts to `config["to"]`, one step every `config["step_seconds"]`. Numbers in
comments refer to the list in protos/taskplane/v1/execution_unit_control.proto. For shortness, the unit stops counting
without a connection, though work could continue until shortly before the end of the lease (5); the unit remembers every
command forever; and the only way to stop the unit is to kill the process (6).
"""

import queue
import random
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from taskplane.v1 import execution_unit_control_pb2 as pb
from taskplane.v1.execution_unit_control_pb2_grpc import ExecutionUnitControlStub
from taskplane.v1.execution_unit_pb2 import TaskTypeSupport

NEEDS_A_PERSON = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}
# Another process has this unit's id (7), alive or as the successor of this silent process.
ID_TAKEN = {grpc.StatusCode.ALREADY_EXISTS, grpc.StatusCode.ABORTED}
Key = tuple[int, int]  # task id, attempt
Inbox = queue.SimpleQueue[pb.ServerMessage | grpc.RpcError | None]


@dataclass
class Count:
    """The work of one attempt."""

    to: int
    step_seconds: float
    done: int
    checkpoint_number: int
    is_paused: bool = False

    @property
    def state(self) -> pb.AttemptState.ValueType:
        """The state in the unit's inventory."""
        return pb.ATTEMPT_STATE_PAUSED if self.is_paused else pb.ATTEMPT_STATE_RUNNING

    @property
    def progress(self) -> pb.ProgressReport:
        """The current progress."""
        return pb.ProgressReport(fraction=self.done / self.to, message=f"at {self.done}")

    def status(self) -> pb.AttemptStatusReport:
        """Return the response to get_status."""
        return pb.AttemptStatusReport(
            state=self.state, progress=self.progress, checkpoint_number=self.checkpoint_number
        )

    def checkpoint(self) -> pb.CheckpointReport:
        """Return a new checkpoint for any process to continue from."""
        self.checkpoint_number += 1
        data = Struct()
        data["done"] = self.done
        return pb.CheckpointReport(number=self.checkpoint_number, data=data)


class CountingUnit:
    """The unit. One thread does all work; a second thread reads the stream."""

    def __init__(self, unit_id: str) -> None:
        """Use a lasting id: a restarted unit keeps its tasks."""
        count = TaskTypeSupport(task_type="RAW_COUNT", can_pause=True, can_checkpoint=True)
        self.hello = pb.Hello(
            protocol_version=1,
            unit_id=unit_id,
            boot_id=uuid.uuid4().hex,
            unit_type="COUNTER",
            unit_name=unit_id,
            capacity=2,
            task_types=[count],
        )
        self.counts: dict[Key, Count] = {}
        self.responses: dict[str, dict[str, Any]] = {}  # by command id, for repeated commands (2)
        self.unacknowledged: list[pb.Report] = []
        self.sequence = 0
        self.outgoing: queue.SimpleQueue[pb.UnitMessage | None] = queue.SimpleQueue()

    def run(self, server: str) -> None:
        """Connect, and reconnect forever (5)."""
        while True:
            try:
                with grpc.insecure_channel(server) as channel:
                    self.run_session(ExecutionUnitControlStub(channel))
            except grpc.RpcError as error:
                if error.code() in NEEDS_A_PERSON:
                    sys.exit(f"the server refuses this unit: {error.details()}")
                if error.code() in ID_TAKEN:
                    sys.stderr.write(f"waiting for this unit's id: {error.details()}\n")
                    time.sleep(random.uniform(1, 5))  # noqa: S311  (spreads units, hides nothing)
            time.sleep(random.uniform(0, 0.5))  # noqa: S311  (spreads units, hides nothing)

    def run_session(self, stub: ExecutionUnitControlStub) -> None:
        """Run one session."""
        self.sequence, self.outgoing = 0, queue.SimpleQueue()
        hello = pb.Hello(inventory=self.inventory())
        hello.MergeFrom(self.hello)
        self.outgoing.put(pb.UnitMessage(hello=hello))  # (1)
        inbox: Inbox = queue.SimpleQueue()
        stream = stub.Connect(iter(self.outgoing.get, None))
        threading.Thread(target=read, args=(stream, inbox), daemon=True).start()
        welcome = inbox.get()
        if isinstance(welcome, pb.ServerMessage):
            self.begin(welcome.welcome)
            heartbeat_seconds = welcome.welcome.heartbeat_interval.ToMilliseconds() / 1000
            welcome = self.work(inbox, heartbeat_seconds)
        self.outgoing.put(None)
        if isinstance(welcome, grpc.RpcError):
            raise welcome

    def inventory(self) -> Iterator[pb.HeldAttempt]:
        """Yield the held attempts, and the ended attempts without an acknowledgement."""
        for (task_id, attempt), count in self.counts.items():
            number = count.checkpoint_number
            yield pb.HeldAttempt(task_id=task_id, attempt=attempt, state=count.state, checkpoint_number=number)
        for task_id, attempt in {key_of(each) for each in self.unacknowledged} - self.counts.keys():
            yield pb.HeldAttempt(task_id=task_id, attempt=attempt, state=pb.ATTEMPT_STATE_ENDED)

    def begin(self, welcome: pb.Welcome) -> None:
        """Apply the verdicts, and send unacknowledged reports again (3)."""
        self.hello.unit_id = welcome.unit_id
        verdicts = {key_of(each): each.action for each in welcome.verdicts}
        for key, action in verdicts.items():
            if action == pb.VERDICT_ACTION_DROP:
                self.counts.pop(key, None)
            elif action == pb.VERDICT_ACTION_PAUSE and key in self.counts:
                self.counts[key].is_paused = True
        again, self.unacknowledged = self.unacknowledged, []
        for report in again:
            if verdicts.get(key_of(report)) != pb.VERDICT_ACTION_DROP:
                self.send(report)

    def work(self, inbox: Inbox, heartbeat_seconds: float) -> grpc.RpcError | None:
        """Handle commands and count in between; return the error of the stream, or None."""
        while True:
            steps = [count.step_seconds for count in self.counts.values() if not count.is_paused]
            try:
                message = inbox.get(timeout=min([heartbeat_seconds, *steps]))
            except queue.Empty:
                self.step()
                continue
            if not isinstance(message, pb.ServerMessage):
                return message
            for command in message.commands.commands:
                self.handle(command)
            if message.HasField("ack"):
                self.unacknowledged = [each for each in self.unacknowledged if each.sequence > message.ack.sequence]

    def step(self) -> None:
        """Count one step, or send a heartbeat (4)."""
        active = [key for key, count in self.counts.items() if not count.is_paused]
        if not active:
            self.outgoing.put(pb.UnitMessage(heartbeat=pb.UnitHeartbeat()))
        for key in active:
            count = self.counts[key]
            count.done += 1
            self.report(key, progress=count.progress)
            if count.done == count.to:
                del self.counts[key]
                result = Struct()
                result["counted"] = count.done
                self.report(key, succeeded=pb.SucceededReport(result=result))
            elif count.done % 10 == 0:
                self.report(key, checkpoint=count.checkpoint())

    def handle(self, command: pb.Command) -> None:
        """Respond to a command, then execute the command; a repeated command only gets the same response again (2)."""
        key, order = key_of(command), command.WhichOneof("order")
        if order == "get_status" and key in self.counts:  # the only response, without `accepted`
            self.report(key, command_id=command.command_id, attempt_status=self.counts[key].status())
            return
        held = (command.task_id, command.resume.held_attempt) if order == "resume" else key
        is_known = order in {"start", "drop"} or held in self.counts
        is_new = command.command_id not in self.responses
        if is_new:
            rejection = pb.CommandRejected(reason=pb.REJECT_REASON_UNKNOWN_ATTEMPT)
            response = {"accepted": pb.CommandAccepted()} if is_known else {"rejected": rejection}
            self.responses[command.command_id] = response
        self.report(key, command_id=command.command_id, **self.responses[command.command_id])
        if is_new and is_known:
            self.execute(command, key, held)

    def execute(self, command: pb.Command, key: Key, held: Key) -> None:
        """Execute a new command; `held` is the key of the attempt in this unit."""
        match command.WhichOneof("order"):
            case "start":
                start = command.start
                config, begin = MessageToDict(start.config), MessageToDict(start.checkpoint.data)
                done = int(begin.get("done", 0))
                self.counts[key] = Count(config["to"], config["step_seconds"], done, start.last_checkpoint_number)
            case "pause":
                self.counts[key].is_paused = True
                self.report(key, paused=pb.PausedReport(checkpoint=self.counts[key].checkpoint()))
            case "resume":
                self.counts[key] = self.counts.pop(held)
                self.counts[key].is_paused = False
            case "cancel":
                del self.counts[key]
                self.report(key, cancelled=pb.CancelledReport(message="nothing to clean up"))
            case "drop":
                self.counts.pop(key, None)
            case "get_status":
                pass  # of an unknown attempt: rejected
            case None:
                pass  # an unknown order: rejected

    def report(self, key: Key, **kind: Any) -> None:
        """Send a report about an attempt."""
        self.send(pb.Report(task_id=key[0], attempt=key[1], **kind))

    def send(self, report: pb.Report) -> None:
        """Send a report, and keep the report until its acknowledgement (3)."""
        self.sequence += 1
        report.sequence = self.sequence
        self.unacknowledged.append(report)
        self.outgoing.put(pb.UnitMessage(reports=pb.Reports(reports=[report])))


def key_of(about: pb.Command | pb.Report | pb.Verdict) -> Key:
    """Return the key of a message's attempt."""
    return about.task_id, about.attempt


def read(stream: Iterator[pb.ServerMessage], inbox: Inbox) -> None:
    """Put the server's messages into the inbox, then the error of the stream, or None."""
    try:
        for message in stream:
            inbox.put(message)
    except grpc.RpcError as error:
        inbox.put(error)
    else:
        inbox.put(None)


if __name__ == "__main__":
    CountingUnit(sys.argv[2]).run(sys.argv[1])
