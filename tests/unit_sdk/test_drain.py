"""The drain of a unit."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taskplane.protocol.structs import to_dict
from taskplane.unit import SyncTaskContext, TaskContext, TaskReleased, Unit
from taskplane.unit.report_queue import WINDOW_SIZE
from taskplane.unit.stream.session import StreamSession
from taskplane.unit.testing import ScriptedServer
from taskplane.v1.execution_unit_control_pb2 import RejectReason

Run = Callable[[Unit], Any]


@pytest.fixture
def unit(server: ScriptedServer) -> Unit:
    """Return a unit with plenty of time to drain."""
    return Unit(name="leaver", type="TEST", capacity=4, server=server.address, drain_seconds=60)


class Worker:
    """Registers an executor for work until an interruption."""

    def __init__(self, unit: Unit) -> None:
        self.ended_by: list[type[BaseException]] = []
        unit.task("WORK")(self.work)

    async def work(self, task: TaskContext, config: dict[str, Any]) -> None:
        row = 0
        try:
            while True:
                row += 1
                await asyncio.sleep(0.001)
                await task.safe_point({"row": row})
        except BaseException as error:
            self.ended_by.append(type(error))
            raise


def test_a_unit_that_stops_gives_back_what_runs_and_says_goodbye(unit: Unit, server: ScriptedServer, run: Run) -> None:
    worker = Worker(unit)
    running = run(unit)
    session = server.session()
    session.welcome()
    session.start(1, 1, "WORK", last_checkpoint_number=3)
    session.expect("accepted")
    unit.stop()
    session.expect_draining()
    released = session.expect("released").released
    assert "goodbye" not in session._received
    session.acknowledge()
    session.expect_goodbye()
    session.expect_end()
    running.join()

    assert running.error is None
    assert worker.ended_by == [TaskReleased]
    assert released.checkpoint.number == 4
    assert to_dict(released.checkpoint.data)["row"] > 0


def test_what_is_paused_is_let_go_without_a_word(unit: Unit, server: ScriptedServer, run: Run) -> None:
    worker = Worker(unit)
    running = run(unit)
    session = server.session()
    session.welcome()
    session.start(1, 1, "WORK")
    session.pause(1, 1)
    session.expect("paused")
    unit.stop()
    session.expect_draining()
    session.acknowledge()
    session.expect_goodbye()
    running.join()

    assert worker.ended_by == [TaskReleased]
    assert session.kinds(1) == ["accepted", "accepted", "paused"]


def test_a_draining_unit_takes_on_nothing_new(unit: Unit, server: ScriptedServer, run: Run) -> None:
    may_end = threading.Event()

    @unit.task("LONG")
    def long(task: SyncTaskContext, config: dict[str, Any]) -> None:
        may_end.wait()

    run(unit)
    session = server.session()
    session.welcome()
    session.start(1, 1, "LONG")
    session.expect("accepted")
    unit.stop()
    session.expect_draining()
    session.start(2, 1, "LONG")
    refused = session.expect("rejected")
    may_end.set()
    session.expect("succeeded", task_id=1)  # it could not be released, and finished
    session.acknowledge()
    session.expect_goodbye()

    assert refused.rejected.reason == RejectReason.REJECT_REASON_DRAINING


def test_an_operators_drain_is_a_stop(unit: Unit, server: ScriptedServer, run: Run) -> None:
    Worker(unit)
    running = run(unit)
    session = server.session()
    session.welcome()
    session.start(1, 1, "WORK")
    session.drain()
    session.expect_draining()
    session.expect("released")
    session.acknowledge()
    session.expect_goodbye()
    running.join()


def test_a_drain_waits_for_the_server_to_come_back(unit: Unit, server: ScriptedServer, run: Run) -> None:
    Worker(unit)
    running = run(unit)
    first = server.session()
    first.welcome()
    first.start(1, 1, "WORK")
    first.expect("accepted")
    server.go_away()
    unit.stop()
    server.listen()
    second = server.session()
    second.welcome()
    second.expect_draining()
    second.expect("released")
    second.acknowledge()
    second.expect_goodbye()
    running.join()


@pytest.mark.parametrize("kind", ["COROUTINE", "FUNCTION"])
def test_what_does_not_come_to_a_safe_point_in_time_is_lost(server: ScriptedServer, run: Run, kind: str) -> None:
    unit = Unit(name="hasty", type="TEST", server=server.address, drain_seconds=0.05)
    unblock = threading.Event()

    @unit.task("COROUTINE")
    async def stuck_coroutine(task: TaskContext, config: dict[str, Any]) -> None:
        await asyncio.Event().wait()

    @unit.task("FUNCTION")
    def stuck_function(task: SyncTaskContext, config: dict[str, Any]) -> None:
        unblock.wait()

    running = run(unit)
    session = server.session()
    session.welcome()
    session.start(1, 1, kind)
    session.expect("accepted")
    session.acknowledge()
    unit.stop()
    session.expect_goodbye()
    running.join()
    unblock.set()

    assert running.error is None
    assert session.kinds(1) == ["accepted"]


def test_an_operators_bound_counts_too(unit: Unit, server: ScriptedServer, run: Run) -> None:
    @unit.task("STUCK")
    async def stuck(task: TaskContext, config: dict[str, Any]) -> None:
        await asyncio.Event().wait()

    running = run(unit)
    session = server.session()
    session.welcome()
    session.start(1, 1, "STUCK")
    session.expect("accepted")
    session.drain(timeout_seconds=0.05)
    session.expect_goodbye()
    running.join()


def test_goodbye_comes_after_all_that_waits_to_be_sent(
    server: ScriptedServer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = Unit(name="talkative", type="TEST", server=server.address, drain_seconds=0.05)
    is_leaving, unblock = threading.Event(), threading.Event()
    say_goodbye = StreamSession.say_goodbye

    def say_goodbye_and_notify(session: StreamSession) -> None:
        say_goodbye(session)
        is_leaving.set()

    @unit.task("TALKS")
    def talks(task: SyncTaskContext, config: dict[str, Any]) -> None:
        for row in range(WINDOW_SIZE + 10):
            task.report(checkpoint={"row": row})
        unblock.wait()

    monkeypatch.setattr(StreamSession, "say_goodbye", say_goodbye_and_notify)
    running = run(unit)
    session = server.session()
    session.welcome(heartbeat_seconds=0.01)
    session.start(1, 1, "TALKS")
    for _ in range(WINDOW_SIZE - 1):
        session.expect("checkpoint")
    unit.stop()
    assert is_leaving.wait(20)
    session.expect_heartbeats(session.heartbeats + 3)
    session.acknowledge()
    session.expect_goodbye()
    unblock.set()
    running.join()

    assert session.kinds(1).count("checkpoint") == WINDOW_SIZE + 10


def test_a_unit_can_leave_without_ever_having_been_connected(unit: Unit, server: ScriptedServer, run: Run) -> None:
    Worker(unit)
    server.go_away()
    running = run(unit)
    unit.stop()
    running.join()

    assert running.error is None


def test_a_unit_that_was_stopped_before_does_not_run(unit: Unit, run: Run) -> None:
    Worker(unit)
    unit.stop()
    run(unit).join()


async def test_a_unit_runs_in_a_loop_that_runs_already(unit: Unit, server: ScriptedServer) -> None:
    Worker(unit)
    running = asyncio.create_task(unit.run_async())
    session = await asyncio.to_thread(server.session)
    session.welcome()
    unit.stop()
    await running


async def test_cancelling_run_async_stops_the_unit(unit: Unit, server: ScriptedServer) -> None:
    worker = Worker(unit)
    running = asyncio.create_task(unit.run_async())
    session = await asyncio.to_thread(server.session)
    session.welcome()
    session.start(1, 1, "WORK")
    await asyncio.to_thread(session.expect, "accepted")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    await asyncio.to_thread(session.expect_end)
    assert worker.ended_by == [asyncio.CancelledError]


PROGRAM = """
import threading
from taskplane.unit import Unit

