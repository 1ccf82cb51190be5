"""`taskplane task get|list`."""

import typer

from taskplane.cli.document import print_array, print_document
from taskplane.cli.filters import (
    Labels,
    MaxPriority,
    MinPriority,
    NamePart,
    Statuses,
    TaskTypes,
    UnitId,
    restrictions,
)
from taskplane.cli.options import All, Limit, PageToken, TaskId
from taskplane.cli.settings import Output, Settings, takes_settings
from taskplane.cli.sheet import task_sheet
from taskplane.cli.tables import show, task_table


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("get")(takes_settings(get))
    app.command("list")(takes_settings(list_))


def get(settings: Settings, task_id: TaskId) -> None:
    """Show a task with its config, checkpoint and result."""
    with settings.connect() as client:
        task = client.get_task(task_id)
    if settings.output is Output.JSON:
        print_document(task)
    else:
        show(task_sheet(task))


def list_(  # noqa: PLR0913  an option for each restriction
    settings: Settings,
    *,
    status: Statuses = None,
    task_type: TaskTypes = None,
    unit: UnitId = "",
    min_priority: MinPriority = None,
    max_priority: MaxPriority = None,
    name: NamePart = "",
    label: Labels = None,
    limit: Limit = 50,
    page_token: PageToken = "",
    all_: All = False,
) -> None:
    """List tasks, newest first. If there are more, stderr shows the option for the next page."""
    chosen = restrictions(
        statuses=status,
        task_types=task_type,
        unit_id=unit,
        min_priority=min_priority,
        max_priority=max_priority,
        name=name,
        labels=label,
    )
    with settings.connect() as client:
        if all_:
            tasks, next_page_token = list(client.list_tasks(page_size=1000, **chosen)), ""
        else:
            page = client.list_tasks_page(page_size=limit, page_token=page_token, **chosen)
            tasks, next_page_token = list(page.tasks), page.next_page_token
    if settings.output is Output.JSON:
        print_array(tasks)
    else:
        show(task_table(tasks))
    show_next_page(next_page_token)


def show_next_page(next_page_token: str) -> None:
    """Print the option for the next page to stderr, if there is one."""
    if next_page_token:
        typer.echo(f"there are more: --page-token {next_page_token}, or --all", err=True)
