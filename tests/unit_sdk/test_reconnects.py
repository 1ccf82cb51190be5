"""Reconnects: reasons, waiting times, and fatal errors."""

import random
import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from unit_sdk.conftest import TIMEOUT_SECONDS
from unit_sdk.worker import Worker

from taskplane.unit import TaskDropped, Unit, UnitRejected, backoff
from taskplane.unit.attempt import Attempt
from taskplane.unit.command_handler import CommandHandler
from taskplane.unit.stream import session as stream_session
from taskplane.unit.testing import ScriptedServer
from taskplane.v1.execution_unit_control_pb2 import AttemptState, ServerMessage, Verdict, VerdictAction

Run = Callable[[Unit], Any]


@pytest.fixture
def worker(unit: Unit) -> Worker:
    return Worker(unit)


def test_a_connection_without_a_welcome_is_replaced(
    unit: Unit, worker: Worker, server: ScriptedServer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_session, "HELLO_SECONDS", 0.05)
    run(unit)

    assert server.session().peer != server.session().peer


def test_a_connection_on_which_the_server_is_silent_for_a_lease_is_replaced(
    unit: Unit, worker: Worker, server: ScriptedServer, run: Run
) -> None:
    run(unit)
    first = server.session()
    first.answers_heartbeats = False
    first.welcome(heartbeat_seconds=0.02, lease_seconds=0.1)
    first.expect_heartbeats(1)

    second = server.session()
    first.expect_end()
    assert second.peer != first.peer


def test_whatever_the_server_says_shows_that_it_lives(
    unit: Unit, worker: Worker, server: ScriptedServer, run: Run
) -> None:
    run(unit)
    connected = server.session()
    connected.answers_heartbeats = False
    connected.welcome(heartbeat_seconds=0.01, lease_seconds=5.0)
    for beat in range(1, 20):
        connected.expect_heartbeats(beat)
        connected.send(ServerMessage())  # an unknown kind of message

    connected.start(1, 1, "WORK")
    connected.expect("accepted")


