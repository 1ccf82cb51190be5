"""Tasks are stored and returned unchanged; a transaction with an invalid value changes nothing."""

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError
from support.builders import NOW, a_command, a_task, at
from support.databases import SERVERS
from support.stored import in_transaction, insert, update

from taskplane.server.core.task import Checkpoint, Limits, Progress, Task, TaskStatus, Verb
from taskplane.server.store.store import Store

# SQLite accepts values of any length.
on_servers = pytest.mark.parametrize("database", SERVERS, indirect=True)

ODD_TEXTS = {
    "emoji": "🦆🇩🇪 quack",
    "quotes": "'\"`''\"\"",
    "backslashes": "\\ \\n \\u0041 \\",
    "placeholders": "%s %% ? :id %(id)s {0}",
    "white space": " \t\n\r ",
    "right to left": "שלום עולם",
    "JSON": '{"a": [1, null]}',
    "the text null": "null",
    "SQL": "'; DROP TABLE tasks; --",
    "two statements": "\\'; SELECT 1; '; SELECT 1; --",
}
ODD_JSON: list[dict[str, Any]] = [
    {},
    {"nothing": None, "no": False, "yes": True},
    {"nested": {"list": [1, [2, {"deep": None}]], "empty": {}, "none": []}},
    {"numbers": [0, -1, 0.1, 1e300, -2.5e-7, 2**53]},
    {"": "empty key", '"': "quote", "\\": "backslash", "a.b[0]": "path", "🦆": "duck"},
    dict(ODD_TEXTS),
]


def a_full_task(text: str = "text", json: dict[str, Any] | None = None) -> Task:
    """Return a task with a different value in every field."""
    document = json if json is not None else {"key": text}
    return a_task(
        TaskStatus.RUNNING,
        task_name=text[:255],
        priority=1000,
        config=document,
        execution_unit_id=text[:255],
        execution_unit_type=text[:100],
        created_at=at(1),
        updated_at=at(2),
        started_at=at(3),
        completed_at=at(4),
        error_message=text,
        retry_count=5,
        max_retries=6,
        result=document,
        revision=2**40,
        attempt=7,
        accepted_at=at(5),
        progress=Progress(0.123456789, text[:1000], at(6)),
        checkpoint=Checkpoint(2**41, 8, at(7)),
        last_checkpoint_number=2**42,
        queued_at=at(8),
        queued_by=text[:255],
        queued_reason=text[:1000],
        queued_command_id="command-0",
        queued_checkpoint_number=2**40,
        not_before=at(9),
        pending_command=a_command(
            Verb.CANCEL, deadline=at(10), accepted_at=at(11), actor=text[:255], reason=text[:1000]
        ),
        labels={"label": text[:255]},
        unit_labels={"unit": text[:255]},
        limits=Limits(
            run_budget=timedelta(hours=1),
            deadline=at(12),
            queue_timeout=timedelta(seconds=1.5),
            stall_timeout=timedelta(microseconds=1),
        ),
        active_seconds=1.5,
        paused_seconds=2.25,
        status_changed_at=at(13),
    )


def test_a_full_task_is_full() -> None:
    bare = a_task()
    same = {field.name for field in fields(Task) if getattr(a_full_task(), field.name) == getattr(bare, field.name)}
    # `silent_since` is known in memory only.
    assert same == {"id", "task_type", "silent_since"}


async def test_every_field_survives_both_ways_in(store: Store) -> None:
    await insert(store, a_full_task(), a_task(id=2))
    assert await store.get_task(1) == a_full_task()
    assert await store.get_task(2) == a_task(id=2)
    full, bare = replace(_with_fixed_of(a_full_task(), a_task()), id=2), _with_fixed_of(a_task(), a_full_task())
    await update(store, bare, full)
    assert await store.get_task(1) == bare, "what is None again is None in the database"
    assert await store.get_task(2) == full


def _with_fixed_of(task: Task, original: Task) -> Task:
    """Return the task with only the fields of its creation."""
    return replace(
        task, task_name=original.task_name, config=original.config, created_at=original.created_at, id=original.id
    )


