"""`taskplane task create`."""

from typing import Annotated

import typer

from taskplane.cli.document import print_document
from taskplane.cli.formatting import clean, state_of
from taskplane.cli.options import Actor, Reason
from taskplane.cli.settings import Output, Settings, takes_settings
from taskplane.cli.values import parse_pairs, read_config, user_name
from taskplane.cli.watch import follow
from taskplane.v1.task_pb2 import Task


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("create")(takes_settings(create))


def create(  # noqa: PLR0913  an option for each field
    settings: Settings,
    *,
    task_type: Annotated[str, typer.Option("--type", help="The task type; selects the unit.")],
    name: Annotated[str, typer.Option(help="The task's name.")],
    config: Annotated[str | None, typer.Option(metavar="JSON", help="The config.")] = None,
    config_file: Annotated[
        typer.FileText | None, typer.Option(encoding="utf-8", help="The config from a file; - is stdin.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="One value of the config; dots lead into objects."),
    ] = None,
    priority: Annotated[int, typer.Option(min=0, max=1000, help="Higher runs first.")] = 0,
    max_retries: Annotated[
        int | None, typer.Option(min=0, max=1000, show_default="the server's", help="Automatic retries.")
    ] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A label, for filters.")] = None,
    unit_label: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="A label that the unit must have.")
    ] = None,
    start: Annotated[
        bool | None, typer.Option("--start/--no-start", show_default="with --watch", help="Queue the task at once.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the task to its end.")] = False,
    request_id: Annotated[str, typer.Option(help="Idempotency key: a repeat returns the same task.")] = "",
    reason: Reason = "",
    actor: Actor = None,
) -> None:
    """Create a task, and with --watch follow the task to its end (exit code 1 unless SUCCESS)."""
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
    """Print the new task with its id."""
    if output is Output.JSON:
        print_document(task)
    else:
        typer.echo(f"task {task.id} {clean(task.task_name)}: created, {state_of(task)}")
