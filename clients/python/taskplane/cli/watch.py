"""`taskplane task watch`, and the watch of `task create --watch`."""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Annotated

import typer
from rich.console import Console

from taskplane.cli.board import Board, Row
from taskplane.cli.document import print_line, to_document
from taskplane.cli.errors import ExitCode, complain
from taskplane.cli.live import REDRAWS_PER_SECOND, Show, live_screen
from taskplane.cli.options import MAX_ID
from taskplane.cli.plain import PlainLines
from taskplane.cli.settings import Output, Settings, takes_settings
from taskplane.client import Client
from taskplane.v1.task_pb2 import TASK_STATUS_FAILED
from taskplane.v1.task_service_pb2 import WatchTasksResponse

# More lines of progress in a second would hide the changes of status.
LINES_PER_SECOND = 1


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("watch")(takes_settings(watch))


def watch(
    settings: Settings,
    ids: Annotated[
        list[int] | None, typer.Argument(metavar="[ID...]", min=1, max=MAX_ID, show_default="all", help="The tasks.")
    ] = None,
) -> None:
    """Follow tasks until all have ended: exit code 0 if each with SUCCESS, else 1. Without ids: all tasks, forever."""
    with settings.connect() as client:
        raise typer.Exit(follow(client, ids or [], settings.output))


def follow(client: Client, task_ids: Sequence[int], output: Output) -> ExitCode:
    """Show the events of the tasks until all have ended."""
    console = Console(highlight=False)
    is_live = output is Output.TABLE and console.is_terminal
    board = Board(task_ids)
    events = client.watch(
        task_ids,
        until_final=bool(task_ids),
        include_progress=True,
        max_progress_per_second=REDRAWS_PER_SECOND if is_live else LINES_PER_SECOND,
    )
    with closing(events), live_screen(board, console) if is_live else _lines(output) as show:
        for event in events:
            show(event, board.apply(event, time.monotonic()))
            board.forget_ended()
    return _outcome(board)


@contextmanager
def _lines(output: Output) -> Iterator[Show]:
    yield _print_event if output is Output.JSON else PlainLines().show


def _print_event(event: WatchTasksResponse, row: Row | None) -> None:
    if not event.HasField("keep_alive"):
        print_line(to_document(event))


def _outcome(board: Board) -> ExitCode:
    for row in board.rows.values():
        if row.task.status == TASK_STATUS_FAILED:
            complain(f"task {row.task.id} {row.task.task_name} failed: {row.task.error_message}", ExitCode.FAILED)
    return ExitCode.OK if board.is_success() else ExitCode.FAILED
