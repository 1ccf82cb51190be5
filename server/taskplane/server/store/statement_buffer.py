"""The writes of a transaction, sent together with COMMIT: to MySQL and MariaDB as one message, whatever their number.

Each round trip costs the writer more than most statements do.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection

from taskplane.server.store.writer_connection import execute_message

T = TypeVar("T")

# A message must be shorter than MariaDB takes, which is 16 MiB; a character can be eight bytes of it.
MOST_CHARACTERS = 2**20


def pieces(rows: Iterable[T], length: Callable[[T], int], most: int = sys.maxsize) -> Iterator[list[T]]:
    """Return `most` of the rows at a time, or fewer, so that they are short enough for a statement."""
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


class StatementBuffer:
    """Statements of one transaction that wait to be sent, in order. On SQLite, which is no trip away, none waits.

    Who executes another statement on the same connection must `send` before.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._is_sqlite = connection.dialect.name == "sqlite"
        self._texts: list[str] = []
        self._characters = 0

    def insert(
        self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]], on_conflict: str = ""
    ) -> None:
        """Add rows to a table."""
        if not rows:
            return
        head = f"INSERT INTO {table} ({', '.join(columns)}) VALUES "  # noqa: S608  (names of ours)
        if self._is_sqlite:
            marks = ", ".join("?" * len(columns))
            self._connection.exec_driver_sql(f"{head}({marks}) {on_conflict}", list(rows))
            return
        for piece in pieces((f"({', '.join(map(literal, row))})" for row in rows), len):
            self._put(f"{head}{','.join(piece)} {on_conflict}")

    def execute(self, statement: str) -> None:
        """Add any other statement that answers nothing."""
        if self._is_sqlite:
            self._connection.exec_driver_sql(statement)
        else:
            self._put(statement)

    def send(self) -> None:
        """Execute what waits. Raises what the first statement that fails does; those behind it are not executed."""
        if self._texts:
            execute_message(self._connection, self._texts)
            self._texts, self._characters = [], 0

    def commit(self) -> None:
        """Execute what waits, and commit. Raises what the first statement that fails does, and then commits nothing."""
        if self._is_sqlite:
            self._connection.commit()
        else:
            execute_message(self._connection, self._texts, commits=True)

    def _put(self, text: str) -> None:
        if self._characters + len(text) > MOST_CHARACTERS:
            self.send()
        self._texts.append(text)
        self._characters += len(text)


def literal(value: float | str | None) -> str:
    """Return a value as MySQL and MariaDB read it in a statement: the connection says that a backslash escapes.

    As the driver does for these types, at a third of the time: it would do so for some forty values a task.
    """
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return "NULL" if value is None else repr(value)
