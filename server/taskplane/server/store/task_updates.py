"""The UPDATE of many tasks in one statement, and checks that they are as they were taken to be, for MySQL and MariaDB.

A check fails, and with it the message it is in, if a task has another revision.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from taskplane.server.core.task import Task
from taskplane.server.store.statement_buffer import literal, pieces

# A CASE looks at its branches one after the other: with more of them each row costs more.
MOST_ROWS = 100


def updates(columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> Iterator[str]:
    """Return the statements that change these columns of tasks, and fail unless all tasks are found.

    A row is the id of the task, the revision that it must have, and the values.
    """
    for part in pieces(rows, _characters, MOST_ROWS):
        ids, revisions, *values = zip(*part, strict=True)
        assignments = ", ".join(f"{name} = {_by_id(ids, each)}" for name, each in zip(columns, values, strict=True))
        yield f"UPDATE tasks SET {assignments} WHERE {_are(ids, revisions)}"  # noqa: S608  (names and numbers of ours)
        yield _check("ROW_COUNT()", len(part))


def check_unchanged(tasks: Collection[Task]) -> str:
    """Return the statement that fails unless all these tasks have these revisions."""
    condition = _are([task.id for task in tasks], [task.revision for task in tasks])
    return _check(f"(SELECT COUNT(*) FROM tasks WHERE {condition})", len(tasks))  # noqa: S608  (numbers of ours)


def _characters(row: tuple[Any, ...]) -> int:
    return sum(len(value) for value in row if isinstance(value, str))


def _by_id(ids: Sequence[int], values: Sequence[Any]) -> str:
    """Return one value for all, or one for each: most columns change to the same in all rows."""
    if values.count(values[0]) == len(values):
        return literal(values[0])
    branches = " ".join(f"WHEN {task_id} THEN {literal(value)}" for task_id, value in zip(ids, values, strict=True))
    return f"CASE id {branches} END"


def _are(ids: Sequence[int], revisions: Sequence[int]) -> str:
    # No two tasks ever have the same revision.
    return f"id IN ({', '.join(map(str, ids))}) AND revision IN ({', '.join(map(str, revisions))})"


def _check(number: str, expected: int) -> str:
    # SQL has no "fail if" outside of procedures. SET, since MariaDB's DO passes over errors.
    return f"SET @found = IF({number} = {expected}, {expected}, (SELECT 1 UNION SELECT 2))"
