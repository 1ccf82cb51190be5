"""Safe points for pause and drain: plain reports are none if the executor makes checkpoints."""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from unit_sdk.conftest import TIMEOUT_SECONDS
from unit_sdk.steps import Connect, both_kinds

from taskplane.protocol.structs import to_dict
from taskplane.unit import SyncTaskContext, TaskCancelled, TaskContext, TaskDropped, TaskReleased, Unit, safe_points
from taskplane.unit.testing import ScriptedServer, ScriptedSession
from taskplane.v1.execution_unit_control_pb2 import AttemptState, DropReason, Verdict, VerdictAction


class Rows:
    """An executor with a progress report before each safe point: one row for each release of `go`."""

    def __init__(self, unit: Unit, *, bare: bool = False, can_checkpoint: bool | None = None) -> None:
        self.go = threading.Semaphore(0)
        # Counts the waits for `go`: the executor is past the safe point before.
        self.waiting = threading.Semaphore(0)
        # Counts the reports without a stop.
        self.reported = threading.Semaphore(0)
        self.ended_by: type[BaseException] | None = None
        self._bare = bare
        unit.task("FUNCTION", can_checkpoint=can_checkpoint)(self.function)
        unit.task("COROUTINE", can_checkpoint=can_checkpoint)(self.coroutine)

    def function(self, task: SyncTaskContext, config: dict[str, Any]) -> None:
        try:
            for row in range(1, 1000):
                self.waiting.release()
                self.go.acquire()
                task.report(row / 1000, f"row {row}")
                self.reported.release()
                if not self._bare:
                    task.safe_point(lambda row=row: {"row": row})
        except BaseException as error:
            self.ended_by = type(error)
            raise

    async def coroutine(self, task: TaskContext, config: dict[str, Any]) -> None:
        try:
            for row in range(1, 1000):
                self.waiting.release()
                await asyncio.to_thread(self.go.acquire)
                await task.report(row / 1000, f"row {row}")
                self.reported.release()
                if not self._bare:
                    await task.safe_point(lambda row=row: {"row": row})
        except BaseException as error:
            self.ended_by = type(error)
            raise


def ask(session: ScriptedSession, verb: Callable[..., str], *args: Any) -> None:
    """Send a command and wait for the acceptance, so the command is pending afterwards."""
    session.expect("accepted", command_id=verb(*args))


def ask_to_pause(session: ScriptedSession, attempt: int) -> None:
    """Send a pause and wait until its signal is set: commands are executed in order, so before the next response."""
    ask(session, session.pause, 1, attempt)
    session.expect("attempt_status", command_id=session.get_status(1, attempt))


@pytest.fixture
def no_safe_point_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_points, "SAFE_POINT_TIMEOUT_SECONDS", 0.0)


@both_kinds
def test_a_pause_passes_over_a_report_and_takes_hold_where_there_is_a_checkpoint(
    unit: Unit, connect: Connect, kind: str
) -> None:
    rows = Rows(unit)
    session = connect(unit)
    session.start(1, 1, kind)
    ask_to_pause(session, 1)
    rows.go.release()

    paused = session.expect("paused").paused
    assert to_dict(paused.checkpoint.data) == {"row": 1}
    assert paused.progress.message == "row 1"

    ask(session, lambda: session.resume(1, 2, held_attempt=1))
    for _ in range(2):
        assert rows.waiting.acquire(timeout=TIMEOUT_SECONDS)
    ask_to_pause(session, 2)
    rows.go.release()
    assert to_dict(session.expect("paused").paused.checkpoint.data) == {"row": 2}
    session.cancel(1, 2)
    session.expect("cancelled")


@both_kinds
def test_what_is_reported_while_a_pause_waits_is_sent(unit: Unit, connect: Connect, kind: str) -> None:
    rows = Rows(unit, bare=True, can_checkpoint=True)
    session = connect(unit)
    session.start(1, 1, kind)
    ask_to_pause(session, 1)
    rows.go.release()

    assert session.expect("progress").progress.message == "row 1"
    ask(session, session.cancel, 1, 1)
    rows.go.release()
    session.expect("cancelled")


