"""Executors for step by step work until a test lets them finish."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from taskplane.unit import (
    SyncTaskContext,
    TaskContext,
    Unit,
)
from taskplane.unit.testing import ScriptedSession

Connect = Callable[[Unit], ScriptedSession]


class Steps:
    """A coroutine and a function, at work until `may_finish`, with a safe point at each step.

    `ended_by` holds the type of an earlier interruption.
    """

    def __init__(self, unit: Unit, *, can_pause: bool = True) -> None:
        self.may_finish = threading.Event()
        self.has_ended = threading.Event()
        self.ended_by: type[BaseException] | None = None
        self.steps = 0
        self.attempts: list[int] = []
        unit.task("FUNCTION", can_pause=can_pause)(self.function)
        unit.task("COROUTINE", can_pause=can_pause)(self.coroutine)

    def function(self, task: SyncTaskContext, config: dict[str, Any]) -> dict[str, Any]:
        try:
            while not self.may_finish.wait(0.001):
                task.safe_point(self.checkpoint)
                self.attempts.append(task.attempt)
        except BaseException as error:
            self.end(error)
            raise
        return {"steps": self.steps}

    async def coroutine(self, task: TaskContext, config: dict[str, Any]) -> dict[str, Any]:
        try:
            while not self.may_finish.is_set():
                await asyncio.sleep(0.001)
                await task.safe_point(self.checkpoint)
                self.attempts.append(task.attempt)
        except BaseException as error:
            self.end(error)
            raise
        return {"steps": self.steps}

    def checkpoint(self) -> dict[str, Any]:
        self.steps += 1
        return {"step": self.steps}

    def end(self, error: BaseException) -> None:
        self.ended_by = type(error)
        self.has_ended.set()


both_kinds = pytest.mark.parametrize("kind", ["FUNCTION", "COROUTINE"])
