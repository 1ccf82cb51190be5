"""Tasks with large documents: lists find them on every database, and pages end before memory does."""

import pytest
from sqlalchemy import Connection, text
from support.builders import a_task
from support.stored import insert

from taskplane.server.core.errors import DatabaseUnavailable
from taskplane.server.store.database import Database
from taskplane.server.store.reading import TaskFilter
from taskplane.server.store.store import Store

# MySQL's sort buffer is 256 KiB.
WIDE = {"text": "x" * 700_000}


async def all_tasks(store: Store, **fields: object) -> list[list[int]]:
    """Return the ids on each page of a list."""
    pages: list[list[int]] = []
    after_id: int | None = 0
    while after_id is not None:
        chosen = TaskFilter(**fields)  # type: ignore[arg-type]  # any of its fields
        page = await store.list_tasks(chosen, newest_first=False, after_id=after_id, limit=1000)
        pages.append([task.id for task in page.tasks])
        after_id = page.continue_after
        assert page.is_cut is (after_id is not None)
    return pages


async def test_filters_find_tasks_with_large_configs(store: Store) -> None:
    tasks = [a_task(id=number, config=WIDE, labels={"a": "b"}) for number in range(1, 10)]
    for task in tasks:
        await insert(store, task)
    for fields in ({"statuses": (tasks[0].status,)}, {"task_types": (tasks[0].task_type,)}, {"labels": {"a": "b"}}):
        pages = await all_tasks(store, **fields)
        assert [task_id for page in pages for task_id in page] == [task.id for task in tasks]
        assert len(pages) > 1, "a page ends before it takes too much memory"
        assert await store.choose_tasks(TaskFilter(**fields), limit=100) == [task.id for task in tasks]


async def test_one_task_is_read_in_any_size(store: Store) -> None:
    await insert(store, a_task(id=1, config={"text": "x" * 5_000_000}))
    await insert(store, a_task(id=2))
    assert await all_tasks(store) == [[1], [2]]


async def test_tasks_by_id_are_returned_in_the_given_order(store: Store) -> None:
    await insert(store, a_task(id=1), a_task(id=2, config={"text": "x" * 5_000_000}), a_task(id=3))
    assert list(await store.tasks_that_fit([3, 9, 1, 2])) == [3, 9, 1]
    assert (await store.tasks_that_fit([9, 3]))[9] is None
    assert await store.tasks_that_fit([]) == {}


async def test_an_error_of_the_query_itself_is_no_outage(database: Database) -> None:
    """A caller that waits for the database to recover would wait forever."""
    if database.engine.dialect.name == "sqlite":
        statement = "SELECT no_such_function()"
    else:
        statement = "SELECT _latin1'a' COLLATE latin1_bin = _latin1'b' COLLATE latin1_general_ci"

    def fail(connection: Connection) -> None:
        connection.execute(text(statement))

    with pytest.raises(Exception, match=r"function|collations") as failed:
        await database.scan(fail)
    assert not isinstance(failed.value, DatabaseUnavailable)
