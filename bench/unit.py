"""The bench's unit: raw protocol, no SDK, as little work as there can be. Run as a process: `python -m bench.unit`.

`answer` succeeds each task at once. `hold` runs until it is told to pause or cancel, and prints `start TASK_ID
NANOSECONDS` when a start arrives (CLOCK_MONOTONIC, which all processes share). `progress` reports so often a second.
"""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Iterable

import grpc
import uvloop

from taskplane.v1 import execution_unit_control_pb2 as pb
from taskplane.v1.execution_unit_control_pb2_grpc import ExecutionUnitControlStub
from taskplane.v1.execution_unit_pb2 import TaskTypeSupport

TASK_TYPE = "BENCH"
HEARTBEAT_SECONDS = 5.0
# How many units may be on their way in at once.
CONNECTING = 50
# A connection of its own for each unit, as if each were a process of its own.
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


class BenchUnit:
    """One connected unit."""

    def __init__(self, channel: grpc.aio.Channel, name: str, capacity: int, mode: str, rate: float) -> None:
        self._stub = ExecutionUnitControlStub(channel)
        self._name = name
        self._capacity = capacity
        self._mode = mode
        self._rate = rate
        self._sequence = 0
        self._outbox: asyncio.Queue[pb.Report] = asyncio.Queue()
        self._reporting: dict[int, asyncio.Task[None]] = {}
        self.welcomed = asyncio.Event()

    async def run(self) -> None:
        """Work until the stream ends."""
        async for message in self._stub.Connect(self._messages()):
            match message.WhichOneof("body"):
                case "welcome":
                    self.welcomed.set()
                case "commands":
                    self._take(message.commands.commands)
                case _:
                    pass  # what was acknowledged is not kept

    async def _messages(self) -> AsyncIterator[pb.UnitMessage]:
        support = TaskTypeSupport(task_type=TASK_TYPE, can_pause=True, can_checkpoint=True)
        hello = pb.Hello(
            protocol_version=1,
            unit_id=self._name,
            boot_id=str(time.monotonic_ns()),
            unit_type="BENCH",
            unit_name=self._name,
            capacity=self._capacity,
            task_types=[support],
            sdk="bench",
        )
        yield pb.UnitMessage(hello=hello)
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    first = await self._outbox.get()
            except TimeoutError:
                yield pb.UnitMessage(heartbeat=pb.UnitHeartbeat())
            else:
                yield pb.UnitMessage(reports=pb.Reports(reports=self._numbered(first)))

    def _numbered(self, first: pb.Report) -> list[pb.Report]:
        reports = [first, *(self._outbox.get_nowait() for _ in range(self._outbox.qsize()))]
        for report in reports:
            self._sequence += 1
            report.sequence = self._sequence
        return reports

    def _take(self, commands: Iterable[pb.Command]) -> None:
        for command in commands:
            if command.HasField("start") and self._mode == "hold":
                print("start", command.task_id, time.monotonic_ns(), flush=True)
            self._report(command, accepted=pb.CommandAccepted())
            match command.WhichOneof("order"):
                case "start":
                    self._start(command)
                case "pause":
                    checkpoint = pb.CheckpointReport(number=1)
                    checkpoint.data.update({"row": 1})
                    self._report(command, paused=pb.PausedReport(checkpoint=checkpoint))
                case "cancel":
                    self._stop(command)
                case _:
                    pass

    def _start(self, command: pb.Command) -> None:
        if self._mode == "answer":
            self._report(command, succeeded=pb.SucceededReport())
        elif self._mode == "progress":
            self._reporting[command.task_id] = asyncio.create_task(self._progress(command))

    async def _progress(self, command: pb.Command) -> None:
        due = time.monotonic()
        while True:
            due += 1.0 / self._rate
            await asyncio.sleep(due - time.monotonic())
            self._report(command, progress=pb.ProgressReport(fraction=0.5, message="half way"))

    def _stop(self, command: pb.Command) -> None:
        if reporting := self._reporting.pop(command.task_id, None):
            reporting.cancel()
        self._report(command, cancelled=pb.CancelledReport())

    def _report(self, command: pb.Command, **kind: object) -> None:
        report = pb.Report(task_id=command.task_id, attempt=command.attempt, command_id=command.command_id, **kind)  # type: ignore[arg-type]  # one of the kinds
        self._outbox.put_nowait(report)


async def main(options: argparse.Namespace) -> None:
    """Connect all units, some at a time, say so, and work."""
    free = asyncio.Semaphore(CONNECTING)

    async def connect(number: int) -> None:
        channel = grpc.aio.insecure_channel(options.server, OWN_CONNECTION)
        unit = BenchUnit(channel, f"bench-{number}", options.capacity, options.mode, options.rate)
        async with free:
            group.create_task(unit.run())
            await unit.welcomed.wait()

    async with asyncio.TaskGroup() as group:
        await asyncio.gather(*(connect(number) for number in range(options.units)))
        print("ready", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("server")
    parser.add_argument("mode", choices=["answer", "hold", "progress"])
    parser.add_argument("--units", type=int, default=1)
    parser.add_argument("--capacity", type=int, default=200)
    parser.add_argument("--rate", type=float, default=1.0)
    uvloop.run(main(parser.parse_args()))