unit = Unit(name="process", type="TEST", server="{server}")

@unit.task("SLOW")
def slow(task, config):
    threading.Event().wait()

@unit.task("WORK")
def work(task, config):
    while True:
        task.safe_point({{"row": 1}})

unit.run()
print("left", flush=True)
"""


@pytest.fixture
def process(server: ScriptedServer, tmp_path: Path) -> Any:
    program = tmp_path / "unit.py"
    program.write_text(PROGRAM.format(server=server.address))
    with subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - ours
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains(server: ScriptedServer, process: "subprocess.Popen[str]", number: signal.Signals) -> None:
    session = server.session()
    session.welcome()
    session.start(1, 1, "WORK")
    session.expect("accepted")
    os.kill(process.pid, number)
    session.expect("released")
    session.acknowledge()
    session.expect_goodbye()

    assert process.communicate(timeout=20)[0] == "left\n"
    assert process.returncode == 0


def test_a_second_signal_ends_at_once(server: ScriptedServer, process: "subprocess.Popen[str]") -> None:
    session = server.session()
    session.welcome()
    session.start(1, 1, "SLOW")
    session.expect("accepted")
    os.kill(process.pid, signal.SIGTERM)
    session.expect_draining()
    os.kill(process.pid, signal.SIGTERM)

    assert process.wait(timeout=20) == -signal.SIGTERM
