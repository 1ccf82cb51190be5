"""The ways of calls through the server stay short: a reader meets few files between the API and the unit's stream."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from rpc.raw_unit import RawUnit, checkpoint
from rpc.server import Wire
from rpc.tasks import spec

import taskplane.server
from taskplane.v1 import execution_unit_control_pb2 as unit_pb
from taskplane.v1 import task_pb2
from taskplane.v1 import task_service_pb2 as pb

SERVER = str(Path(taskplane.server.__path__[0]))
# Source files in which a call executes code; a pause includes the unit's reports. Lower a ceiling as soon as a way gets
# shorter.
CREATE_FILES = 50
PAUSE_FILES = 60
# The server's periodic work may run during some of these calls, never during all.
CALLS = 3


@contextmanager
def files_touched() -> Iterator[set[str]]:
    touched: set[str] = set()

    def note(frame: FrameType, event: str, arg: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(SERVER):
            touched.add(frame.f_code.co_filename.removeprefix(SERVER))

    sys.setprofile(note)
    try:
        yield touched
    finally:
        sys.setprofile(None)


async def created(wire: Wire, unit: RawUnit) -> unit_pb.Command:
    task = (await wire.tasks.CreateTask(pb.CreateTaskRequest(task=spec(start=True)))).task
    start = await unit.expect("start")
    assert (start.task_id, task.status) == (task.id, task_pb2.TASK_STATUS_RUNNING)
    return start


async def paused(wire: Wire, unit: RawUnit, task_id: int) -> None:
    call = wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=task_id))
    pause = await unit.expect("pause")
    await unit.accept(pause)
    await unit.report(pause, paused=unit_pb.PausedReport(checkpoint=checkpoint(1)))
    assert (await call).task.status == task_pb2.TASK_STATUS_PAUSED


def assert_at_most(ceiling: int, runs: list[set[str]]) -> None:
    files = set.intersection(*runs)
    assert any("store/transaction" in each for each in files), "the transaction is observed"
    assert len(files) <= ceiling, f"{len(files)} files: {sorted(files)}"


async def test_a_create_and_a_pause_touch_few_files(wire: Wire, unit: RawUnit) -> None:
    creates: list[set[str]] = []
    pauses: list[set[str]] = []
    for _ in range(CALLS):
        with files_touched() as files:
            start = await created(wire, unit)
        creates.append(files)
        await unit.accept(start)
        await unit.all_acknowledged()
        with files_touched() as files:
            await paused(wire, unit, start.task_id)
        pauses.append(files)
    assert_at_most(CREATE_FILES, creates)
    assert_at_most(PAUSE_FILES, pauses)
