"""`taskplane serve`."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from taskplane.cli.errors import ExitCode, complain


class LogFormat(StrEnum):
    """How log lines look."""

    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    """How much is logged."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("serve")(serve)


def serve(  # noqa: PLR0913  an option for each field
    *,
    grpc: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", show_default="127.0.0.1:50051", help="Where to listen; port 0 picks one."),
    ] = None,
    http: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", show_default="127.0.0.1:3000", help="Where to serve HTTP; port 0 picks one."),
    ] = None,
    no_http: Annotated[bool, typer.Option("--no-http", help="Serve no HTTP.")] = False,
    database_url: Annotated[
        str | None, typer.Option(metavar="URL", show_default="SQLite, ./taskplane.db", help="The database.")
    ] = None,
    no_migrate: Annotated[bool, typer.Option("--no-migrate", help="Leave the database's schema as it is.")] = False,
    no_reflection: Annotated[bool, typer.Option("--no-reflection", help="Serve no gRPC reflection.")] = False,
    channelz: Annotated[bool, typer.Option("--channelz", help="Serve gRPC channelz.")] = False,
    log_level: Annotated[LogLevel | None, typer.Option(case_sensitive=False, help="How much to log.")] = None,
    log_format: Annotated[LogFormat | None, typer.Option(help="How log lines look.")] = None,
) -> None:
    """Run the server until SIGTERM or Ctrl-C. What is not given here comes from TASKPLANE_* in the environment."""
    options = {
        "grpc": grpc,
        "http": http,
        "no_http": True if no_http else None,
        "database_url": database_url,
        "migrate": False if no_migrate else None,
        "reflection": False if no_reflection else None,
        "channelz": True if channelz else None,
        "log_level": log_level and log_level.value,
        "log_format": log_format and log_format.value,
    }
    raise typer.Exit(_run({name: value for name, value in options.items() if value is not None}))


def _run(given: dict[str, Any]) -> int:
    try:
        from pydantic import ValidationError  # noqa: PLC0415  of the server extra, which may be missing

        from taskplane.server.app import run  # noqa: PLC0415  likewise
        from taskplane.server.config import ServerConfig  # noqa: PLC0415  likewise
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("taskplane"):
            raise
        return complain(f"the server needs {error.name}: pip install 'taskplane[server]'", ExitCode.FAILED)
    try:
        config = ServerConfig(**given)
    except ValidationError as error:
        for bad in error.errors():
            name = ".".join(str(part) for part in bad["loc"])
            complain(f"{name}: {bad['msg']}", ExitCode.USAGE)
        return ExitCode.USAGE
    return run(config)
