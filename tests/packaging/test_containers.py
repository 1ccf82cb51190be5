"""Checks of the Dockerfile and docker-compose.yml that need no engine."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import make_url

from taskplane.server.config import ServerConfig

PROJECT = Path(__file__).parents[2]


def dockerfile() -> list[tuple[str, str]]:
    """Return each instruction with its arguments, continued lines joined."""
    text = (PROJECT / "Dockerfile").read_text().replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def argument_of(instruction: str) -> str:
    (argument,) = [rest for word, rest in dockerfile() if word == instruction]
    return argument


def services() -> dict[str, dict[str, Any]]:
    compose: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
    return compose["services"]


def copied_from_the_project() -> list[str]:
    copies = [rest.split() for word, rest in dockerfile() if word == "COPY" and not rest.startswith("--from")]
    return [source for *sources, _ in copies for source in sources]


@pytest.mark.parametrize("source", copied_from_the_project())
def test_what_the_image_copies_exists_and_is_not_ignored(source: str) -> None:
    assert (PROJECT / source).exists()
    assert f"!{source}" in (PROJECT / ".dockerignore").read_text().splitlines()


def test_the_image_runs_as_an_ordinary_user() -> None:
    assert argument_of("USER") == "taskplane"


def test_the_health_check_is_python() -> None:
    command = argument_of("HEALTHCHECK").partition(" CMD ")[2]
    python, flag, program = json.loads(command)
    assert (python, flag) == ("python", "-c")
    compile(program, "HEALTHCHECK", "exec")


def commands() -> dict[str, list[str]]:
    """Return the arguments of the containers to the entry point."""
    given = {name: service["command"] for name, service in services().items() if "command" in service}
    return given | {"image": json.loads(argument_of("CMD"))}


@pytest.mark.parametrize("name", commands())
def test_containers_run_commands_that_exist(name: str) -> None:
    assert json.loads(argument_of("ENTRYPOINT")) == ["taskplane"]
    command = commands()[name]
    options = [word for word in command if word.startswith("--")]
    assert set(options) <= set(help_of(command).split())


def help_of(command: list[str]) -> str:
    taskplane = Path(sys.executable).with_name("taskplane")
    plain = os.environ | {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    return subprocess.run(  # noqa: S603  our own command
        [taskplane, *command, "--help"], check=True, capture_output=True, text=True, env=plain
    ).stdout


def test_the_services_of_the_requirements_are_there() -> None:
    assert set(services()) == {"task-manager", "mysql", "execution-unit-example"}


def test_the_server_reads_where_its_database_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TASKPLANE_DATABASE_URL", raising=False)
    for name, value in services()["task-manager"]["environment"].items():
        monkeypatch.setenv(name, value)
    url = make_url(ServerConfig().database_url)
    database = services()["mysql"]["environment"]
    assert url.host in services()
    assert (url.username, url.password) == (database["MYSQL_USER"], database["MYSQL_PASSWORD"])
    assert url.database == database["MYSQL_DATABASE"]


def test_ports_are_published_on_this_machine_only() -> None:
    ports = [port for service in services().values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
