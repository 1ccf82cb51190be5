"""A unit that sends exactly the messages of its test, over the generated stubs alone."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import grpc
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct
from rpc.refusals import Refusal, read_refusal
from rpc.server import PATIENCE_SECONDS

from taskplane.v1 import execution_unit_control_pb2 as pb
from taskplane.v1 import execution_unit_control_pb2_grpc as pb_grpc
from taskplane.v1.execution_unit_pb2 import TaskTypeSupport

WORK = TaskTypeSupport(task_type="WORK", can_pause=True, can_checkpoint=True)


class NamesAnAttempt(Protocol):
    """A command, a held attempt or a verdict."""

    @property
    def task_id(self) -> int: ...
    @property
    def attempt(self) -> int: ...


class RawUnit:
    """One stream. Messages of the server are collected in the background; the test decides what the unit sends."""

    def __init__(self, stub: "pb_grpc.ExecutionUnitControlAsyncStub") -> None:
        self.welcome = pb.Welcome()
        # All commands of this session, in order.
        self.commands: list[pb.Command] = []
        self.acknowledged = 0
        self.acks = 0
        self.drains = 0
        self.rejected: list[pb.ReportRejected] = []
        self.ended = False
        self._error: grpc.aio.AioRpcError | None = None
        self._unread: list[pb.Command] = []
        self._sequence = 0
        # gRPC allows one write at a time.
        self._writing = asyncio.Lock()
        self._heard = asyncio.Condition()
        self._call = stub.Connect()
        self._listening = asyncio.create_task(self._listen())

    # Messages of the unit.

    async def say(self, **body: Any) -> None:
        """Send a message with the given body, such as `heartbeat=UnitHeartbeat()`."""
        async with self._writing:
            await self._call.write(pb.UnitMessage(**body))

    async def report(self, about: NamesAnAttempt, **kind: Any) -> None:
        """Report on an attempt, such as `succeeded=SucceededReport()`."""
        self._sequence += 1
        report = pb.Report(sequence=self._sequence, task_id=about.task_id, attempt=about.attempt, **kind)
        await self.say(reports=pb.Reports(reports=[report]))

    async def report_all(self, *reports: pb.Report) -> None:
        """Send reports in one message, numbered here."""
        for each in reports:
            self._sequence += 1
            each.sequence = self._sequence
        await self.say(reports=pb.Reports(reports=reports))

    async def accept(self, command: pb.Command) -> None:
        await self.report(command, command_id=command.command_id, accepted=pb.CommandAccepted())

    async def reject(self, command: pb.Command, reason: pb.RejectReason.ValueType, message: str = "") -> None:
        rejected = pb.CommandRejected(reason=reason, message=message)
        await self.report(command, command_id=command.command_id, rejected=rejected)

    async def half_close(self) -> None:
        """Close the unit's side, and wait until the server closes the other side."""
        await self._call.done_writing()
        await self._until(lambda: self.ended, "end of the stream")

    async def break_off(self) -> None:
        """End the stream as a broken connection does: without a word."""
        self._call.cancel()
        await asyncio.wait({self._listening})

    # Messages of the server.

    async def welcomed(self) -> pb.Welcome:
        await self._until(lambda: bool(self.welcome.session_id), "welcome")
        return self.welcome

    async def expect(self, order: str, *, task_id: int | None = None) -> pb.Command:
        """Wait for a command of the given kind, each returned once."""

        def found() -> pb.Command | None:
            matching = (
                each for each in self._unread if each.WhichOneof("order") == order and task_id in (None, each.task_id)
            )
            return next(matching, None)

        await self._until(lambda: found() is not None, f"command {order}")
        command = found()
        assert command is not None
        self._unread.remove(command)
        return command

    async def any_command(self) -> None:
        """Wait without a limit for a command, each returned once."""
        async with self._heard:
            await self._heard.wait_for(lambda: bool(self._unread))

    def take_oldest(self) -> pb.Command:
        """Return the oldest command not returned before."""
        return self._unread.pop(0)

    async def all_acknowledged(self) -> None:
        """Wait until all reports sent so far are durable."""
        await self._until(lambda: self.acknowledged == self._sequence, "acknowledgement")

    async def ack_number(self, count: int) -> None:
        """Wait for a number of acks, whatever their content."""
        await self._until(lambda: self.acks >= count, f"{count} acks")

    async def drain_requested(self) -> None:
        """Wait until an operator wants the unit gone."""
        await self._until(lambda: self.drains > 0, "drain")

    async def rejection(self) -> pb.ReportRejected:
        """Wait for the first refused report."""
        await self._until(lambda: bool(self.rejected), "rejection of a report")
        return self.rejected[0]

    async def refusal(self) -> Refusal:
        """Wait for the error with which the server ends the stream."""
        await asyncio.wait({self._listening}, timeout=PATIENCE_SECONDS)
        assert self._error is not None, "the stream has not ended with an error"
        return read_refusal(self._error)

    async def _until(self, condition: Callable[[], bool], what: str) -> None:
        def is_over() -> bool:
            return condition() or self._listening.done() or self.ended

        async with asyncio.timeout(PATIENCE_SECONDS), self._heard:
            await self._heard.wait_for(is_over)
        assert condition(), f"no {what}; the stream has ended: {self._error}, commands: {self.commands}"

    async def _listen(self) -> None:
        try:
            async for message in self._call:
                await self._hear(message)
        except grpc.aio.AioRpcError as error:
            self._error = error
        finally:
            async with self._heard:
                self.ended = True
                self._heard.notify_all()

    async def _hear(self, message: pb.ServerMessage) -> None:
        async with self._heard:
            match message.WhichOneof("body"):
                case "welcome":
                    assert not self.welcome.session_id, "a second welcome"
                    self.welcome = message.welcome
                case "commands":
                    self.commands += message.commands.commands
                    self._unread += message.commands.commands
                case "ack":
                    assert self.acknowledged <= message.ack.sequence <= self._sequence, "acks only grow"
                    self.acknowledged = message.ack.sequence
                    self.acks += 1
                case "drain":
                    self.drains += 1
                case "report_rejected":
                    self.rejected.append(message.report_rejected)
                case None:
                    pass
            assert self.welcome.session_id, "the welcome comes first"
            self._heard.notify_all()


def hello(unit_id: str = "unit-1", **changes: Any) -> pb.Hello:
    """Return a good introduction: one slot for tasks of type WORK."""
    introduction: dict[str, Any] = {
        "protocol_version": 1,
        "unit_id": unit_id,
        "boot_id": "boot",
        "unit_type": "TEST",
        "unit_name": "unit under test",
        "capacity": 1,
        "task_types": [WORK],
    }
    return pb.Hello(**(introduction | changes))


def checkpoint(number: int, **data: Any) -> pb.CheckpointReport:
    return pb.CheckpointReport(number=number, data=struct(data))


def struct(data: dict[str, Any]) -> Struct:
    return json_format.ParseDict(data, Struct())
