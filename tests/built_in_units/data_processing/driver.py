"""A replacement of the SDK, to pause, release, cancel and kill at a given call."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from taskplane.unit import SyncTaskContext, TaskReleased
from taskplane.units.data_processing import DataProcessingConfig, process

TASK_ID = 17

MakeCheckpoint = Callable[[], dict[str, Any]]
# The action at a safe point. May raise.
Event = Callable[["ScriptedTask", MakeCheckpoint | None], None]


class KilledError(BaseException):
    """The process is dead: nothing after this error counts."""


class ScriptedTask:
    """A task context for tests: each `report` runs the next event, if any."""

    def __init__(self, events: Iterable[Event] = (), checkpoint: dict[str, Any] | None = None) -> None:
        self.task_id = TASK_ID
        self.checkpoint = checkpoint
        self.stored = checkpoint
        self.reports: list[dict[str, Any]] = []
        self._events = iter(events)

    def report(self, progress: float, message: str, checkpoint: dict[str, Any] | MakeCheckpoint) -> None:
        event = self._next_event()
        if event is kill:
            raise KilledError
        stored = None if callable(checkpoint) else checkpoint
        if stored is not None:
            self.store(stored)
        self.reports.append({"progress": progress, "message": message, "checkpoint": stored})
        event(self, checkpoint if callable(checkpoint) else None)

    def store(self, checkpoint: dict[str, Any]) -> None:
        self.stored = json.loads(json.dumps(checkpoint))

    def _next_event(self) -> Event:
        return next(self._events, do_nothing)


def do_nothing(task: ScriptedTask, make_checkpoint: MakeCheckpoint | None) -> None:
    """Do nothing."""


def pause(task: ScriptedTask, make_checkpoint: MakeCheckpoint | None) -> None:
    """Pause, and resume in memory."""
    if make_checkpoint:
        task.store(make_checkpoint())


def release(task: ScriptedTask, make_checkpoint: MakeCheckpoint | None) -> None:
    """Release the attempt with its checkpoint."""
    pause(task, make_checkpoint)
    raise TaskReleased


def kill(task: ScriptedTask, make_checkpoint: MakeCheckpoint | None) -> None:
    """Kill the process; the last stored checkpoint counts."""
    raise KilledError


def run(task: ScriptedTask, config: dict[str, Any]) -> dict[str, Any]:
    """Run one attempt."""
    return process(cast("SyncTaskContext", task), DataProcessingConfig.model_validate(config))


def run_to_the_end(events: Iterable[Event], config: dict[str, Any]) -> dict[str, Any]:
    """Run attempts until one succeeds, each from the last checkpoint."""
    remaining = iter(events)
    checkpoint: dict[str, Any] | None = None
    while True:
        task = ScriptedTask(remaining, checkpoint)
        try:
            return run(task, config)
        except (TaskReleased, KilledError):
            checkpoint = task.stored


def parts_in(folder: Path) -> list[str]:
    """Return the names of the part files."""
    return sorted(path.name for path in folder.glob(".*.part"))


def at(count: int, event: Event) -> Iterator[Event]:
    """Return events with `event` at the given call, counted from 1."""
    yield from [do_nothing] * (count - 1)
    yield event


def python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process; the program may import this module."""
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(  # noqa: S603 — our own interpreter, and a program of our tests
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
