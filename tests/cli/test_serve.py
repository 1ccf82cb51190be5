"""`taskplane serve` passes its options to the server, which the test replaces."""

import sys
from types import ModuleType
from typing import Literal

import pydantic
import pytest
from cli.conftest import CommandLine


class Config(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    grpc: str = "default"
    http: str = "default"
    no_http: bool = False
    database_url: str | None = None
    migrate: bool = True
    reflection: bool = True
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["console", "json"] = "console"

    @pydantic.field_validator("grpc")
    @classmethod
    def has_a_port(cls, grpc: str) -> str:
        if ":" not in grpc:
            raise ValueError("wants HOST:PORT")
        return grpc


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """Collect the configs of all runs of a server; each run exits with 7."""
    configs: list[Config] = []

    def run(config: Config) -> int:
        configs.append(config)
        return 7

    process, config = ModuleType("taskplane.server.process"), ModuleType("taskplane.server.config")
    monkeypatch.setattr(process, "run", run, raising=False)
    monkeypatch.setattr(config, "ServerConfig", Config, raising=False)
    monkeypatch.setitem(sys.modules, "taskplane.server.process", process)
    monkeypatch.setitem(sys.modules, "taskplane.server.config", config)
    return configs


def test_only_given_options_reach_the_server(cli: CommandLine, started: list[Config]) -> None:
    cli.run("serve")
    assert started[0].model_fields_set == set()


def test_everything_given_is_handed_over(cli: CommandLine, started: list[Config]) -> None:
    result = cli.run(
        *("serve", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:1", "--no-http"),
        *("--database-url", "sqlite:///x.db", "--no-migrate"),
        *("--no-reflection", "--log-level", "debug", "--log-format", "json"),
    )
    assert result.exit_code == 7
    assert started == [
        Config(
            grpc="127.0.0.1:0",
            http="127.0.0.1:1",
            no_http=True,
            database_url="sqlite:///x.db",
            migrate=False,
            reflection=False,
            log_level="DEBUG",
            log_format="json",
        )
    ]


def test_a_bad_value_is_reported_with_its_option(cli: CommandLine, started: list[Config]) -> None:
    result = cli.run("serve", "--grpc", "nowhere")
    assert result.exit_code == 2
    assert result.stderr == "error: grpc: Value error, wants HOST:PORT\n"
    assert started == []
