"""A unit written from the protos alone works: examples/raw_unit.py, as a process, against a real server."""

from collections.abc import Callable

from end_to_end.cluster import Cluster
from end_to_end.processes import Process

from taskplane.client import to_dict
from taskplane.v1 import task_pb2

RunUnit = Callable[[], Process]
Count = Callable[..., int]
# More steps than any test waits for.
FOR_LONG = 1_000_000


def test_it_works_through_start_pause_resume_and_success(cluster: Cluster, run_raw_unit: RunUnit, count: Count) -> None:
    cluster.serve()
    run_raw_unit()
    task_id = count(200, 0.002)
    cluster.wait_for_progress(task_id, 0.1)
    paused = cluster.client.pause_task(task_id)
    assert paused.status == task_pb2.TASK_STATUS_PAUSED
    done = to_dict(paused.checkpoint.data)["done"]
    assert isinstance(done, float | int)
    assert 20 <= done < 200
    resumed = cluster.client.resume_task(task_id)
    assert (resumed.status, resumed.attempt) == (task_pb2.TASK_STATUS_RUNNING, 2)
    finished = cluster.wait_for(task_id, "SUCCESS")
    assert to_dict(finished.result) == {"counted": 200}
    assert cluster.statuses(task_id) == ["PENDING", "RUNNING", "PAUSED", "RUNNING", "SUCCESS"]


def test_it_cancels_what_runs_and_what_is_held(cluster: Cluster, run_raw_unit: RunUnit, count: Count) -> None:
    cluster.serve()
    run_raw_unit()
    running, held = count(FOR_LONG, 0.01), count(FOR_LONG, 0.01)
    for task_id in (running, held):
        cluster.wait_until(task_id, lambda task: task.progress.fraction > 0)
    cluster.client.pause_task(held)
    for task_id in (running, held):
        assert cluster.client.cancel_task(task_id).status == task_pb2.TASK_STATUS_CANCELLED


def test_it_comes_back_with_its_inventory_when_the_server_was_killed(
    cluster: Cluster, run_raw_unit: RunUnit, count: Count
) -> None:
    server = cluster.serve()
    run_raw_unit()
    running, held = count(300, 0.002), count(300, 0.002)
    cluster.wait_until(running, lambda task: task.progress.fraction > 0)
    cluster.client.pause_task(held)
    server.kill()
    cluster.serve()
    assert cluster.wait_for(running, "SUCCESS").attempt == 1
    assert cluster.statuses(running) == ["PENDING", "RUNNING", "SUCCESS"]
    cluster.client.resume_task(held)
    assert cluster.wait_for(held, "SUCCESS").attempt == 2


def test_it_goes_on_from_the_checkpoint_when_it_was_killed(
    cluster: Cluster, run_raw_unit: RunUnit, count: Count
) -> None:
    cluster.serve()
    unit = run_raw_unit()
    task_id = count(300, 0.005)
    cluster.wait_until(task_id, lambda task: task.checkpoint.number >= 2)
    unit.kill()
    run_raw_unit()
    done = cluster.wait_for(task_id, "SUCCESS")
    assert (done.attempt, done.retry_count) == (2, 1)
    assert cluster.statuses(task_id) == ["PENDING", "RUNNING", "FAILED", "PENDING", "RUNNING", "SUCCESS"]


def test_a_second_process_of_the_same_unit_waits_until_the_first_is_gone(
    cluster: Cluster, run_raw_unit: RunUnit, count: Count
) -> None:
    cluster.serve()
    first = run_raw_unit()
    cluster.wait_for_unit("counter-1")
    task_id = count(to=20, step_seconds=0.05)
    second = run_raw_unit()
    assert "'counter-1' is taken" in second.expect("waiting for this unit's id")
    done = cluster.wait_for(task_id, "SUCCESS")
    assert done.attempt == 1
    first.kill()
    again = count(to=1, step_seconds=0.01)
    cluster.wait_for(again, "SUCCESS")
