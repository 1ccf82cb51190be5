"""The command line in this process, against a scripted server."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from cli.scripted_server import Script, ScriptedServer
from typer.testing import CliRunner, Result

from taskplane.cli.app import app


@dataclass
class CommandLine:
    """Runs commands in this process, with the server in the environment."""

    server: str

    def run(self, *arguments: str, stdin: str = "") -> Result:
        environment = {"TASKPLANE_SERVER": self.server, "NO_COLOR": "1"}
        return CliRunner().invoke(app, arguments, input=stdin, env=environment)

    def output(self, *arguments: str, stdin: str = "") -> str:
        """Return the output of a command that must succeed."""
        result = self.run(*arguments, stdin=stdin)
        assert result.exit_code == 0, result.output
        return result.stdout

    def document(self, *arguments: str, stdin: str = "") -> dict[str, object]:
        document = json.loads(self.output(*arguments, "-o", "json", stdin=stdin))
        assert isinstance(document, dict)
        return document


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.stop()


@pytest.fixture
def script(server: ScriptedServer) -> Script:
    return server.script


@pytest.fixture
def cli(server: ScriptedServer) -> CommandLine:
    return CommandLine(server.address)
