"""`taskplane task get|list`."""

from enum import StrEnum
from typing import Annotated

import typer

from taskplane.cli.document import print_array, print_document
from taskplane.cli.options import All, Limit, PageToken, TaskId
from taskplane.cli.settings import Output, Settings, takes_settings
from taskplane.cli.sheet import task_sheet
from taskplane.cli.tables import show, task_table
from taskplane.cli.values import parse_pairs
from taskplane.client.messages import FilterOptions


class Status(StrEnum):
    """The statuses by their short names, for --status and its completion."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    PAUSED = "PAUSED"
    CANCELLED = "CANCELLED"


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
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
    status: Annotated[list[Status] | None, typer.Option(case_sensitive=False, help="In one of these statuses.")] = None,
    task_type: Annotated[list[str] | None, typer.Option("--type", help="Of one of these types.")] = None,
    unit: Annotated[str, typer.Option(metavar="UNIT_ID", help="Assigned to, or last run by, this unit.")] = "",
    min_priority: Annotated[int | None, typer.Option(min=0, max=1000, help="At least.")] = None,
    max_priority: Annotated[int | None, typer.Option(min=0, max=1000, help="At most.")] = None,
    name: Annotated[str, typer.Option(help="With this text in the name.")] = "",
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="With this label.")] = None,
    limit: Limit = 50,
    page_token: PageToken = "",
    all_: All = False,
) -> None:
    """List tasks, newest first. When there are more, stderr says how to go on."""
    restrictions: FilterOptions = {
        "statuses": [each.value for each in status or []],
        "task_types": task_type or [],
        "execution_unit_id": unit,
        "min_priority": min_priority,
        "max_priority": max_priority,
        "name_contains": name,
        "labels": parse_pairs(label or [], "--label"),
    }
    with settings.connect() as client:
        if all_:
            tasks, next_page_token = list(client.list_tasks(page_size=1000, **restrictions)), ""
        else:
            page = client.list_tasks_page(page_size=limit, page_token=page_token, **restrictions)
            tasks, next_page_token = list(page.tasks), page.next_page_token
    if settings.output is Output.JSON:
        print_array(tasks)
    else:
        show(task_table(tasks))
    tell_of_more(next_page_token)


def tell_of_more(next_page_token: str) -> None:
    """Says on stderr how to get the next page, if there is one."""
    if next_page_token:
        typer.echo(f"there are more: --page-token {next_page_token}, or --all", err=True)
