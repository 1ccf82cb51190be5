"""The options that restrict tasks, for `task list` and `task bulk`."""

from collections.abc import Sequence
from typing import Annotated

import typer

from taskplane.cli.values import parse_pairs
from taskplane.client import TaskStatus
from taskplane.client.messages import FilterOptions

Statuses = Annotated[
    list[TaskStatus] | None, typer.Option("--status", case_sensitive=False, help="In one of these statuses.")
]
TaskTypes = Annotated[list[str] | None, typer.Option("--type", help="Of one of these types.")]
UnitId = Annotated[str, typer.Option("--unit", metavar="UNIT_ID", help="Assigned to, or last run by, this unit.")]
MinPriority = Annotated[int | None, typer.Option(min=0, max=1000, help="The lowest priority.")]
MaxPriority = Annotated[int | None, typer.Option(min=0, max=1000, help="The highest priority.")]
NamePart = Annotated[str, typer.Option("--name", help="With this text in the name.")]
Labels = Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="With this label.")]


def restrictions(  # noqa: PLR0913  one for each option
    *,
    statuses: Sequence[TaskStatus] | None,
    task_types: Sequence[str] | None,
    unit_id: str,
    min_priority: int | None,
    max_priority: int | None,
    name: str,
    labels: Sequence[str] | None,
) -> FilterOptions:
    """Return the restrictions that the options name."""
    return {
        "statuses": statuses or [],
        "task_types": task_types or [],
        "execution_unit_id": unit_id,
        "min_priority": min_priority,
        "max_priority": max_priority,
        "name_contains": name,
        "labels": parse_pairs(labels or [], "--label"),
    }
