"""The tasks that were written last, as they are in the table: what most transactions change need not be read again."""

from collections.abc import Iterable
from dataclasses import replace

from taskplane.server.core.task import Task

# A task without a large config takes some 3 KiB.
MOST_TASKS = 5_000


class RecentTasks:
    """Unfinished tasks by id, as the last durable transactions left them.

    A task counts only as long as its row has the same revision. What changes a row under the same revision (news of
    running attempts) must make it be forgotten. Belongs to the writer's thread.
    """

    def __init__(self, most: int = MOST_TASKS) -> None:
        self._most = most
        # The one that was written longest ago comes first.
        self._tasks: dict[int, Task] = {}

    def __contains__(self, task_id: int) -> bool:
        return task_id in self._tasks

    def find(self, task_id: int, revision: int) -> Task | None:
        """Return a task if its row, which has this revision, is still as it was written."""
        task = self._tasks.get(task_id)
        return task if task and task.revision == revision else None

    def wrote(self, tasks: Iterable[Task]) -> None:
        """Take what a durable transaction has written."""
        for task in tasks:
            self._tasks.pop(task.id, None)
            if not task.is_final:
                self._tasks[task.id] = _as_in_its_row(task)
        while len(self._tasks) > self._most:
            del self._tasks[next(iter(self._tasks))]

    def forget(self, task_ids: Iterable[int]) -> None:
        """Drop tasks whose rows are about to change in another way."""
        for task_id in task_ids:
            self._tasks.pop(task_id, None)


def _as_in_its_row(task: Task) -> Task:
    if task.checkpoint and task.checkpoint.data is not None:
        return task.but(checkpoint=replace(task.checkpoint, data=None))
    return task
