"""`taskplane unit list|get`."""

from typing import Annotated

import typer

from taskplane.cli.document import print_array, print_document
from taskplane.cli.options import All, Limit, PageToken
from taskplane.cli.settings import Output, Settings, takes_settings
from taskplane.cli.sheet import unit_sheet
from taskplane.cli.tables import show, unit_table
from taskplane.cli.tasks import show_next_page
from taskplane.client import UnitStatus
from taskplane.client.messages import UnitFilterOptions


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("list")(takes_settings(list_))
    app.command("get")(takes_settings(get))


def list_(  # noqa: PLR0913  an option for each restriction
    settings: Settings,
    *,
    status: Annotated[
        list[UnitStatus] | None, typer.Option(case_sensitive=False, help="In one of these statuses.")
    ] = None,
    unit_type: Annotated[str, typer.Option("--type", help="Of this type.")] = "",
    task_type: Annotated[str, typer.Option(help="Accepting tasks of this type.")] = "",
    limit: Limit = 50,
    page_token: PageToken = "",
    all_: All = False,
) -> None:
    """List units by id. If there are more, stderr shows the option for the next page."""
    restrictions: UnitFilterOptions = {
        "statuses": status or [],
        "unit_type": unit_type,
        "task_type": task_type,
    }
    with settings.connect() as client:
        if all_:
            units, next_page_token = list(client.list_units(page_size=1000, **restrictions)), ""
        else:
            page = client.list_units_page(page_size=limit, page_token=page_token, **restrictions)
            units, next_page_token = list(page.units), page.next_page_token
    if settings.output is Output.JSON:
        print_array(units)
    else:
        show(unit_table(units))
    show_next_page(next_page_token)


def get(settings: Settings, unit_id: Annotated[str, typer.Argument(metavar="ID", help="The unit.")]) -> None:
    """Show a unit with its task types and abilities."""
    with settings.connect() as client:
        unit = client.get_unit(unit_id)
    if settings.output is Output.JSON:
        print_document(unit)
    else:
        show(unit_sheet(unit))
