"""Stands in for the SDK: pauses, releases, cancels and kills exactly where a test wants it."""

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
# What happens at a safe point; it may raise.
Event = Callable[["ScriptedTask", MakeCheckpoint | None], None]


class KilledError(BaseException):
    """The process is gone: nothing that it does afterwards counts."""


class ScriptedTask:
    """A task as its executor sees it; each `report` takes the next of `events`, if there is one."""

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
        return next(self._events, go_on)


def go_on(task: ScriptedTask, make_checkpoint: MakeCheckpoint | None) -> None:
    """Nothing happens."""


def pause(task: ScriptedTask, make_checkpoint: MakeCheckpoint | None) -> None:
    """Paused, and resumed in memory."""
    if make_checkpoint:
        task.store(make_checkpoint())


def release(task: ScriptedTask, make_checkpoint: MakeCheckpoint | None) -> None:
    """Given back, with its checkpoint."""
    pause(task, make_checkpoint)
    raise TaskReleased


def kill(task: ScriptedTask, make_checkpoint: MakeCheckpoint | None) -> None:
    """Killed; the last stored checkpoint counts."""
    raise KilledError


def run(task: ScriptedTask, config: dict[str, Any]) -> dict[str, Any]:
    """One attempt."""
    return process(cast("SyncTaskContext", task), DataProcessingConfig.model_validate(config))


def run_to_the_end(events: Iterable[Event], config: dict[str, Any]) -> dict[str, Any]:
    """Attempts, each from the checkpoint of the one before, until one succeeds."""
    remaining = iter(events)
    checkpoint: dict[str, Any] | None = None
    while True:
        task = ScriptedTask(remaining, checkpoint)
        try:
            return run(task, config)
        except (TaskReleased, KilledError):
            checkpoint = task.stored


def parts_in(folder: Path) -> list[str]:
    """Names of the part files."""
    return sorted(path.name for path in folder.glob(".*.part"))


def at(count: int, event: Event) -> Iterator[Event]:
    """`event` at the call of that number, counting from 1, and nothing at the others."""
    yield from [go_on] * (count - 1)
    yield event


def python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program that may import this module, as a process of its own."""
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(  # noqa: S603 — our own interpreter, and a program of our tests
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
