"""The shipped unit on the SDK, controlled by commands over gRPC."""

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from built_in_units.data_processing.driver import TASK_ID, parts_in
from google.protobuf.json_format import MessageToDict

from taskplane import units
from taskplane.unit import Unit
from taskplane.unit.testing import TIMEOUT_SECONDS, ScriptedServer, ScriptedSession
from taskplane.units.data_processing.rules import registry
from taskplane.v1.execution_unit_control_pb2 import DropReason

ROWS = 100
GATED_ROW = 50


class Gate:
    """A rule to block in the middle of a batch until a test opens the gate."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        self.checks = 0

    def check(self, value: str) -> str | None:
        self.checks += 1
        if value == "closed":
            self.reached.set()
            assert self.opened.wait(TIMEOUT_SECONDS)
        return None


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate()
    monkeypatch.setitem(registry._makers, "gate", lambda _options: gate.check)
    return gate


@pytest.fixture
def session(gate: Gate) -> Iterator[ScriptedSession]:
    """Return the session of a connected unit, after Welcome."""
    with ScriptedServer() as server, ThreadPoolExecutor() as threads:
        spec = units.built_in_unit("data-processing")
        unit = Unit(name="data-processor-1", type=spec.unit_type, server=server.address)
        spec.register(unit)
        running = threads.submit(lambda: asyncio.run(unit.run_async()))
        session = server.session()
        session.welcome()
        # The response proves a processed Welcome; only then does the unit drain in order.
        session.get_status(TASK_ID, 1)
        session.expect("rejected")
        yield session
        gate.opened.set()
        unit.stop()
        session.expect_draining()
        session.acknowledge()
        running.result(TIMEOUT_SECONDS)


@pytest.fixture
def gated(config: dict[str, Any], source: Path) -> dict[str, Any]:
    """Return the config of a task with a gate in row 50."""
    lines = [f"{number},{'closed' if number == GATED_ROW else 'open'}\n" for number in range(1, ROWS + 1)]
    source.write_text("id,gate\n" + "".join(lines))
    return config | {"validationRules": ["gate"], "batchSize": 10, "checkpointInterval": 30}


def ids(target: Path) -> list[int]:
    return [int(row["id"]) for row in json.loads(target.read_text())]


def pause_at_the_gate(session: ScriptedSession, gate: Gate, config: dict[str, Any]) -> dict[str, Any]:
    """Start the task, pause it at the gate, and return its checkpoint."""
    session.start(TASK_ID, 1, "DATA_PROCESSING", config)
    assert gate.reached.wait(TIMEOUT_SECONDS)
    session.expect("accepted", command_id=session.pause(TASK_ID, 1))
    gate.opened.set()
    checkpoint: dict[str, Any] = MessageToDict(session.expect("paused").paused.checkpoint.data)
    return checkpoint


def test_the_unit_says_what_it_is(session: ScriptedSession) -> None:
    hello = session.hello
    assert hello.unit_type == "DATA_PROCESSOR"
    assert [(kind.task_type, kind.can_pause, kind.can_checkpoint) for kind in hello.task_types] == [
        ("DATA_PROCESSING", True, True)
    ]


def test_a_paused_task_goes_on_in_memory(
    session: ScriptedSession, gate: Gate, gated: dict[str, Any], target: Path
) -> None:
    checkpoint = pause_at_the_gate(session, gate, gated)
    assert checkpoint["row"] == GATED_ROW
    session.resume(TASK_ID, 2, held_attempt=1, last_checkpoint_number=2)
    result = MessageToDict(session.expect("succeeded").succeeded.result)
    assert (result["rows"], result["written"], result["rejectsPath"]) == (ROWS, ROWS, None)
    assert ids(target) == list(range(1, ROWS + 1))
    assert session.kinds(TASK_ID).count("checkpoint") == ROWS // 30


def test_a_paused_task_goes_on_from_its_checkpoint_in_a_new_attempt(
    session: ScriptedSession, gate: Gate, gated: dict[str, Any], target: Path
) -> None:
    checkpoint = pause_at_the_gate(session, gate, gated)
    session.drop(TASK_ID, 1, DropReason.DROP_REASON_SUPERSEDED)
    session.start(TASK_ID, 2, "DATA_PROCESSING", gated, checkpoint=checkpoint, last_checkpoint_number=2)
    session.expect("succeeded")
    assert ids(target) == list(range(1, ROWS + 1))
    assert gate.checks == ROWS  # no row was checked twice


def test_a_unit_that_leaves_gives_the_task_back(
    session: ScriptedSession, gate: Gate, gated: dict[str, Any], target: Path
) -> None:
    session.start(TASK_ID, 1, "DATA_PROCESSING", gated)
    assert gate.reached.wait(TIMEOUT_SECONDS)
    session.drain()
    session.expect_draining()
    gate.opened.set()
    released = session.expect("released").released
    assert released.checkpoint.data["row"] == GATED_ROW
    assert len(parts_in(target.parent)) == 2


def test_a_cancelled_task_leaves_no_part_files(
    session: ScriptedSession, gate: Gate, gated: dict[str, Any], target: Path
) -> None:
    session.start(TASK_ID, 1, "DATA_PROCESSING", gated)
    assert gate.reached.wait(TIMEOUT_SECONDS)
    assert len(parts_in(target.parent)) == 2
    session.expect("accepted", command_id=session.cancel(TASK_ID, 1))
    gate.opened.set()
    session.expect("cancelled")
    assert parts_in(target.parent) == []
    assert not target.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputPath": "/nowhere/users.csv"}, "inputPath: /nowhere/users.csv: No such file or directory"),
        ({"validationRules": ["emial"]}, "validationRules.0: Value error, there is no rule 'emial'; known are: email"),
        ({"batchSize": 0}, "batchSize: Input should be greater than or equal to 1"),
        ({"outputPath": "/nowhere/users.json"}, "outputPath: /nowhere/users.json: its folder does not exist"),
    ],
)
def test_what_cannot_be_done_fails_once_and_for_all(
    session: ScriptedSession, config: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    session.start(TASK_ID, 1, "DATA_PROCESSING", config | change)
    failed = session.expect("failed").failed
    assert message in failed.message
    assert failed.not_retryable
