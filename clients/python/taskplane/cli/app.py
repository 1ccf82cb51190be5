"""The root command, and the options of all commands: the server and the output."""

from importlib.metadata import version
from typing import Annotated

import typer

from taskplane.cli import bulk, create, history, serve, stats, tasks, unit_run, units, verbs, watch
from taskplane.cli.errors import ErrorsAsExitCodes
from taskplane.cli.settings import Output, Settings
from taskplane.client.channel import DEFAULT_SERVER, SERVER_VARIABLE

app = typer.Typer(
    cls=ErrorsAsExitCodes,
    help="The control plane for long-running tasks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
task_app = typer.Typer(help="Create, control and follow tasks.", no_args_is_help=True)
unit_app = typer.Typer(help="Run and show execution units.", no_args_is_help=True)


def show_version(is_requested: bool) -> None:  # noqa: FBT001  the signature that Typer calls
    """Print the version and exit, if requested."""
    if is_requested:
        typer.echo(f"taskplane {version('taskplane')}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    *,
    server: Annotated[
        str, typer.Option(envvar=SERVER_VARIABLE, metavar="HOST:PORT", help="The server's address.")
    ] = DEFAULT_SERVER,
    output: Annotated[Output, typer.Option("--output", "-o", help="How to show results.")] = Output.TABLE,
    _version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Keep the options that precede the subcommand."""
    context.obj = Settings(server, output)


create.add_to(task_app)
verbs.add_to(task_app)
bulk.add_to(task_app)
tasks.add_to(task_app)
watch.add_to(task_app)
history.add_to(task_app)
units.add_to(unit_app)
unit_run.add_to(unit_app)
app.add_typer(task_app, name="task")
app.add_typer(unit_app, name="unit")
stats.add_to(app)
serve.add_to(app)
