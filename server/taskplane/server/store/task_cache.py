"""A cache of recently written tasks, as stored: most transactions change tasks of this cache, and need no read."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from typing import Any

from taskplane.server.core.task import Task

# Each task takes some 3 KiB, besides its config.
MOST_TASKS = 5_000
# A config may have a MiB of JSON. Tasks with longer configs are not cached.
MOST_CONFIG_CHARACTERS = 4_096
# Minimal size of a value, in characters, so that a list of numbers counts too.
_VALUE_CHARACTERS = 8


class TaskCache:
    """Unfinished tasks with small configs, as written by the last durable transactions.

    A cached task is valid only while its row has the same revision. Writes that keep the revision (live progress) must
    evict the task.
    """

    def __init__(self, most: int = MOST_TASKS) -> None:
        self._most = most
        # By id, least recently written first.
        self._tasks: dict[int, Task] = {}

    def get(self, task_id: int) -> Task | None:
        """Return a task as last written."""
        return self._tasks.get(task_id)

    def find(self, task_id: int, revision: int) -> Task | None:
        """Return a task if its revision is the given one."""
        task = self._tasks.get(task_id)
        return task if task and task.revision == revision else None

    def put(self, tasks: Iterable[Task]) -> None:
        """Cache tasks that a durable transaction has written."""
        for task in tasks:
            before = self._tasks.pop(task.id, None)
            is_small = (before and before.config is task.config) or _left(MOST_CONFIG_CHARACTERS, task.config) >= 0
            if is_small and not task.is_final:
                self._tasks[task.id] = _as_in_its_row(task)
        while len(self._tasks) > self._most:
            del self._tasks[next(iter(self._tasks))]

    def evict(self, task_ids: Iterable[int]) -> None:
        """Drop tasks whose rows are about to change."""
        for task_id in task_ids:
            self._tasks.pop(task_id, None)


def _as_in_its_row(task: Task) -> Task:
    if task.checkpoint and task.checkpoint.data is not None:
        return task.but(checkpoint=replace(task.checkpoint, data=None))
    return task


def _left(characters: int, value: Any) -> int:
    """Return the number of characters minus the size of a JSON value; any negative number if the value is larger."""
    characters -= _VALUE_CHARACTERS
    match value:
        case str():
            return characters - len(value)
        case dict():
            parts: Iterable[Any] = chain.from_iterable(value.items())
        case list() | tuple():
            parts = value
        case _:
            return characters
    for part in parts:
        if characters < 0:
            break
        characters = _left(characters, part)
    return characters
