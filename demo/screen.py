"""What the demo shows: its steps, the commands it runs, the task's progress."""

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

# A healthy unit reports several times a second.
STALL_SECONDS = 30
LOG_TAIL_LINES = 15

console = Console(highlight=False)
_step_numbers = count(1)


def step(text: str) -> None:
    """Begins a step of the story."""
    console.print(f"\n[bold cyan]{next(_step_numbers)}. {escape(text)}[/]", soft_wrap=True)


def conclude(text: str) -> None:
    """Ends the story well."""
    console.print(f"\n[bold green]{escape(text)}[/]", soft_wrap=True)


def run_taskplane(*arguments: str) -> str:
    """Shows a command as a user would type it, runs it, shows what it prints and returns that."""
    console.print(f"   [green]$ taskplane {escape(shlex.join(arguments))}[/]", soft_wrap=True)
    output = run_to_end([TASKPLANE, *arguments], console.width)
    console.print(output.rstrip(), markup=False, soft_wrap=True)
    return output


def show_json(document: dict[str, object]) -> None:
    """Shows a document in colours."""
    console.print_json(data=document)


def show_tail(log: Path) -> None:
    """Shows the last lines of a log."""
    lines = log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
    console.print(f"[yellow]--- the end of {log.name}[/]")
    console.print("\n".join(lines), markup=False, soft_wrap=True)


def follow(client: Client, task_id: int, stop_at: float | None = None) -> Task:
    """Shows live progress until the fraction `stop_at` is done or the task is final; the task as it then is."""
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
    """The status as people know it, such as RUNNING."""
    return TaskStatus.Name(task.status).removeprefix("TASK_STATUS_")


def states(client: Client, task_id: int) -> Generator[Task]:
    """The task after each event of a watch; DemoError when nothing happens for too long."""
    task = Task()
    moved_at = time.monotonic()
    with closing(client.watch([task_id], include_progress=True, max_progress_per_second=10)) as events:
        for event in events:
            if event.WhichOneof("event") != "keep_alive":
                moved_at = time.monotonic()
            elif time.monotonic() - moved_at > STALL_SECONDS:
                raise DemoError(f"nothing happened to the task for {STALL_SECONDS} s")
            take_over(task, event)
            yield task


def take_over(task: Task, event: WatchTasksResponse) -> None:
    """Writes what an event tells into `task`."""
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
            pass  # nothing about the task itself
