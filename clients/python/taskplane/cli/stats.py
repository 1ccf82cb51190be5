"""`taskplane stats`: figures of tasks, units and slots."""

from typing import Annotated

import typer

from taskplane.cli.document import print_document
from taskplane.cli.settings import Output, Settings, takes_settings
from taskplane.cli.sheet import statistics_sheet
from taskplane.cli.tables import show
from taskplane.cli.values import parse_duration


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("stats")(takes_settings(stats))


def stats(
    settings: Settings,
    *,
    window: Annotated[
        str, typer.Option(metavar="TIME", help="The time up to now, as 90s, 15m, 1h30m or 7d; at most 31d.")
    ] = "1h",
    task_type: Annotated[str, typer.Option("--type", help="Of tasks of this type, and units that accept it.")] = "",
) -> None:
    """Show the numbers of tasks, units and slots now, and the tasks that ended recently."""
    length = parse_duration(window, "--window")
    with settings.connect() as client:
        statistics = client.get_statistics(window=length, task_type=task_type)
    if settings.output is Output.JSON:
        print_document(statistics)
    else:
        show(statistics_sheet(statistics, window))
