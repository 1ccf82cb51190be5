"""Exit codes, and errors as text: one line on stderr, bad fields below, never a traceback.

The table of docs/reference/cli.md is this one.
"""

from collections.abc import Mapping
from enum import IntEnum

import grpc
import typer
from typer.core import TyperGroup

from taskplane.cli.formatting import clean
from taskplane.client import (
    AbortedError,
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    NotJsonError,
    TaskplaneError,
    UnavailableError,
)
from taskplane.client.errors import BY_CODE


class ExitCode(IntEnum):
    """Exit codes of commands. The highest of several counts. Typer exits with 130 after Ctrl-C."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    PRECONDITION = 4
    UNAVAILABLE = 5
    TIMEOUT = 6


BY_ERROR: Mapping[type[TaskplaneError], ExitCode] = {
    InvalidArgumentError: ExitCode.USAGE,
    NotFoundError: ExitCode.NOT_FOUND,
    FailedPreconditionError: ExitCode.PRECONDITION,
    AbortedError: ExitCode.PRECONDITION,
    UnavailableError: ExitCode.UNAVAILABLE,
    DeadlineExceededError: ExitCode.TIMEOUT,
}


class ErrorsAsExitCodes(TyperGroup):
    """A root command that turns errors into lines on stderr and an exit code."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]  # Typer's own Context, not its base
        """Run the command."""
        try:
            return super().invoke(ctx)
        except TaskplaneError as error:
            raise typer.Exit(report(error)) from error
        except NotJsonError as error:
            raise typer.Exit(complain(str(error), ExitCode.USAGE)) from error


def report(error: TaskplaneError, about: str = "") -> ExitCode:
    """Print an error to stderr, after `about`, and return its exit code."""
    if error.reason == grpc.StatusCode.UNAVAILABLE.name:  # gRPC's own error: no server has answered
        about += "cannot reach the server (see --server): "
    complain(f"{about}{error.message} ({error.reason})", ExitCode.FAILED)
    for bad in error.field_violations:
        typer.echo(f"  {bad.field}: {clean(bad.description)}", err=True)
    return _exit_code_for(type(error))


def exit_code_of(code: int) -> ExitCode:
    """Return the exit code for a google.rpc.Code."""
    if code == 0:
        return ExitCode.OK
    kinds = (kind for status, kind in BY_CODE.items() if status.value[0] == code)
    return _exit_code_for(next(kinds, TaskplaneError))


def _exit_code_for(kind: type[TaskplaneError]) -> ExitCode:
    return next((code for known, code in BY_ERROR.items() if issubclass(kind, known)), ExitCode.FAILED)


def complain(message: str, code: ExitCode) -> ExitCode:
    """Print a message as one line to stderr, and return `code`."""
    typer.echo(f"error: {clean(message)}", err=True)
    return code
