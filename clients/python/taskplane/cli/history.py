"""`taskplane task history|checkpoints`."""

import typer

from taskplane.cli.document import print_array
from taskplane.cli.options import TaskId
from taskplane.cli.settings import Output, Settings, takes_settings
from taskplane.cli.tables import checkpoint_table, history_table, show
from taskplane.client import Client
from taskplane.v1.task_pb2 import TaskCheckpoint


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("history")(takes_settings(history))
    app.command("checkpoints")(takes_settings(checkpoints))


def history(settings: Settings, task_id: TaskId) -> None:
    """Show every change of a task's status, oldest first."""
    with settings.connect() as client:
        transitions = list(client.list_task_transitions(task_id))
    if settings.output is Output.JSON:
        print_array(transitions)
    else:
        show(history_table(transitions))


def checkpoints(settings: Settings, task_id: TaskId) -> None:
    """Show the stored checkpoints of a task, newest first."""
    with settings.connect() as client:
        kept = [_with_data(client, task_id, each) for each in client.list_task_checkpoints(task_id)]
    if settings.output is Output.JSON:
        print_array(kept)
    else:
        show(checkpoint_table(kept))


def _with_data(client: Client, task_id: int, checkpoint: TaskCheckpoint) -> TaskCheckpoint:
    """Return the checkpoint with its data: a list of large checkpoints has the data of the newest only."""
    if checkpoint.HasField("data"):
        return checkpoint
    # The checkpoint may have been deleted since.
    return next(iter(client.list_task_checkpoints(task_id, number=checkpoint.number)), checkpoint)
