"""`taskplane serve`."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from taskplane.cli.errors import ExitCode, complain


class LogFormat(StrEnum):
    """The format of log lines."""

    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    """The level of logging."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(serve)


def serve(  # noqa: PLR0913  an option for each field
    *,
    grpc: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", show_default="127.0.0.1:50051", help="The gRPC address; port 0 picks a free port."
        ),
    ] = None,
    http: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", show_default="127.0.0.1:3000", help="The HTTP address; port 0 picks a free port."
        ),
    ] = None,
    no_http: Annotated[bool, typer.Option("--no-http", help="Serve no HTTP.")] = False,
    database_url: Annotated[
        str | None, typer.Option(metavar="URL", show_default="SQLite, ./taskplane.db", help="The database.")
    ] = None,
    no_migrate: Annotated[bool, typer.Option("--no-migrate", help="Do not change the database's schema.")] = False,
    no_reflection: Annotated[bool, typer.Option("--no-reflection", help="Serve no gRPC reflection.")] = False,
    channelz: Annotated[bool, typer.Option("--channelz", help="Serve gRPC channelz.")] = False,
    log_level: Annotated[LogLevel | None, typer.Option(case_sensitive=False, help="The level of logging.")] = None,
    log_format: Annotated[LogFormat | None, typer.Option(help="The format of log lines.")] = None,
) -> None:
    """Run the server until SIGTERM or Ctrl-C. Options left out come from TASKPLANE_* in the environment."""
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

        from taskplane.server.config import ServerConfig  # noqa: PLC0415  likewise
        from taskplane.server.process import run  # noqa: PLC0415  likewise
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
