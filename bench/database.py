"""The bench's own look at the database, by bare PyMySQL: what is unfinished, and what became of it."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import pymysql
import sqlalchemy
from pymysql.cursors import Cursor

Connection: TypeAlias = "pymysql.connections.Connection[Cursor]"

POLL_SECONDS = 0.02
FINISH_SECONDS = 120.0


class Unfinished(Exception):
    """Tasks did not finish in time."""


@contextmanager
def connected(url: str, *, autocommit: bool = True) -> Iterator[Connection]:
    """Open a connection as the server's writer has it: READ COMMITTED, full durability as the server is configured."""
    parsed = sqlalchemy.make_url(url)
    connection: Connection = pymysql.connect(
        host=parsed.host,
        port=parsed.port or 3306,
        user=parsed.username,
        password=parsed.password or "",
        database=parsed.database,
        charset="utf8mb4",
        autocommit=autocommit,
        init_command="SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    )
    try:
        yield connection
    finally:
        connection.close()


def ask(connection: Connection, query: str, *values: object) -> tuple[Any, ...]:
    """Return the first row."""
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return cursor.fetchone() or ()


def tell(connection: Connection, statement: str, *values: object) -> None:
    """Run a statement."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


async def all_finished(url: str) -> None:
    """Wait until no task is PENDING or RUNNING."""
    with connected(url) as connection:
        deadline = time.monotonic() + FINISH_SECONDS
        while time.monotonic() < deadline:
            (left,) = ask(connection, "SELECT COUNT(*) FROM tasks WHERE status IN ('PENDING', 'RUNNING')")
            if not left:
                return
            await asyncio.sleep(POLL_SECONDS)
    raise Unfinished(f"tasks were not finished within {FINISH_SECONDS:g} s")


def last_task_id(url: str) -> int:
    """Return the greatest id, or 0."""
    with connected(url) as connection:
        (last,) = ask(connection, "SELECT COALESCE(MAX(id), 0) FROM tasks")
    return int(last)


def check_lifecycles(url: str, after_id: int, count: int) -> None:
    """Raise Unfinished unless so many tasks after an id ended in SUCCESS, each with its three rows of history."""
    query = """
        SELECT COUNT(*) FROM tasks WHERE id > %s AND status = 'SUCCESS'
        AND 3 = (SELECT COUNT(*) FROM task_status_history AS history WHERE history.task_id = tasks.id)
    """
    with connected(url) as connection:
        (found,) = ask(connection, query, after_id)
    if found != count:
        raise Unfinished(f"{found} of {count} tasks ended in SUCCESS with a whole history")


def recreate(url: str, name: str) -> str:
    """Make an empty database of that name on the same server, and return its URL."""
    with connected(url) as connection:
        tell(connection, f"DROP DATABASE IF EXISTS {name}")
        tell(connection, f"CREATE DATABASE {name}")
    return named(url, name)


def named(url: str, name: str) -> str:
    """Return the URL of another database on the same server."""
    return sqlalchemy.make_url(url).set(database=name).render_as_string(hide_password=False)
