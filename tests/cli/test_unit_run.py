"""`taskplane unit run` as a process, connected to the SDK's scripted server."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from cli.conftest import CommandLine

from taskplane.unit.testing import ScriptedServer

OWN_UNIT = """
from dataclasses import dataclass

from neighbour import NAME
from taskplane.unit import SyncTaskContext, Unit

not_a_unit = 17
unit = Unit(name=NAME, type="OWN")


@dataclass
class Config:
    text: str


@unit.task("SHOUT", config=Config)
def shout(task: SyncTaskContext, config: Config) -> dict:
    return {"text": config.text.upper()}
"""


@contextmanager
def unit_process(server: ScriptedServer, *arguments: str, folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """Run `taskplane unit run …` in a folder, and end the process with the context."""
    command = [sys.executable, "-m", "taskplane.cli", "--server", server.address, "unit", "run", *arguments]
    with subprocess.Popen(  # noqa: S603  our own interpreter
        command, cwd=folder, env=os.environ, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def unit_server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Make a folder with a user's unit that imports a neighbour."""
    (tmp_path / "own.py").write_text(OWN_UNIT)
    (tmp_path / "neighbour.py").write_text('NAME = "own-1"\n')
    yield tmp_path
    for name in ("own", "neighbour"):  # modules that a test has loaded
        sys.modules.pop(name, None)


def test_a_built_in_unit_registers_with_its_options(unit_server: ScriptedServer, tmp_path: Path) -> None:
    options = ("--id", "u1", "--name", "data-1", "--capacity", "0", "--label", "zone=b")
    with unit_process(unit_server, "data-processing", *options, folder=tmp_path):
        hello = unit_server.session().hello
    assert (hello.unit_id, hello.unit_type, hello.unit_name, hello.capacity) == ("u1", "DATA_PROCESSOR", "data-1", 0)
    assert dict(hello.labels) == {"zone": "b"}
    assert [support.task_type for support in hello.task_types] == ["DATA_PROCESSING"]


def test_sigterm_drains_a_unit_and_is_no_failure(unit_server: ScriptedServer, tmp_path: Path) -> None:
    with unit_process(unit_server, "data-processing", folder=tmp_path) as process:
        session = unit_server.session()
        session.welcome(heartbeat_seconds=0.05)
        session.expect_heartbeats(1)  # the unit has received the welcome
        process.send_signal(signal.SIGTERM)
        session.expect_draining()
        session.acknowledge()
        session.expect_goodbye()
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in errors


def test_a_built_in_unit_needs_no_option(unit_server: ScriptedServer, tmp_path: Path) -> None:
    with unit_process(unit_server, "data-processing", folder=tmp_path):
        hello = unit_server.session().hello
    assert (hello.unit_id, hello.unit_name, hello.capacity) == ("", "data-processing", 1)


@pytest.mark.parametrize("source", ["own.py:unit", "own:unit"])
def test_a_unit_of_the_users_own_runs_from_a_file_or_a_module(
    unit_server: ScriptedServer, folder: Path, source: str
) -> None:
    with unit_process(unit_server, source, folder=folder):
        session = unit_server.session()
        assert (session.hello.unit_name, session.hello.unit_type) == ("own-1", "OWN")
        session.welcome()
        session.start(1, 1, "SHOUT", {"text": "hi"})
        report = session.expect("succeeded", task_id=1)
    assert report.succeeded.result["text"] == "HI"


def test_a_unit_that_the_server_refuses_is_one_line(unit_server: ScriptedServer, tmp_path: Path) -> None:
    with unit_process(unit_server, "data-processing", folder=tmp_path) as process:
        unit_server.session().fail(grpc.StatusCode.INVALID_ARGUMENT, "bad hello", reason="INVALID_FIELDS")
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("error: ")
    assert "bad hello" in errors.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("no-such-unit",), "there are: data-processing"),
        (("own.py:no_such_variable",), "has no taskplane.unit.Unit that is called 'no_such_variable'"),
        (("own.py:not_a_unit",), "has no taskplane.unit.Unit that is called 'not_a_unit'"),
        (("missing.py:unit",), "there is no file missing.py"),
        (("no_such_module:unit",), "there is no module no_such_module"),
        (("own.py:unit", "--capacity", "2"), "are for built-in units"),
        (("data-processing", "--label", "zone"), "--label wants key=value"),
        (("data-processing", "--capacity", "-1"), "greater than or equal to 0"),
    ],
)
def test_a_unit_that_cannot_run_is_a_usage_error(
    cli: CommandLine, folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], complaint: str
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    result = cli.run("unit", "run", *arguments)
    assert result.exit_code == 2
    assert complaint in " ".join(result.stderr.replace("│", " ").split())
