"""Tasks in backoff: each runs on time, over a restart, and however many other tasks wait without a unit."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from rpc.raw_unit import RawUnit
from rpc.server import ServerUnderTest, Wire, status_name
from rpc.tasks import create, running
from support.builders import a_task
from support.stored import insert

from taskplane.server.core.clock import utc_now
from taskplane.server.store.database import Database
from taskplane.server.store.store import Store

Connect = Callable[..., Awaitable[RawUnit]]

# A pass over all these tasks by pages of 500 a second would exceed every wait of the tests.
MISFITS = 30_000
FIRST_MISFIT = 1_000_000
DELAY_SECONDS = 4


@pytest.fixture
def served_url(database_url: str) -> str:
    return database_url


async def many_wait(url: str) -> None:
    """Queue tasks that no unit accepts."""
    database, now = Database(url), utc_now() - timedelta(seconds=60)
    store = Store(database)
    try:
        await store.take_over("a test")
        for first in range(0, MISFITS, 1_000):
            misfits = (
                a_task(id=FIRST_MISFIT + number, task_type="WORK", queued_at=now, unit_labels={"gpu": "yes"})
                for number in range(first, first + 1_000)
            )
            await insert(store, *misfits)
    finally:
        await database.close()


def failed(delay_seconds: int) -> dict[str, Any]:
    return {"failed": {"message": "try again", "retry_delay": Duration(seconds=delay_seconds)}}


async def test_a_task_in_backoff_is_not_late_behind_any_number_of_others_after_a_restart(
    server: ServerUnderTest, wire: Wire, connect: Connect
) -> None:
    await server.stop()
    await many_wait(server.database_url)
    await server.start()
    unit = await connect()
    start = await running(wire, unit, priority=100)
    await unit.report(start, **failed(DELAY_SECONDS))
    await unit.all_acknowledged()
    await server.stop()
    await server.start()
    unit = await connect()
    again = await unit.expect("start", task_id=start.task_id)
    assert again.attempt == 2
    history = await wire.history(start.task_id)
    assert [status_name(each.to_status) for each in history[-3:]] == ["FAILED", "PENDING", "RUNNING"]
    waited = history[-1].changed_at.ToDatetime() - history[-3].changed_at.ToDatetime()
    assert waited >= timedelta(seconds=DELAY_SECONDS)


async def test_tasks_that_become_due_together_all_run(wire: Wire, connect: Connect) -> None:
    unit = await connect(capacity=20)
    tasks = [await create(wire, start=True) for _ in range(20)]
    starts = [await unit.expect("start", task_id=task.id) for task in tasks]
    for start in starts:
        await unit.report(start, **failed(1))
    for task in tasks:
        assert (await unit.expect("start", task_id=task.id)).attempt == 2