@both_kinds
def test_a_drain_gives_back_what_has_a_checkpoint(server: ScriptedServer, connect: Connect, kind: str) -> None:
    unit = Unit(name="leaver", type="TEST", server=server.address, drain_seconds=20)
    rows = Rows(unit)
    session = connect(unit)
    session.start(1, 1, kind)
    rows.go.release()
    session.expect("progress")
    unit.stop()
    session.expect_draining()
    rows.go.release()

    assert to_dict(session.expect("released").released.checkpoint.data) == {"row": 2}
    session.acknowledge()
    session.expect_goodbye()
    assert rows.ended_by is TaskReleased


@both_kinds
def test_a_cancel_takes_hold_at_any_report(unit: Unit, connect: Connect, kind: str) -> None:
    rows = Rows(unit)
    session = connect(unit)
    session.start(1, 1, kind)
    ask_to_pause(session, 1)
    ask(session, session.cancel, 1, 1)
    rows.go.release()

    session.expect("cancelled")
    assert rows.ended_by is TaskCancelled
    assert not rows.reported.acquire(blocking=False)


class Fenced:
    """An executor with plain reports until `may_go_to_safe_point`, and an expired lease."""

    def __init__(self, unit: Unit, server: ScriptedServer) -> None:
        self._server = server
        self.may_go_to_safe_point = threading.Event()
        unit.task("WORK", can_checkpoint=True)(self.work)

    def work(self, task: SyncTaskContext, config: dict[str, Any]) -> None:
        while not self.may_go_to_safe_point.wait(0.002):
            task.report(0.5, "bare")
        task.safe_point(lambda: {"row": 1})

    def next_session(self, *, to_be_paused: bool) -> ScriptedSession:
        """Start the work, let the lease end, and return the first session with the attempt held."""
        session = self._server.session()
        session.welcome(heartbeat_seconds=0.1, lease_seconds=0.5)
        session.start(1, 1, "WORK")
        session.expect("progress")
        if to_be_paused:
            ask_to_pause(session, 1)
        session.answers_heartbeats = False
        while True:
            session = self._server.session()
            if session.hello.inventory[0].state == AttemptState.ATTEMPT_STATE_PAUSED:
                return session
            session.close()


@pytest.mark.parametrize("to_be_paused", [True, False])
def test_the_fence_holds_at_a_report_and_a_pause_takes_hold_where_there_is_a_checkpoint(
    unit: Unit, server: ScriptedServer, run: Callable[[Unit], object], *, to_be_paused: bool
) -> None:
    work = Fenced(unit, server)
    run(unit)
    session = work.next_session(to_be_paused=to_be_paused)
    work.may_go_to_safe_point.set()
    session.welcome(verdicts=[Verdict(task_id=1, attempt=1, action=VerdictAction.VERDICT_ACTION_PAUSE)])

    assert to_dict(session.expect("paused").paused.checkpoint.data) == {"row": 1}
    session.resume(1, 2, held_attempt=1)
    session.expect("succeeded")


def test_a_pause_outlives_the_fence(unit: Unit, server: ScriptedServer, run: Callable[[Unit], object]) -> None:
    work = Fenced(unit, server)
    run(unit)
    session = work.next_session(to_be_paused=True)
    session.welcome(verdicts=[Verdict(task_id=1, attempt=1, action=VerdictAction.VERDICT_ACTION_KEEP)])
    session.expect("progress")
    session.expect("progress")  # the first may be older than the hold
    work.may_go_to_safe_point.set()

    assert to_dict(session.expect("paused").paused.checkpoint.data) == {"row": 1}


