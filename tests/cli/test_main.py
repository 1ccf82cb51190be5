"""The entry point, in its own process."""

import os
import subprocess
import sys

import pytest
from cli.scripted_server import Script, ScriptedServer

from taskplane.v1.task_pb2 import Task

MISSING = """
import sys
sys.modules["{name}"] = None
from taskplane.cli.__main__ import main
main()
"""


def python(*arguments: str, server: str = "127.0.0.1:1") -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "TASKPLANE_SERVER": server}
    command = [sys.executable, *arguments]
    return subprocess.run(  # noqa: S603  our own interpreter
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("name", ["typer", "rich"])
def test_without_the_cli_extra_the_package_to_install_is_named(name: str) -> None:
    result = python("-c", MISSING.format(name=name))
    assert result.returncode == 1
    assert result.stderr == "error: the command line needs more packages: pip install 'taskplane[cli]'\n"


@pytest.mark.parametrize("name", ["pydantic_settings", "sqlalchemy", "structlog"])
def test_without_the_server_extra_the_package_to_install_is_named(name: str) -> None:
    result = python("-c", MISSING.format(name=name), "serve")
    assert result.returncode == 1
    assert result.stderr == f"error: the server needs {name}: pip install 'taskplane[server]'\n"


def test_it_runs_as_a_module() -> None:
    result = python("-m", "taskplane.cli", "--version")
    assert result.returncode == 0
    assert result.stdout.startswith("taskplane ")


def test_an_error_is_one_line_also_from_grpc() -> None:
    result = python("-m", "taskplane.cli", "task", "list")
    assert result.returncode == 5
    assert len(result.stderr.splitlines()) == 1


def test_a_reader_that_goes_away_is_no_error_to_talk_about(server: ScriptedServer, script: Script) -> None:
    script.add(*(Task(id=number, task_name="n" * 200) for number in range(1, 2000)))
    reader, writer = os.pipe()
    os.close(reader)
    environment = {**os.environ, "TASKPLANE_SERVER": server.address}
    command = [sys.executable, "-m", "taskplane.cli", "task", "list"]
    for output in ([], ["-o", "json"]):
        result = subprocess.run(  # noqa: S603  our own interpreter
            [*command, *output], env=environment, stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False
        )
        assert result.stderr == b""
        assert result.returncode == 1
    os.close(writer)


def test_the_client_and_the_command_line_load_no_server_and_no_unit() -> None:
    code = "import sys, taskplane.cli.app; print(*[m for m in sys.modules if m.startswith('taskplane.')])"
    loaded = python("-c", code).stdout.split()
    assert "taskplane.client.client" in loaded
    assert [name for name in loaded if name.startswith(("taskplane.server", "taskplane.unit"))] == []
