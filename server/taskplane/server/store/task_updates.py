"""The UPDATE of many tasks with different values in one statement, and checks, for MySQL and MariaDB.

They join a JSON document that is one parameter; how many rows it has does not change the text. A check fails, and with
it the message it is in, if a task is not as it was taken to be.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, Boolean, DateTime, Float, Integer, String

from taskplane.server.core.task import Task
from taskplane.server.store import schema
from taskplane.server.store.outbox import pieces
from taskplane.server.store.records import encode

# What JSON_TABLE makes of a text is by default in the character set of the database, which may not know all of it.
UTF8 = "CHARACTER SET utf8mb4"


def documents(rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, int]]:
    """JSON arrays of so many of the rows that each is short enough for a statement, and how many these are."""
    # An empty value is a missing one: JSON's null would be the text "null" to MariaDB.
    filled = ({name: value for name, value in row.items() if value is not None} for row in rows)
    return ((f"[{','.join(piece)}]", len(piece)) for piece in pieces(map(encode, filled)))


def _json_table_type(name: str) -> str:
    match schema.tasks.c[name].type:
        case BigInteger() | Integer():
            return "BIGINT"
        case Boolean():
            return "TINYINT"
        case Float():
            return "DOUBLE"
        case DateTime():
            return "DATETIME(6)"
        case String(length=int(length)):
            # MariaDB cuts here without an error. One character more than fits, and the column refuses it.
            return f"VARCHAR({length + 1}) {UTF8}"
        case _:
            # JSON travels as a text inside the document: MariaDB's JSON_TABLE has no JSON type.
            return f"LONGTEXT {UTF8}"


@cache
def update_from_json(names: tuple[str, ...]) -> str:
    """Return the statement that changes these columns; its parameter is one of `documents`.

    A row has the id and in `was` the revision before; one whose task has another is passed over.
    """
    # A value that does not fit must fail the batch, not become NULL, which is JSON_TABLE's default.
    columns = ", ".join(
        f"{name} {_json_table_type(name)} PATH '$.{name}' NULL ON EMPTY ERROR ON ERROR" for name in ("id", *names)
    )
    assignments = ", ".join(f"tasks.{name} = changed.{name}" for name in names)
    return (
        f"UPDATE tasks JOIN JSON_TABLE(%s, '$[*]' COLUMNS (was BIGINT PATH '$.was', {columns})) AS changed "  # noqa: S608  (names of ours)
        f"ON tasks.id = changed.id AND tasks.revision = changed.was SET {assignments}"
    )


def check_changed(number: int) -> str:
    """Return the statement that fails unless the UPDATE right before it has found so many rows."""
    return _check("ROW_COUNT()", number)


def check_unchanged(tasks: Collection[Task]) -> str:
    """Return the statement that fails unless all these tasks have these revisions."""
    ids = ", ".join(str(task.id) for task in tasks)
    # No two tasks ever have the same one.
    revisions = ", ".join(str(task.revision) for task in tasks)
    found = f"(SELECT COUNT(*) FROM tasks WHERE id IN ({ids}) AND revision IN ({revisions}))"  # noqa: S608  (numbers of ours)
    return _check(found, len(tasks))


def _check(number: str, expected: int) -> str:
    # SQL has no "fail if" outside of procedures. SET, since MariaDB's DO passes over errors.
    return f"SET @found = IF({number} = {expected}, {expected}, (SELECT 1 UNION SELECT 2))"
