"""Expired limits: deadlines count on the wall clock, all other limits on the server's clock."""

from datetime import timedelta

import pytest
from support.builders import NOW, a_task, at
from support.stored import insert

from taskplane.server.core.task import Limits, TaskStatus
from taskplane.server.store.store import Store

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("server_clock", "wall_clock", "expected"),
    [
        (0, 0, {"budget", "deadline"}),
        (-1, -1, set()),
        (-1, 3600, {"deadline", "deadline first"}),
        (0, -3600, {"budget"}),
        (3600, 3600, {"budget", "deadline", "deadline first", "budget first"}),
    ],
)
async def test_setting_the_wall_clock_affects_only_deadlines(
    store: Store, server_clock: float, wall_clock: float, expected: set[str]
) -> None:
    started = NOW - HOUR
    limits = {
        "budget": Limits(run_budget=HOUR),
        "deadline": Limits(deadline=NOW),
        "deadline first": Limits(run_budget=2 * HOUR, deadline=at(1800)),
        "budget first": Limits(run_budget=HOUR + HOUR / 2, deadline=at(7200)),
        "none": Limits(),
    }
    ids = dict(zip(limits, range(1, 9), strict=False))
    await insert(
        store,
        *(
            a_task(TaskStatus.RUNNING, id=ids[name], limits=each, status_changed_at=started)
            for name, each in limits.items()
        ),
    )
    found = await store.expired_tasks(at(server_clock), 10, at(wall_clock))
    assert {name for name in limits if ids[name] in found} == expected