def test_waits_between_reconnects_are_random_below_a_bound_that_doubles_to_30_seconds(
    unit: Unit, worker: Worker, server: ScriptedServer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounds: list[float] = []
    enough = threading.Event()

    def no_wait(low: float, bound: float) -> float:
        assert low == 0
        bounds.append(bound)
        if len(bounds) == 8:
            enough.set()
        return 0.0

    monkeypatch.setattr(backoff, "_FIRST_BOUND_SECONDS", 0.5)
    monkeypatch.setattr(random, "uniform", no_wait)
    server.go_away()
    run(unit)
    assert enough.wait(20)

    assert bounds[:8] == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_a_welcome_starts_the_waits_over(
    unit: Unit, worker: Worker, server: ScriptedServer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounds: list[float] = []

    def no_wait(_: float, bound: float) -> float:
        bounds.append(bound)
        return 0.0

    monkeypatch.setattr(random, "uniform", no_wait)
    run(unit)
    server.session().fail(grpc.StatusCode.UNAVAILABLE, "starting")
    server.session().fail(grpc.StatusCode.UNAVAILABLE, "starting")
    welcomed = server.session()
    welcomed.welcome()
    welcomed.close()
    server.session()

    assert bounds[:3] == [0.01, 0.02, 0.01]


def test_waits_between_reconnects_stay_below_half_a_lease(
    unit: Unit, worker: Worker, server: ScriptedServer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounds: list[float] = []

    def no_wait(_: float, bound: float) -> float:
        bounds.append(bound)
        return 0.0

    monkeypatch.setattr(backoff, "_FIRST_BOUND_SECONDS", 0.5)
    monkeypatch.setattr(random, "uniform", no_wait)
    run(unit)
    welcomed = server.session()
    welcomed.welcome(lease_seconds=3.0)
    welcomed.fail(grpc.StatusCode.UNAVAILABLE, "stopping")
    for _ in range(3):
        server.session().fail(grpc.StatusCode.UNAVAILABLE, "starting")
    server.session()

    assert bounds[:4] == [0.5, 1, 1.5, 1.5]


Refusal = tuple[str, type[Exception], str]


@pytest.mark.parametrize(
    "refusal",
    [
        ("INVALID_ARGUMENT INVALID_FIELDS", UnitRejected, r"bad hello \(hello.capacity: must be at most 10000\)"),
        ("FAILED_PRECONDITION PROTOCOL_VERSION_UNSUPPORTED", UnitRejected, "FAILED_PRECONDITION: bad hello"),
    ],
)
def test_an_error_that_needs_a_person_ends_the_unit_with_the_servers_text(
    unit: Unit, worker: Worker, server: ScriptedServer, run: Run, refusal: Refusal
) -> None:
    status, error, text = refusal
    running = run(unit)
    connected = server.session()
    connected.welcome()
    connected.start(1, 1, "WAIT")
    connected.expect("accepted")
    code, reason = status.split()
    fields = {"hello.capacity": "must be at most 10000"}
    connected.fail(grpc.StatusCode[code], "bad hello", reason=reason, fields=fields)
    running.join()

    assert worker.ended_by == [TaskDropped]
    with pytest.raises(error, match=text):
        raise running.error


@pytest.fixture
def _impatient_newcomers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "_TAKEN_BOUNDS_SECONDS", (0.0, 0.01))


@pytest.mark.usefixtures("_impatient_newcomers", "worker")
@pytest.mark.parametrize("status", ["ALREADY_EXISTS UNIT_ID_TAKEN", "ABORTED SESSION_SUPERSEDED"])
def test_a_unit_whose_id_another_process_has_comes_back(
    unit: Unit, server: ScriptedServer, run: Run, status: str, caplog: pytest.LogCaptureFixture
) -> None:
    running = run(unit)
    code, reason = status.split()
    for _ in range(3):
        server.session().fail(grpc.StatusCode[code], "process b at 10.0.0.1 has had it", reason=reason)
    server.session().welcome()
    assert running.error is None
    assert "another process has this unit's id" in caplog.text
    assert "process b at 10.0.0.1 has had it" in caplog.text


@pytest.mark.usefixtures("_impatient_newcomers")
@pytest.mark.parametrize("status", ["ALREADY_EXISTS UNIT_ID_TAKEN", "ABORTED SESSION_SUPERSEDED"])
def test_a_unit_holds_its_work_while_another_process_has_its_id(
    unit: Unit, worker: Worker, server: ScriptedServer, run: Run, status: str
) -> None:
    run(unit)
    connected = server.session()
    connected.welcome()
    connected.start(1, 1, "WORK")
    connected.expect("accepted")
    code, reason = status.split()
    connected.fail(grpc.StatusCode[code], "process b at 10.0.0.1 has had it", reason=reason)
    refused = server.session()
    while refused.hello.inventory[0].state != AttemptState.ATTEMPT_STATE_PAUSED:
        worker.go[1].release()  # to a safe point, where the fence holds the attempt
        refused.fail(grpc.StatusCode.ALREADY_EXISTS, "process b at 10.0.0.1 has had it", reason="UNIT_ID_TAKEN")
        refused = server.session()

    refused.welcome(verdicts=[Verdict(task_id=1, attempt=1, action=VerdictAction.VERDICT_ACTION_DROP)])
    assert worker.has_ended.wait(TIMEOUT_SECONDS)
    assert worker.ended_by == [TaskDropped]


@pytest.mark.parametrize("code", ["UNAVAILABLE", "INTERNAL", "DEADLINE_EXCEEDED", "ABORTED", "UNKNOWN"])
def test_after_any_other_error_the_unit_comes_back(
    unit: Unit, worker: Worker, server: ScriptedServer, run: Run, code: str
) -> None:
    run(unit)
    server.session().fail(grpc.StatusCode[code], "no reason")

    server.session().welcome()


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("place", [(CommandHandler, "handle"), (Attempt, "end")])
def test_a_fault_in_the_sdk_ends_the_unit_instead_of_hiding(
    unit: Unit, server: ScriptedServer, run: Run, monkeypatch: pytest.MonkeyPatch, place: tuple[type, str]
) -> None:
    def faulty(*_: object) -> None:
        raise ZeroDivisionError

    running = run(unit)
    monkeypatch.setattr(*place, faulty)
    connected = server.session()
    connected.welcome()
    connected.start(1, 1, "WORK", {"rows": 0})
    running.join()

    assert isinstance(running.error, ZeroDivisionError)
