"""Lists: filters, pages by key in both directions, and capped counts."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from support.builders import a_task, at
from support.stored import insert

from taskplane.server.core.task import Task, TaskStatus
from taskplane.server.store import reading
from taskplane.server.store.reading import TaskFilter
from taskplane.server.store.store import Store

ODD_LABELS: Mapping[str, str] = {
    "plain": "value",
    "a.b/c-d_e": "path-like",
    "1": "digit",
    "Case": "Case",
    "empty": "",
    "quote": 'it\'s "quoted" \\ 🦆',
    "null": "null",
    "number": "1",
    "true": "true",
}
# Different from Val, though some collations consider them equal.
ODD_TEXTS = ("Val ", " Val", "Val\t", "Val\u00a0", "val", "Va\u013a")


async def chosen(store: Store, **fields: object) -> list[int]:
    found = (await store.list_tasks(TaskFilter(**fields), newest_first=False, after_id=None, limit=1000)).tasks  # type: ignore[arg-type]  # any of its fields
    assert await store.count_tasks(TaskFilter(**fields)) == len(found)  # type: ignore[arg-type]  # ditto
    return [task.id for task in found]


async def test_without_a_filter_all_tasks_are_listed(store: Store) -> None:
    await insert(store, a_task(id=1), a_task(id=2))
    assert await chosen(store) == [1, 2]


async def test_by_id(store: Store) -> None:
    await insert(store, *(a_task(id=number) for number in range(1, 5)))
    assert await chosen(store, task_ids=(4, 2, 99)) == [2, 4]


async def test_by_status(store: Store) -> None:
    await insert(store, *(a_task(status, id=number) for number, status in enumerate(TaskStatus, 1)))
    for number, status in enumerate(TaskStatus, 1):
        assert await chosen(store, statuses=(status,)) == [number]
    assert await chosen(store, statuses=(TaskStatus.PENDING, TaskStatus.CANCELLED)) == [1, 6]


async def test_by_type(store: Store) -> None:
    await insert(store, *(a_task(id=number, task_type=each) for number, each in enumerate(("A", "B", "a"), 1)))
    assert await chosen(store, task_types=("A",)) == [1]
    assert await chosen(store, task_types=("A", "B")) == [1, 2]


async def test_by_unit(store: Store) -> None:
    units = (None, "unit-1", "Unit-1", "unit-10")
    await insert(store, *(a_task(id=number, execution_unit_id=each) for number, each in enumerate(units, 1)))
    assert await chosen(store, execution_unit_id="unit-1") == [2]


@pytest.mark.parametrize("odd", ODD_TEXTS)
async def test_trailing_spaces_are_significant(store: Store, odd: str) -> None:
    texts = ("Val", odd)
    await insert(
        store, *(a_task(id=number, execution_unit_id=each, labels={"K": each}) for number, each in enumerate(texts, 1))
    )
    for number, each in enumerate(texts, 1):
        assert await chosen(store, labels={"K": each}) == [number]
        assert await chosen(store, execution_unit_id=each) == [number]


async def test_by_priority(store: Store) -> None:
    await insert(store, *(a_task(id=number, priority=number) for number in range(1, 6)))
    assert await chosen(store, min_priority=3) == [3, 4, 5]
    assert await chosen(store, max_priority=3) == [1, 2, 3]
    assert await chosen(store, min_priority=3, max_priority=3) == [3]
    assert await chosen(store, max_priority=0) == []


async def test_by_time_from_included_before_excluded(store: Store) -> None:
    await insert(store, *(a_task(id=number, created_at=at(number / 1e6)) for number in range(1, 5)))
    assert await chosen(store, created_from=at(2e-6)) == [2, 3, 4]
    assert await chosen(store, created_before=at(3e-6)) == [1, 2]
    assert await chosen(store, created_from=at(2e-6), created_before=at(3e-6)) == [2]


@pytest.mark.parametrize(
    ("part", "ids"),
    [
        ("users", [1, 2]),
        ("USERS", [1, 2]),
        ("100%", [3]),
        ("%", [3]),
        ("_", [4]),
        ("a_b", [4]),
        ("\\", [5]),
        ("/", [6]),
        ("'", [7]),
        ("🦆", [8]),
        ("nowhere", []),
    ],
)
async def test_names_match_without_case_and_without_wildcards(store: Store, part: str, ids: list[int]) -> None:
    names = ["convert users.csv", "Users of axb", "100% done", "a_b", "back\\slash", "sl/ash", "it's", "🦆"]
    await insert(store, *(a_task(id=number, task_name=name) for number, name in enumerate(names, 1)))
    assert await chosen(store, name_contains=part) == ids


async def test_by_label(store: Store) -> None:
    await insert(store, a_task(id=1, labels=ODD_LABELS), a_task(id=2), a_task(id=3, labels={"plain": "other"}))
    for key, value in ODD_LABELS.items():
        assert await chosen(store, labels={key: value}) == [1], key
    assert await chosen(store, labels=ODD_LABELS) == [1]
    for labels in ({"plain": "VALUE"}, {"case": "Case"}, {"plain": "value", "null": ""}, {"a": "path-like"}):
        assert await chosen(store, labels=labels) == [], labels


async def test_filters_restrict_together(store: Store) -> None:
    await insert(
        store,
        a_task(id=1, priority=5, task_type="A"),
        a_task(id=2, priority=5, task_type="B"),
        a_task(id=3, priority=1, task_type="A"),
    )
    assert await chosen(store, min_priority=2, task_types=("A",)) == [1]


async def test_a_count_stops_one_above_its_cap(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "COUNT_CAP", 3)
    await insert(store, *(a_task(id=number) for number in range(1, 4)))
    assert await store.count_tasks(TaskFilter()) == 3
    await insert(store, *(a_task(id=number) for number in range(4, 10)))
    assert await store.count_tasks(TaskFilter()) == 4


@pytest.fixture
async def some_tasks(store: Store) -> Sequence[Task]:
    """Tasks of two types, with gaps between their ids."""
    tasks = [a_task(id=number * 3, task_type="AB"[number % 2]) for number in range(1, 24)]
    await insert(store, *tasks)
    return tasks


@given(
    limit=st.integers(1, 30),
    newest_first=st.booleans(),
    task_types=st.sampled_from([(), ("A",), ("B",), ("A", "B"), ("C",)]),
)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_pages_of_a_list_are_the_whole_list(
    engine: Engine, some_tasks: Sequence[Task], *, limit: int, newest_first: bool, task_types: tuple[str, ...]
) -> None:
    wanted = [task.id for task in some_tasks if not task_types or task.task_type in task_types]
    found: list[int] = []
    with engine.connect() as connection:
        while page := reading.list_tasks(
            connection,
            TaskFilter(task_types=task_types),
            newest_first=newest_first,
            after_id=found[-1] if found else None,
            limit=limit,
        ).tasks:
            assert len(page) <= limit
            found += [task.id for task in page]
    assert found == (wanted[::-1] if newest_first else wanted)
