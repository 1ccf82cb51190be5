"""The options before and after a subcommand: --server and -o."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import wraps
from typing import Annotated, Concatenate, ParamSpec

import typer

from taskplane.client import Client

P = ParamSpec("P")


class Output(StrEnum):
    """The format of results."""

    TABLE = "table"
    JSON = "json"


@dataclass(frozen=True)
class Settings:
    """The settings of one run of the command line."""

    server: str
    output: Output

    def connect(self) -> Client:
        """Return a client for the server; its first call connects."""
        return Client(self.server)


def _options(
    context: typer.Context,
    server: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="The server's address.")] = None,
    output: Annotated[Output | None, typer.Option("--output", "-o", help="How to show results.")] = None,
) -> Settings:
    root: Settings = context.find_root().obj
    return Settings(server or root.server, output or root.output)


def takes_settings(command: Callable[Concatenate[Settings, P], None]) -> Callable[..., None]:
    """Add --server and -o to a command. An option after the subcommand overrides the same option before."""
    own = list(inspect.signature(command).parameters.values())[1:]
    shared = list(inspect.signature(_options).parameters.values())
    names = [parameter.name for parameter in shared]

    @wraps(command)
    def with_settings(**values: object) -> None:
        # Typer calls with the arguments of the signature below, which type checkers cannot see.
        settings = _options(**{name: values.pop(name) for name in names})  # type: ignore[arg-type]
        command(settings, **values)  # type: ignore[arg-type,call-arg]

    # Typer reads a command's options from the signature.
    keywords = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*own, *shared)]
    with_settings.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]  # inspect's own hook
    with_settings.__annotations__ = {each.name: each.annotation for each in keywords}
    return with_settings
