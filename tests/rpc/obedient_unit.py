"""A raw unit that obeys every command at once, and never finishes a task on its own."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rpc.raw_unit import RawUnit, checkpoint

from taskplane.v1 import execution_unit_control_pb2 as pb


@asynccontextmanager
async def obeying(unit: RawUnit) -> AsyncIterator[None]:
    """Let the unit obey until the end of the context."""
    # A coroutine cancelled during a write cancels the stream, so obedience ends between two commands.
    at_work = asyncio.Lock()
    async with asyncio.TaskGroup() as group:
        obeys = group.create_task(_obey(unit, at_work))
        yield
        async with at_work:
            obeys.cancel()


async def _obey(unit: RawUnit, at_work: asyncio.Lock) -> None:
    last_checkpoint: Counter[int] = Counter()
    while True:
        await unit.any_command()
        async with at_work:
            await _carry_out(unit, unit.take_oldest(), last_checkpoint)


async def _carry_out(unit: RawUnit, command: pb.Command, last_checkpoint: Counter[int]) -> None:
    task_id = command.task_id
    await unit.accept(command)
    match command.WhichOneof("order"):
        case "start":
            last_checkpoint[task_id] = command.start.last_checkpoint_number
        case "pause":
            last_checkpoint[task_id] += 1
            paused = pb.PausedReport(checkpoint=checkpoint(last_checkpoint[task_id]))
            await unit.report(command, paused=paused)
        case "cancel":
            await unit.report(command, cancelled=pb.CancelledReport())
        case "resume" | "drop" | "get_status" | None:
            pass
