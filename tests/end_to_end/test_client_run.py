"""`run`, `wait` and watches with an end, against a real server with a unit that fails at first."""

import pytest
from end_to_end.cluster import Cluster

from taskplane.client import TaskFailedError, TaskStatus, WaitTimeoutError, status_of, to_dict

UNIT = """
from taskplane.unit import TaskFailed, Unit

unit = Unit(type="FLAKY", name="flaky", capacity=4)


@unit.task("FLAKY")
async def flaky(task, config):
    if task.attempt <= config["failures"]:
        raise TaskFailed("disk full", retryable=True)
    return {"attempt": task.attempt}
"""


@pytest.fixture
def flaky(cluster: Cluster) -> Cluster:
    """Start a server and a unit whose tasks fail as often as their config says."""
    (cluster.folder / "flaky.py").write_text(UNIT)
    cluster.serve()
    cluster.start_unit("flaky", "unit", "run", "flaky.py:unit")
    return cluster


def test_run_returns_a_task_that_succeeds_after_its_retries(flaky: Cluster) -> None:
    task = flaky.client.run("FLAKY", "twice", {"failures": 1}, max_retries=1, timeout=60)
    assert status_of(task) is TaskStatus.SUCCESS
    assert to_dict(task.result) == {"attempt": 2}


def test_run_raises_after_the_last_retry(flaky: Cluster) -> None:
    with pytest.raises(TaskFailedError, match="disk full") as caught:
        flaky.client.run("FLAKY", "never", {"failures": 9}, max_retries=1, timeout=60)
    assert caught.value.task.attempt == 2


def test_a_wait_for_a_task_without_a_unit_runs_out_of_time(flaky: Cluster) -> None:
    task = flaky.client.create_task("OTHER", "waiting", start=True)
    with pytest.raises(WaitTimeoutError, match=f"task {task.id} "):
        flaky.client.wait(task.id, timeout=0.3)


def test_a_watch_ends_after_the_last_retry_of_every_task(flaky: Cluster) -> None:
    client = flaky.client
    ids = [
        client.create_task("FLAKY", f"{failures} failures", {"failures": failures}, max_retries=1, start=True).id
        for failures in range(3)
    ]
    events = list(client.watch(ids, until_final=True))
    assert {event.transition.task.id for event in events if event.HasField("transition")} <= set(ids)
    assert [status_of(client.get_task(task_id)) for task_id in ids] == ["SUCCESS", "SUCCESS", "FAILED"]
