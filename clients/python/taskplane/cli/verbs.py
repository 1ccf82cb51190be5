"""`taskplane task start|pause|resume|cancel|restart|delete`: one verb on one task or several."""

from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from taskplane.cli.document import print_line, to_document
from taskplane.cli.errors import ExitCode, report
from taskplane.cli.formatting import clean, state_of
from taskplane.cli.options import Actor, Reason, TaskIds
from taskplane.cli.settings import Output, Settings, takes_settings
from taskplane.cli.values import user_name
from taskplane.client import Client, TaskplaneError
from taskplane.v1.task_pb2 import Task

NoWait = Annotated[bool, typer.Option("--no-wait", help="Return as soon as the command is recorded.")]
Timeout = Annotated[float, typer.Option(min=0.001, help="Seconds to wait for the effect (then exit code 6).")]

DEFAULT_TIMEOUT_SECONDS = 10.0

VERBS: tuple[tuple[str, Callable[..., Task], str], ...] = (
    ("start", Client.start_task, "Queue PENDING tasks, and wait for RUNNING if a unit is free."),
    ("pause", Client.pause_task, "Pause RUNNING tasks at their next safe point."),
    ("resume", Client.resume_task, "Resume PAUSED tasks from their checkpoints."),
    ("cancel", Client.cancel_task, "Cancel tasks; their units clean up first."),
    ("restart", Client.restart_task, "Run FAILED or CANCELLED tasks again, from scratch."),
)


def add_to(app: typer.Typer) -> None:
    """Add a command for each verb."""
    for name, method, description in VERBS:
        app.command(name, help=description)(takes_settings(_control_by(method)))
    app.command("delete")(takes_settings(delete))


def _control_by(method: Callable[..., Task]) -> Callable[..., None]:
    def control(  # noqa: PLR0913  an option for each field
        settings: Settings,
        ids: TaskIds,
        *,
        reason: Reason = "",
        actor: Actor = None,
        no_wait: NoWait = False,
        timeout: Timeout = DEFAULT_TIMEOUT_SECONDS,
    ) -> None:
        who = user_name() if actor is None else actor
        with settings.connect() as client:

            def act(task_id: int) -> None:
                task = method(client, task_id, wait=not no_wait, timeout=timeout, actor=who, reason=reason)
                _show(task, settings.output)

            _each(ids, act)

    return control


def delete(settings: Settings, ids: TaskIds, *, reason: Reason = "", actor: Actor = None) -> None:
    """Delete SUCCESS, FAILED or CANCELLED tasks with their history."""
    who = user_name() if actor is None else actor
    with settings.connect() as client:

        def act(task_id: int) -> None:
            client.delete_task(task_id, actor=who, reason=reason)
            _show_deleted(task_id, settings.output)

        _each(ids, act)


def _each(ids: Sequence[int], act: Callable[[int], None]) -> None:
    """Act on every task, also after an error; exit with the highest exit code."""
    worst = ExitCode.OK
    is_one_of_many = len(ids) > 1
    for task_id in ids:
        try:
            act(task_id)
        except TaskplaneError as error:
            worst = max(worst, report(error, about=f"task {task_id}: " if is_one_of_many else ""))
    raise typer.Exit(worst)


def _show(task: Task, output: Output) -> None:
    if output is Output.JSON:
        print_line(to_document(task))
        return
    waiting = f" ({clean(task.waiting_message)})" if task.waiting_message else ""
    typer.echo(f"task {task.id} {clean(task.task_name)}: {state_of(task)}{waiting}")


def _show_deleted(task_id: int, output: Output) -> None:
    if output is Output.JSON:
        print_line({"id": task_id, "deleted": True})
    else:
        typer.echo(f"task {task_id}: deleted")
