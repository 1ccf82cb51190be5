"""The floor of the database: the rows of whole lifecycles written by bare PyMySQL, and many finished tasks by SQL.

Both are made after a task that the server itself has brought to SUCCESS, so they have the columns that it fills.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pymysql.cursors import DictCursor

from bench.database import Connection, ask, connected, tell

Row = dict[str, Any]

# Far above what the server gives out.
FIRST_ID = 10**12
_CHUNK = 10_000
_SUCCESS = ("status", "revision", "completed_at", "updated_at", "status_changed_at", "active_seconds")
_HISTORY_STATUSES = 3


@dataclass(frozen=True, slots=True)
class Template:
    """A finished task, and its three rows of history."""

    task: Row
    history: Sequence[Row]


def template(connection: Connection) -> Template:
    """Return the last SUCCESS."""
    with connection.cursor(DictCursor) as cursor:
        cursor.execute("SELECT * FROM tasks WHERE status = 'SUCCESS' ORDER BY id DESC LIMIT 1")
        (task,) = cursor.fetchall()
        cursor.execute("SELECT * FROM task_status_history WHERE task_id = %s ORDER BY id", task["id"])
        history = list(cursor.fetchall())
    if len(history) != _HISTORY_STATUSES:
        raise ValueError(f"task {task['id']} has {len(history)} rows of history")
    return Template({name: value for name, value in task.items() if value is not None}, history)


def lifecycles_per_second(url: str, count: int, batch: int) -> float:
    """Write the rows of `count` lifecycles, `batch` to a transaction, two transactions each. They are removed."""
    with connected(url, autocommit=False) as connection:
        model = template(connection)
        started = time.monotonic()
        for first in range(FIRST_ID, FIRST_ID + count, batch):
            _write(connection, model, range(first, first + batch))
        seconds = time.monotonic() - started
        tell(connection, "DELETE FROM tasks WHERE id >= %s", FIRST_ID)
        connection.commit()
    return count / seconds


def commit_milliseconds(url: str, count: int) -> list[float]:
    """Return how long each of `count` transactions takes that adds one row to the history."""
    with connected(url, autocommit=False) as connection:
        (row,) = template(connection).history[-1:]
        samples = []
        for number in range(count):
            started = time.monotonic()
            _insert(connection, "task_status_history", [row | {"id": FIRST_ID + number}])
            connection.commit()
            samples.append(1000 * (time.monotonic() - started))
            time.sleep(0.01)
        tell(connection, "DELETE FROM task_status_history WHERE id >= %s", FIRST_ID)
        connection.commit()
    return samples


def _write(connection: Connection, model: Template, ids: range) -> None:
    """As the server does while slots are free: created and dispatched in one transaction, ended in another."""
    running = model.task | {"status": "RUNNING"}
    _insert(connection, "tasks", [running | {"id": task_id} for task_id in ids])
    _history(connection, model, (0, 1), ids)
    connection.commit()
    _update(connection, _SUCCESS, model.task, ids)
    _history(connection, model, (2,), ids)
    connection.commit()


def _history(connection: Connection, model: Template, steps: Sequence[int], ids: range) -> None:
    rows = [
        model.history[step] | {"id": _HISTORY_STATUSES * task_id + step, "task_id": task_id}
        for task_id in ids
        for step in steps
    ]
    _insert(connection, "task_status_history", rows)


def _insert(connection: Connection, table: str, rows: Sequence[Row]) -> None:
    names = list(rows[0])
    marks = ", ".join(["%s"] * len(names))
    statement = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})"
    with connection.cursor() as cursor:
        cursor.executemany(statement, [tuple(row.values()) for row in rows])


def _update(connection: Connection, names: Sequence[str], row: Row, ids: range) -> None:
    changes = ", ".join(f"{name} = %s" for name in names)
    listed = ", ".join(map(str, ids))
    tell(connection, f"UPDATE tasks SET {changes} WHERE id IN ({listed})", *(row[name] for name in names))


def add_finished(url: str, count: int) -> None:
    """Add finished tasks with their history, a second between one and the next. No server may run meanwhile."""
    with connected(url) as connection:
        model = template(connection)
        first_id, first_revision = _reserve(connection, "task", count), _reserve(connection, "revision", 3 * count)
        with _numbers(connection):
            for start in range(0, count, _CHUNK):
                size = min(_CHUNK, count - start)
                _add_chunk(connection, model, first_id + start, first_revision + 3 * start, size)
        tell(connection, "ANALYZE TABLE tasks, task_status_history")


def _reserve(connection: Connection, name: str, count: int) -> int:
    tell(connection, "UPDATE id_blocks SET next_id = next_id + %s WHERE name = %s", count, name)
    (end,) = ask(connection, "SELECT next_id FROM id_blocks WHERE name = %s", name)
    return int(end) - count


@contextmanager
def _numbers(connection: Connection) -> Iterator[None]:
    """Have a table of the numbers below a chunk's size."""
    tell(connection, "CREATE TABLE bench_numbers (n INT PRIMARY KEY)")
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO bench_numbers (n) VALUES (%s)", [(number,) for number in range(_CHUNK)])
    try:
        yield
    finally:
        tell(connection, "DROP TABLE bench_numbers")


def _add_chunk(connection: Connection, model: Template, first_id: int, first_revision: int, size: int) -> None:
    id_, revision = f"{first_id} + n", f"{first_revision} + 3 * n"
    task_values = dict.fromkeys(model.task) | {"id": id_, "revision": f"{revision} + 2"}
    task_values |= {"created_at": f"created_at - INTERVAL ({first_id} + n) MOD 1000000 SECOND"}
    _copy(connection, "tasks", task_values, model.task["id"], size)
    for step, row in enumerate(model.history):
        values = dict.fromkeys(row) | {"id": f"{revision} + {step}", "task_id": id_}
        _copy(connection, "task_status_history", values, row["id"], size)


def _copy(connection: Connection, table: str, values: dict[str, str | None], model_id: int, size: int) -> None:
    chosen = ", ".join(value or name for name, value in values.items())
    tell(
        connection,
        f"INSERT INTO {table} ({', '.join(values)}) SELECT {chosen}"
        f" FROM {table} JOIN bench_numbers WHERE id = %s AND n < %s",
        model_id,
        size,
    )
