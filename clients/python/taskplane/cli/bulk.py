"""`taskplane task bulk start|pause|resume|cancel|restart|delete`: one verb on many tasks in one call."""

from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from taskplane.cli.document import print_line, to_document
from taskplane.cli.errors import ExitCode, exit_code_of
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
from taskplane.cli.options import MAX_ID, Actor, Reason
from taskplane.cli.settings import Output, Settings, takes_settings
from taskplane.cli.tables import outcome_table, show
from taskplane.cli.values import user_name
from taskplane.client import Verb, task_filter
from taskplane.client.messages import FilterOptions
from taskplane.v1.task_service_pb2 import (
    BatchControlResult,
    TaskFilter,
)

Ids = Annotated[list[int] | None, typer.Argument(metavar="[ID...]", min=1, max=MAX_ID, help="These tasks.")]
EveryTask = Annotated[bool, typer.Option("--all", help="Every task, without any other restriction.")]
Most = Annotated[
    int | None,
    typer.Option("--max", min=1, max=1000, show_default="1000", help="Do nothing if the options match more tasks."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show the result for each task.")]

VERBS: tuple[tuple[Verb, str], ...] = (
    (Verb.START, "Queue PENDING tasks."),
    (Verb.PAUSE, "Pause RUNNING tasks at their next safe points."),
    (Verb.RESUME, "Resume PAUSED tasks from their checkpoints."),
    (Verb.CANCEL, "Cancel tasks; their units clean up first."),
    (Verb.RESTART, "Run FAILED or CANCELLED tasks again, from scratch."),
    (Verb.DELETE, "Delete SUCCESS, FAILED or CANCELLED tasks with their history."),
)


def add_to(app: typer.Typer) -> None:
    """Add a group with a command for each verb."""
    group = typer.Typer(
        help="Control many tasks in one call, by ids or by filter, without waiting for the effects.",
        no_args_is_help=True,
    )
    for verb, description in VERBS:
        group.command(verb.lower(), help=description)(takes_settings(_control_by(verb)))
    app.add_typer(group, name="bulk")


def _control_by(verb: Verb) -> Callable[..., None]:
    def control(  # noqa: PLR0913  an option for each restriction
        settings: Settings,
        ids: Ids = None,
        *,
        status: Statuses = None,
        task_type: TaskTypes = None,
        unit: UnitId = "",
        min_priority: MinPriority = None,
        max_priority: MaxPriority = None,
        name: NamePart = "",
        label: Labels = None,
        all_: EveryTask = False,
        most: Most = None,
        dry_run: DryRun = False,
        reason: Reason = "",
        actor: Actor = None,
    ) -> None:
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
            results = client.batch_control_tasks(
                verb,
                _tasks(ids or [], chosen, all_=all_),
                max_tasks=most or 0,
                validate_only=dry_run,
                actor=user_name() if actor is None else actor,
                reason=reason,
            )
        _show(results, settings.output)
        if dry_run:
            typer.echo("nothing was done: --dry-run", err=True)
        raise typer.Exit(max((exit_code_of(each.code) for each in results), default=ExitCode.OK))

    return control


def _tasks(ids: Sequence[int], chosen: FilterOptions, *, all_: bool) -> Sequence[int] | TaskFilter:
    """Return the ids, or the filter. Raises BadParameter for a command without either: only --all means every task."""
    chooses = all_ or any(value not in ("", None, [], {}) for value in chosen.values())
    if ids and chooses:
        raise typer.BadParameter("give ids or options that choose tasks, not both")
    if not ids and not chooses:
        raise typer.BadParameter("which tasks? Give ids, or options that choose them; --all means every task")
    return ids or task_filter(**chosen)


def _show(results: Sequence[BatchControlResult], output: Output) -> None:
    if output is Output.TABLE:
        show(outcome_table(results))
        return
    for result in results:
        print_line(to_document(result))
