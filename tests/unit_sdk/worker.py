"""An executor controlled by a test row by row."""

import threading
from typing import Any

from taskplane.unit import SyncTaskContext, Unit


class Worker:
    """Registers an executor with one safe point for each `go[task_id].release()`."""

    def __init__(self, unit: Unit) -> None:
        self.go = {task_id: threading.Semaphore(0) for task_id in (1, 2, 3)}
        self.ended_by: list[type[BaseException]] = []
        self.has_ended = threading.Event()
        unit.task("WORK")(self.work)
        unit.task("WAIT")(self.wait)

    def work(self, task: SyncTaskContext, config: dict[str, Any]) -> None:
        try:
            for row in range(config.get("rows", 1000)):
                self.go[task.task_id].acquire()
                task.report(row / 1000, checkpoint={"row": row})
        except BaseException as error:
            self.ended_by.append(type(error))
            self.has_ended.set()
            raise

    def wait(self, task: SyncTaskContext, config: dict[str, Any]) -> None:
        """Pass one safe point after another, without `go`."""
        try:
            while not self.has_ended.wait(0.001):
                task.safe_point()
        except BaseException as error:
            self.ended_by.append(type(error))
            raise
