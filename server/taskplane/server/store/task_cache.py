"""The tasks that were written last, as they are in the table: what most transactions change need not be read again."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from typing import Any

from taskplane.server.core.task import Task

# Each takes some 3 KiB beside its config.
MOST_TASKS = 5_000
# A config may have a MiB of JSON. Tasks with one of more characters than this are not kept.
MOST_CONFIG_CHARACTERS = 4_096
# What a value takes at least, in characters, so that a list of numbers counts too.
_VALUE_CHARACTERS = 8


class TaskCache:
    """Unfinished tasks with a small config by id, as the last durable transactions left them.

    A task counts only as long as its row has the same revision. What changes a row under the same revision (news of
    running attempts) must make it be forgotten.
    """

    def __init__(self, most: int = MOST_TASKS) -> None:
        self._most = most
        # The one that was written longest ago comes first.
        self._tasks: dict[int, Task] = {}

    def get(self, task_id: int) -> Task | None:
        """Return a task as it was written last."""
        return self._tasks.get(task_id)

    def find(self, task_id: int, revision: int) -> Task | None:
        """Return a task if its row, which has this revision, is still as it was written."""
        task = self._tasks.get(task_id)
        return task if task and task.revision == revision else None

    def put(self, tasks: Iterable[Task]) -> None:
        """Take what a durable transaction has written."""
        for task in tasks:
            before = self._tasks.pop(task.id, None)
            is_small = (before and before.config is task.config) or _left(MOST_CONFIG_CHARACTERS, task.config) >= 0
            if is_small and not task.is_final:
                self._tasks[task.id] = _as_in_its_row(task)
        while len(self._tasks) > self._most:
            del self._tasks[next(iter(self._tasks))]

    def evict(self, task_ids: Iterable[int]) -> None:
        """Drop tasks whose rows are about to change in another way."""
        for task_id in task_ids:
            self._tasks.pop(task_id, None)


def _as_in_its_row(task: Task) -> Task:
    if task.checkpoint and task.checkpoint.data is not None:
        return task.but(checkpoint=replace(task.checkpoint, data=None))
    return task


def _left(characters: int, value: Any) -> int:
    """Return how many of the characters are left behind a JSON value; if it is longer, something below 0."""
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
