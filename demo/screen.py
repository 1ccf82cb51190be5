"""The output of the demo: steps, commands, and the progress of the task."""

import shlex
import time
from collections.abc import Generator
from contextlib import closing
from itertools import count
from pathlib import Path

from processes import TASKPLANE, DemoError, run_to_end
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from taskplane.client import Client
from taskplane.v1.task_pb2 import Task, TaskStatus
from taskplane.v1.task_service_pb2 import WatchTasksResponse

FINAL = {TaskStatus.TASK_STATUS_SUCCESS, TaskStatus.TASK_STATUS_FAILED, TaskStatus.TASK_STATUS_CANCELLED}

# Seconds. A healthy unit reports several times a second.
STALL_SECONDS = 30
LOG_TAIL_LINES = 15

console = Console(highlight=False)
_step_numbers = count(1)


def step(text: str) -> None:
    """Print the heading of a step."""
    console.print(f"\n[bold cyan]{next(_step_numbers)}. {escape(text)}[/]", soft_wrap=True)


def conclude(text: str) -> None:
    """Print the last line of a successful demo."""
    console.print(f"\n[bold green]{escape(text)}[/]", soft_wrap=True)


def run_taskplane(*arguments: str) -> str:
    """Print a command as a user would type it, run it, print its output and return the output."""
    console.print(f"   [green]$ taskplane {escape(shlex.join(arguments))}[/]", soft_wrap=True)
    output = run_to_end([TASKPLANE, *arguments], console.width)
    console.print(output.rstrip(), markup=False, soft_wrap=True)
    return output


def show_json(document: dict[str, object]) -> None:
    """Print a document in colours."""
    console.print_json(data=document)


def show_tail(log: Path) -> None:
    """Print the last lines of a log."""
    lines = log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
    console.print(f"[yellow]--- the end of {log.name}[/]")
    console.print("\n".join(lines), markup=False, soft_wrap=True)


def follow(client: Client, task_id: int, stop_at: float | None = None) -> Task:
    """Show live progress until the fraction `stop_at` or a final status, and return the task."""
    columns = (TextColumn("   {task.fields[status]:8}"), BarColumn(), TaskProgressColumn())
    with (
        Progress(*columns, TextColumn("{task.description}"), console=console) as progress,
        closing(states(client, task_id)) as tasks,
    ):
        bar = progress.add_task("", total=1.0, status="")
        for task in tasks:
            done = task.progress.fraction
            progress.update(bar, completed=done, description=task.progress.message, status=status_name(task))
            if task.status in FINAL or (stop_at is not None and done >= stop_at):
                return task
    raise DemoError("the watch ended by itself")


def status_name(task: Task) -> str:
    """Return the status without its prefix, such as RUNNING."""
    return TaskStatus.Name(task.status).removeprefix("TASK_STATUS_")


def states(client: Client, task_id: int) -> Generator[Task]:
    """Yield the task after each event of a watch. Raises DemoError after 30 s without a change."""
    task = Task()
    moved_at = time.monotonic()
    with closing(client.watch([task_id], include_progress=True, max_progress_per_second=10)) as events:
        for event in events:
            if event.WhichOneof("event") != "keep_alive":
                moved_at = time.monotonic()
            elif time.monotonic() - moved_at > STALL_SECONDS:
                raise DemoError(f"nothing happened to the task for {STALL_SECONDS} s")
            apply_event(task, event)
            yield task


def apply_event(task: Task, event: WatchTasksResponse) -> None:
    """Copy the values of an event into `task`."""
    match event.WhichOneof("event"):
        case "snapshot":
            task.CopyFrom(event.snapshot)
        case "transition":
            task.CopyFrom(event.transition.task)
        case "changed":
            task.CopyFrom(event.changed)
        case "progress":
            task.progress.CopyFrom(event.progress.progress)
        case _:
            pass  # an event without a change of the task
