"""The writes of a transaction for MySQL and MariaDB: one message with COMMIT.

Each round trip costs the writer more than most statements do.
"""

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection

from taskplane.server.core.task import Task
from taskplane.server.store.dialects.dialect import StatementBuffer
from taskplane.server.store.dialects.mysql_sessions import execute_message

T = TypeVar("T")

# A message must be shorter than MariaDB's limit of 16 MiB; a character can take eight bytes of it.
MOST_CHARACTERS = 2**20
# A CASE tries its branches in order, so each row costs more with more of them.
MOST_ROWS = 100


def pieces(rows: Iterable[T], length: Callable[[T], int], most: int = sys.maxsize) -> Iterator[list[T]]:
    """Split rows into lists of at most `most` rows and MOST_CHARACTERS."""
    piece: list[T] = []
    characters = 0
    for row in rows:
        more = length(row)
        if piece and (characters + more > MOST_CHARACTERS or len(piece) == most):
            yield piece
            piece, characters = [], 0
        piece.append(row)
        characters += more
    if piece:
        yield piece


class MySQLStatements(StatementBuffer):
    """Statements of one transaction that wait to be sent, in order."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._texts: list[str] = []
        self._characters = 0

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        """Add rows to a table."""
        self._insert(table, columns, rows)

    def upsert(
        self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]], key: str, changed: Sequence[str]
    ) -> None:
        """Add rows, or overwrite columns of rows with the same key, which the table's indexes name."""
        changes = ", ".join(f"{name} = VALUES({name})" for name in changed)
        self._insert(table, columns, rows, f" ON DUPLICATE KEY UPDATE {changes}")

    def update_tasks(self, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        """Change columns of tasks, with a check that fails unless all tasks are found with their revisions."""
        for part in pieces(rows, _characters, MOST_ROWS):
            ids, revisions, *values = zip(*part, strict=True)
            assignments = ", ".join(f"{name} = {_by_id(ids, each)}" for name, each in zip(columns, values, strict=True))
            self.execute(f"UPDATE tasks SET {assignments} WHERE {_are(ids, revisions)}")  # noqa: S608  (names and numbers of ours)
            self.execute(_check("ROW_COUNT()", len(part)))

    def check_unchanged(self, tasks: Collection[Task]) -> None:
        """Add the statement that fails unless all these tasks have their revisions."""
        condition = _are([task.id for task in tasks], [task.revision for task in tasks])
        self.execute(_check(f"(SELECT COUNT(*) FROM tasks WHERE {condition})", len(tasks)))  # noqa: S608  (numbers of ours)

    def execute(self, statement: str) -> None:
        """Add a statement that returns no rows."""
        if self._characters + len(statement) > MOST_CHARACTERS:
            self.send()
        self._texts.append(statement)
        self._characters += len(statement)

    def send(self) -> None:
        """Execute all waiting statements. Raises the error of the first that fails and skips the rest."""
        if self._texts:
            execute_message(self._connection, self._texts)
            self._texts, self._characters = [], 0

    def commit(self) -> None:
        """Execute all waiting statements, and commit. After an error nothing is committed."""
        execute_message(self._connection, self._texts, commits=True)

    def _insert(
        self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]], on_conflict: str = ""
    ) -> None:
        head = f"INSERT INTO {table} ({', '.join(columns)}) VALUES "  # noqa: S608  (names of ours)
        for piece in pieces((f"({', '.join(map(literal, row))})" for row in rows), len):
            self.execute(f"{head}{','.join(piece)}{on_conflict}")


def literal(value: float | str | None) -> str:
    """Return a value as a SQL literal. Every connection's `sql_mode` lets a backslash escape.

    The driver does the same for these types in three times the time, and a task has some forty values.
    """
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return "NULL" if value is None else repr(value)


def _characters(row: tuple[Any, ...]) -> int:
    return sum(len(value) for value in row if isinstance(value, str))


def _by_id(ids: Sequence[int], values: Sequence[Any]) -> str:
    """Return one value for all rows if they have the same, as most columns do; otherwise one for each."""
    if values.count(values[0]) == len(values):
        return literal(values[0])
    branches = " ".join(f"WHEN {task_id} THEN {literal(value)}" for task_id, value in zip(ids, values, strict=True))
    return f"CASE id {branches} END"


def _are(ids: Sequence[int], revisions: Sequence[int]) -> str:
    # No two tasks ever have the same revision.
    return f"id IN ({', '.join(map(str, ids))}) AND revision IN ({', '.join(map(str, revisions))})"


def _check(number: str, expected: int) -> str:
    # SQL has no "fail if" outside procedures. SET, because MariaDB's DO ignores errors.
    return f"SET @found = IF({number} = {expected}, {expected}, (SELECT 1 UNION SELECT 2))"
