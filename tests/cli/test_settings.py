import json
from importlib.metadata import version

import pytest
from cli.conftest import CommandLine
from cli.scripted_server import Script
from typer.testing import CliRunner

from taskplane.cli.app import app
from taskplane.v1.task_pb2 import Task


@pytest.mark.parametrize("arguments", [("-o", "json", "task", "get", "1"), ("task", "get", "1", "-o", "json")])
def test_the_output_may_be_chosen_before_and_after_the_subcommand(
    cli: CommandLine, script: Script, arguments: tuple[str, ...]
) -> None:
    script.add(Task(id=1))
    assert json.loads(cli.output(*arguments))["id"] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("--server", "{server}", "task", "get", "1"),
        ("task", "get", "1", "--server", "{server}"),
        ("--server", "127.0.0.1:1", "task", "get", "1", "--server", "{server}"),
    ],
)
def test_the_server_may_be_given_before_and_after_the_subcommand(
    cli: CommandLine, script: Script, arguments: tuple[str, ...]
) -> None:
    script.add(Task(id=1))
    filled = [argument.format(server=cli.server) for argument in arguments]
    result = CliRunner().invoke(app, filled, env={"TASKPLANE_SERVER": "127.0.0.1:1"})
    assert result.exit_code == 0, result.output


def test_the_version_is_printed(cli: CommandLine) -> None:
    assert cli.output("--version") == f"taskplane {version('taskplane')}\n"


@pytest.mark.parametrize(
    "command", [(), ("task",), ("unit",), ("task", "create"), ("task", "pause"), ("unit", "run"), ("serve",)]
)
def test_every_command_has_help(cli: CommandLine, command: tuple[str, ...]) -> None:
    assert "Usage: " in cli.output(*command, "--help")
