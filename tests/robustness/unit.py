"""The unit of the robustness suite, run as a process: its tasks walk step by step and record every step.

The config of a task: `steps`, `step_seconds`, `checkpoint_every`, and `stumbles`: for each try the failing step, 0 for
none. `final_stumble` makes the last of these not retryable. Checkpoints and the result carry `ballast` bytes.
"""

import argparse
import asyncio
import itertools
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from robustness.journal import Journal
from robustness.records import ZONES, Begun, Ended, Step, has_stream
from robustness.unary import UnaryLink
from robustness.unit_journal import note_what_is_said, process_name

from taskplane.unit import SyncTaskContext, TaskContext, TaskFailed, Unit

clock = time.monotonic
# A unit without a stream reports at least once per this many steps, whatever the task's config.
_MOST_UNREPORTED = 6


@dataclass(frozen=True)
class WalkConfig:
    """The config of a walk."""

    steps: int
    step_seconds: float
    checkpoint_every: int
    stumbles: list[int]
    final_stumble: bool = False
    ballast: int = 0
    zone: str = ""

    def __post_init__(self) -> None:
        # Numbers of a Struct are floats.
        for name in ("steps", "checkpoint_every", "ballast"):
            object.__setattr__(self, name, int(getattr(self, name)))


class Walk:
    """An execution: its steps, and its entries in the journal."""

    numbers = itertools.count(1)

    def __init__(self, task: TaskContext | SyncTaskContext, config: WalkConfig, unit: str, journal: Journal) -> None:
        self._task, self._config, self._unit, self._journal = task, config, unit, journal
        self._name = f"{process_name(unit)}{next(self.numbers)}"
        self.done = int(task.checkpoint["step"]) if task.checkpoint else 0
        resumed_from = self.done if task.checkpoint else None
        key = task.task_id, task.attempt
        self._journal.write(Begun(self._name, unit, *key, clock(), resumed_from, task.retry_count))

    def steps_left(self) -> Iterator[int]:
        """Return the numbers of the remaining steps."""
        return iter(range(self.done + 1, self._config.steps + 1))

    @contextmanager
    def to_its_end(self) -> Iterator[None]:
        """Note how the execution ends, before the report."""
        how = "succeeded"
        try:
            yield
        except TaskFailed as error:
            how = "failed" if error.retryable else "failed for good"
            raise
        except BaseException as error:
            how = type(error).__name__
            raise
        finally:
            key = self._task.task_id, self._task.attempt
            self._journal.write(Ended(self._name, self._unit, *key, how, clock()))

    def checkpoint(self) -> dict[str, object]:
        """Return the starting point."""
        return {"step": self.done, "ballast": "." * self._config.ballast}

    def take(self, number: int, asked: float, began: float) -> None:
        """Note a completed step. Raises TaskFailed if the task must fail behind the step."""
        task = self._task
        step = Step(self._name, self._unit, task.task_id, task.attempt, number, asked, began, clock())
        self._journal.write(step)
        self.done = number
        self._stumble(number)

    @property
    def is_at_checkpoint(self) -> bool:
        """Return whether to report a checkpoint here.

        Without a stream, a unit learns of a taken attempt only from the response to a report, so it is never silent.
        """
        every = self._config.checkpoint_every
        return self.done % (every if has_stream(self._unit) else min(every, _MOST_UNREPORTED)) == 0

    @property
    def progress(self) -> float:
        """Return the completed fraction."""
        return self.done / self._config.steps

    def result(self) -> dict[str, object]:
        """Return the result of the task: who did the last of how many steps."""
        return {"attempt": self._task.attempt, "steps": self.done, "ballast": "." * self._config.ballast}

    def _stumble(self, number: int) -> None:
        stumbles, tries = self._config.stumbles, self._task.retry_count
        if tries < len(stumbles) and stumbles[tries] == number:
            is_last = tries == len(stumbles) - 1
            raise TaskFailed(f"stumbled at step {number}", retryable=not (is_last and self._config.final_stumble))


def register(unit: Unit, name: str, journal: Journal) -> None:
    """Give the unit its executors."""

    @unit.task("WALK", config=lambda values: WalkConfig(**values))
    async def walk(task: TaskContext, config: WalkConfig) -> dict[str, object]:
        walk = Walk(task, config, name, journal)
        with walk.to_its_end():
            for number in walk.steps_left():
                asked = clock()
                await task.safe_point(walk.checkpoint)
                began = clock()
                await asyncio.sleep(config.step_seconds)
                walk.take(number, asked, began)
                if walk.is_at_checkpoint:
                    await task.report(progress=walk.progress, checkpoint=walk.checkpoint())
        return walk.result()

    @unit.task("WALK_IN_THREAD", config=lambda values: WalkConfig(**values))
    def walk_in_thread(task: SyncTaskContext, config: WalkConfig) -> dict[str, object]:
        walk = Walk(task, config, name, journal)
        with walk.to_its_end():
            for number in walk.steps_left():
                asked = clock()
                task.safe_point(walk.checkpoint)
                began = clock()
                time.sleep(config.step_seconds)
                walk.take(number, asked, began)
                if walk.is_at_checkpoint:
                    task.report(progress=walk.progress, checkpoint=walk.checkpoint())
        return walk.result()

    @unit.task("WALK_WITHOUT_PAUSE", config=lambda values: WalkConfig(**values), can_pause=False)
    async def walk_without_pause(task: TaskContext, config: WalkConfig) -> dict[str, object]:
        return await walk(task, config)


def main() -> None:
    """Run a unit until a signal stops the process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--server", required=True)
    parser.add_argument("--capacity", type=int, required=True)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--http-port", type=int, help="be driven over HTTP, at this port")
    parser.add_argument("--unary", action="store_true", help="but register and report by gRPC calls")
    options = parser.parse_args()
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s %(message)s")
    unit = Unit(
        name=options.name,
        id=options.name,
        type="WALKER",
        capacity=options.capacity,
        server=options.server,
        labels={"zone": ZONES[0] if options.name == "unit-1" else ZONES[1]},
        drain_seconds=5.0,
    )
    journal = Journal(options.journal)
    note_what_is_said(options.name, journal, counts=options.unary or not options.http_port)
    register(unit, options.name, journal)
    if options.unary:
        link = partial(UnaryLink, options.server, options.http_port)
        asyncio.run(unit._run_with_signals(link))
    elif options.http_port:
        unit.serve_http(options.http_port, server=f"http://{options.server}")
    else:
        unit.run()


if __name__ == "__main__":
    main()