async def come_out_as_they_went_in(store: Store, *tasks: Task) -> None:
    """Store the tasks by inserts, and under other ids by updates of bare tasks."""
    copies = [replace(task, id=task.id + 1000) for task in tasks]
    await insert(store, *tasks, *(_with_fixed_of(a_task(), copy) for copy in copies))
    await update(store, *copies)
    for task in (*tasks, *copies):
        assert await store.get_task(task.id) == task


async def test_odd_texts_survive(store: Store) -> None:
    tasks = [replace(a_full_task(text), id=number) for number, text in enumerate(ODD_TEXTS.values(), 1)]
    await come_out_as_they_went_in(store, *tasks)


async def test_the_longest_texts_survive(store: Store) -> None:
    # In characters, not bytes: an emoji has four.
    await come_out_as_they_went_in(store, a_full_task("🦆" * 10_000, {"text": "🦆" * (2**20 // 4)}))


async def test_odd_documents_survive(store: Store) -> None:
    tasks = [replace(a_full_task(json=document), id=number) for number, document in enumerate(ODD_JSON, 1)]
    await come_out_as_they_went_in(store, *tasks)


async def test_types_differ_by_case(store: Store) -> None:
    await insert(
        store, *(a_task(id=number, task_type=name, queued_at=NOW) for number, name in ((1, "video"), (2, "VIDEO")))
    )
    found = await in_transaction(store, lambda each: each.lock_queued(["VIDEO"], NOW, 10))
    assert [each.task_id for each in found] == [2]
    assert (await store.get_task(1)) != (await store.get_task(2))


async def test_many_rows_change_to_different_values_in_one_round_trip(store: Store, statements: Sequence[str]) -> None:
    tasks = [a_task(id=number) for number in range(1, 301)]
    await insert(store, *tasks)
    changed = [
        replace(task, priority=task.id, labels={"n": f"{task.id}"}, error_message="x" * (1 + task.id % 7))
        for task in (replace(task, updated_at=at(1)) for task in tasks)
    ]
    await update(store, *changed)
    writes = [each.split()[0] for each in statements]
    assert [each for each in writes if each not in {"BEGIN", "SELECT"}] == ["INSERT", "UPDATE"]
    for task in changed[::50]:
        assert await store.get_task(task.id) == task


async def test_one_bad_row_rolls_back_the_whole_transaction(store: Store) -> None:
    first, second = a_task(id=1), a_task(id=2)
    await insert(store, first, second)
    bad: Any = None  # which the column refuses
    with pytest.raises(DBAPIError):
        await update(store, replace(first, priority=9), replace(second, attempt=bad))
    assert await store.get_task(1) == first


TOO_MUCH: dict[str, Any] = {
    "execution_unit_type": "x" * 101,
    "execution_unit_id": "x" * 256,
    "queued_by": "x" * 256,
    "queued_reason": "🦆" * 1001,
    "queued_command_id": "x" * 65,
    "priority": 2**31,
    "retry_count": 2**31,
    "pending_command": a_command(Verb.PAUSE, command_id="x" * 65),
}


@on_servers
async def test_a_too_long_value_is_refused_and_not_cut(store: Store) -> None:
    task, other = a_task(id=1), a_task(id=2)
    await insert(store, task, other)
    for field, value in TOO_MUCH.items():
        with pytest.raises(DBAPIError, match=r"too long|[Oo]ut of range|truncated"):
            await update(store, replace(other, priority=9), replace(task, **{field: value}))
        with pytest.raises(DBAPIError, match=r"too long|[Oo]ut of range"):
            await insert(store, replace(other, id=3), replace(task, id=4, **{field: value}))
        assert [await store.get_task(task_id) for task_id in (1, 2, 3)] == [task, other, None], field


async def test_a_task_that_does_not_exist_is_none(store: Store) -> None:
    assert await store.get_task(1) is None


@on_servers
async def test_no_message_exceeds_the_limit_of_a_database(store: Store, statements: list[str]) -> None:
    """One transaction may contain large results of many tasks, and MariaDB accepts 16 MiB at once."""
    tasks = [a_task(id=number) for number in range(1, 21)]
    await insert(store, *tasks)
    finished = [replace(task, updated_at=at(1), result={"text": f"{task.id}" + "x" * 2**20}) for task in tasks]
    statements.clear()
    await update(store, *finished)
    assert max(map(len, statements)) < 16 * 2**20
    assert await store.get_task(20) == finished[-1]
