"""`taskplane task create`."""

from typing import Annotated

import typer

from taskplane.cli.document import print_document
from taskplane.cli.options import Actor, Reason
from taskplane.cli.settings import Output, Settings, takes_settings
from taskplane.cli.values import parse_pairs, read_config, user_name
from taskplane.cli.watch import follow
from taskplane.cli.words import clean, state_of
from taskplane.v1.task_pb2 import Task


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("create")(takes_settings(create))


def create(  # noqa: PLR0913  an option for each field
    settings: Settings,
    *,
    task_type: Annotated[str, typer.Option("--type", help="Chooses the unit.")],
    name: Annotated[str, typer.Option(help="For people.")],
    config: Annotated[str | None, typer.Option(metavar="JSON", help="What to do.")] = None,
    config_file: Annotated[
        typer.FileText | None, typer.Option(encoding="utf-8", help="The same from a file; - is stdin.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Sets one value of the config; dots go into objects."),
    ] = None,
    priority: Annotated[int, typer.Option(min=0, max=1000, help="Greater runs first.")] = 0,
    max_retries: Annotated[
        int | None, typer.Option(min=0, max=1000, show_default="the server's", help="Automatic retries.")
    ] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A mark to filter by.")] = None,
    unit_label: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="A label that the unit must have.")
    ] = None,
    start: Annotated[
        bool | None, typer.Option("--start/--no-start", show_default="with --watch", help="Queue it at once.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow it to its end.")] = False,
    request_id: Annotated[str, typer.Option(help="Makes a repeat harmless: the same id, the same task.")] = "",
    reason: Reason = "",
    actor: Actor = None,
) -> None:
    """Create a task, and with --watch follow it to its end (exit code 1 unless that is SUCCESS)."""
    document = read_config(config, config_file, set_ or [])
    labels, unit_labels = parse_pairs(label or [], "--label"), parse_pairs(unit_label or [], "--unit-label")
    with settings.connect() as client:
        task = client.create_task(
            task_type,
            name,
            document,
            start=watch if start is None else start,
            priority=priority,
            max_retries=max_retries,
            labels=labels,
            unit_labels=unit_labels,
            actor=user_name() if actor is None else actor,
            reason=reason,
            request_id=request_id,
        )
        if watch:
            raise typer.Exit(follow(client, [task.id], settings.output))
    show_created(task, settings.output)


def show_created(task: Task, output: Output) -> None:
    """Tells the new task's id."""
    if output is Output.JSON:
        print_document(task)
    else:
        typer.echo(f"task {task.id} {clean(task.task_name)}: created, {state_of(task)}")