def test_a_drain_outlives_the_fence(server: ScriptedServer, run: Callable[[Unit], object]) -> None:
    unit = Unit(name="leaver", type="TEST", server=server.address, drain_seconds=20)
    work = Fenced(unit, server)
    run(unit)
    session = work.next_session(to_be_paused=False)
    unit.stop()
    session.welcome(verdicts=[Verdict(task_id=1, attempt=1, action=VerdictAction.VERDICT_ACTION_KEEP)])
    session.expect_draining()
    work.may_go_to_safe_point.set()

    assert to_dict(session.expect("released").released.checkpoint.data) == {"row": 1}
    session.acknowledge()
    session.expect_goodbye()


@pytest.mark.usefixtures("no_safe_point_timeout")
@both_kinds
def test_an_executor_without_safe_points_is_paused_at_a_report_after_a_while(
    unit: Unit, connect: Connect, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows = Rows(unit, bare=True)
    session = connect(unit)
    session.start(1, 1, kind)
    ask_to_pause(session, 1)
    rows.go.release()

    paused = session.expect("paused").paused
    assert not paused.HasField("checkpoint")
    assert paused.progress.message == "row 1"
    assert "register the type with can_checkpoint=False" in caplog.text
    session.resume(1, 2, held_attempt=1)
    assert rows.reported.acquire(timeout=20)
    ask(session, session.cancel, 1, 2)
    rows.go.release()
    session.expect("cancelled")


@pytest.mark.usefixtures("no_safe_point_timeout")
def test_a_type_that_has_shown_a_safe_point_is_never_paused_at_a_report(
    unit: Unit, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    may_end = threading.Event()

    @unit.task("WORK")
    def work(task: SyncTaskContext, config: dict[str, Any]) -> None:
        if task.attempt == 1:
            task.report(0.5, checkpoint={"row": 1})
        else:
            while not may_end.wait(0.002):
                task.report(0.5, "bare")

    session = connect(unit)
    session.start(1, 1, "WORK")
    session.expect("succeeded")
    session.start(2, 2, "WORK")
    with caplog.at_level(logging.WARNING):
        ask(session, session.pause, 2, 2)
        session.expect("progress", task_id=2)
        session.expect("progress", task_id=2)
    may_end.set()

    session.expect("succeeded", task_id=2)
    assert caplog.text.count("pause still waits for a safe point") == 1


@both_kinds
def test_a_type_without_checkpoints_is_paused_at_any_report(unit: Unit, connect: Connect, kind: str) -> None:
    rows = Rows(unit, bare=True, can_checkpoint=False)
    session = connect(unit)
    assert [each.can_checkpoint for each in session.hello.task_types] == [False, False]
    session.start(1, 1, kind)
    ask_to_pause(session, 1)
    rows.go.release()

    assert session.expect("paused").paused.progress.message == "row 1"
    session.drop(1, 1, DropReason.DROP_REASON_SUPERSEDED)
    session.expect("accepted")


def test_a_short_drain_does_not_wait_for_a_safe_point_beyond_half_of_its_time(
    server: ScriptedServer, connect: Connect
) -> None:
    unit = Unit(name="leaver", type="TEST", server=server.address, drain_seconds=1.0)

    @unit.task("WORK")
    async def work(task: TaskContext, config: dict[str, Any]) -> None:
        while True:
            await task.report(0.5, "bare")
            await asyncio.sleep(0.01)  # stays within the send window

    session = connect(unit)
    session.start(1, 1, "WORK")
    session.expect("progress")
    unit.stop()

    session.expect("released")
    session.acknowledge()
    session.expect_goodbye()


def test_a_dropped_attempt_ends_at_any_report(unit: Unit, connect: Connect) -> None:
    rows = Rows(unit)
    session = connect(unit)
    session.start(1, 1, "FUNCTION")
    ask(session, session.drop, 1, 1, DropReason.DROP_REASON_SUPERSEDED)
    rows.go.release()
    session.start(1, 2, "FUNCTION")
    rows.go.release()

    session.expect("progress")
    assert rows.ended_by is TaskDropped
    ask(session, session.cancel, 1, 2)
    rows.go.release()
    session.expect("cancelled")
